"""What the bare programs decide about orders: hand-written SQL and dictionaries, one transaction for a group.

It makes the product's promises about redeeming, in the plainest form: an order, its codes' counters, coupons with a
limit and customers with one are locked in sorted order; terms of code, coupon, partner and program are read in a later
statement; a repeat changes nothing. A discount is spread over the order's lines by largest remainder, and kept with
their prices; a customer is known by id and mailbox; commissions are shares of what was paid, up to the program's cap.
Ids of redemptions and events are derived from the request; what changes in the statistics is appended.

It has no: budgets and limits per day, restrictions to products, codes dropping out of a paid order, refunds, orders
that were cancelled before they were bought, erased customers, test mode, archived codes, rows of refusals.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from bench.bare import shop_sql as sql
from bench.bare.shop_shapes import (
    Row,
    derived,
    discount,
    discounts_of_lines,
    event_of,
    redeemed_members,
    shown_of,
    terms_of,
)
from shared.canonical import canonical_code
from shared.events.envelope import OutboxEvent

CLOCK_ALLOWANCE = timedelta(seconds=60)


@dataclass(slots=True)
class Ask:
    """One request: to redeem, hold or void; `order` is its checked body, and `id` what its ids are derived from."""

    kind: str
    id: uuid.UUID | str
    program_id: uuid.UUID
    order: Row
    at: datetime
    source: str = ""
    claimed_at: datetime | None = None
    keyed: tuple[str, str, bytes] | None = None


@dataclass(slots=True)
class Group:
    """The state under the locks, and what is to be written."""

    codes: dict[tuple[uuid.UUID, str], Row] = field(default_factory=dict)
    coupons: dict[uuid.UUID, Row] = field(default_factory=dict)
    orders: dict[tuple[uuid.UUID, str], list[Row]] = field(default_factory=dict)
    customers: dict[tuple[uuid.UUID, str, str | None], int] = field(default_factory=dict)
    redeemed: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    voided: list[Row] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)


def wanted_codes(texts: Sequence[str]) -> dict[str, str]:
    """Return each code once by its canonical form, as typed; raises ValueError for what cannot be one."""
    wanted: dict[str, str] = {}
    for text in texts:
        wanted.setdefault(canonical_code(text), text)
    return wanted


def keys_of(customer: Row | None) -> tuple[str | None, str | None]:
    """Return both keys of a customer: its id, or else its mailbox, and the mailbox beside an id."""
    if not customer:
        return None, None
    mailbox = customer["email"].strip().lower() if customer.get("email") else None
    named = None if mailbox is None else f"email:{mailbox}"
    return (named, None) if customer.get("id") is None else (f"id:{customer['id']}", named)


async def decide(connection: Any, asks: Sequence[Ask]) -> tuple[list[Any], list[OutboxEvent]]:
    """Decide requests in order of arrival in the caller's transaction; return what each answers, and the events.

    An answer is (status, data): of what was made, or the reason why not.
    """
    await _place_voids(connection, asks)
    group = await _open(connection, asks)
    decisions = {"redeem": _redeem, "hold": _hold, "void": _void}
    answers = [decisions[ask.kind](ask, group) for ask in asks]
    await _close(connection, group)
    return answers, group.events


async def _place_voids(connection: Any, asks: Sequence[Ask]) -> None:
    if voids := [ask for ask in asks if ask.kind == "void"]:
        found = {row["id"]: row for row in await connection.fetch(sql.FIND, [ask.order["id"] for ask in voids])}
        for ask in voids:
            row = found.get(ask.order["id"])
            ask.order["codes"] = {}
            if row is not None and row["program_id"] == ask.program_id:
                ask.order |= {"order_ref": row["order_ref"], "codes": {row["canonical"]: ""}}


async def _open(connection: Any, asks: Sequence[Ask]) -> Group:
    keys = sorted({(ask.program_id, ask.order["order_ref"]) for ask in asks if "order_ref" in ask.order})
    strings = {(ask.program_id, canonical): None for ask in asks for canonical in ask.order["codes"]}
    programs, canonicals = [each[0] for each in strings], [each[1] for each in strings]
    rows = await connection.fetch(sql.LOCK, [key[0] for key in keys], [key[1] for key in keys], programs, canonicals)
    fresh = {(row["program_id"], row["order_ref"]) for row in rows if row["order_ref"] is not None}
    group = Group()
    if old := [key for key in keys if key not in fresh]:
        for row in await connection.fetch(sql.READ_ORDERS, [key[0] for key in old], [key[1] for key in old]):
            group.orders.setdefault((row["program_id"], row["order_ref"]), []).append(dict(row))
        bought = {(ask.program_id, ask.order["order_ref"]) for ask in asks if ask.kind != "void"}
        if ended := [key for key in old if key in bought]:
            await connection.execute(sql.RELEASE, [key[0] for key in ended], [key[1] for key in ended])
    if limited := [row["limited_coupon_id"] for row in rows if row["limited_coupon_id"] is not None]:
        await _count_customers(connection, limited, asks, group)
    for row in await connection.fetch(sql.READ, programs, canonicals):
        code = group.codes[row["program_id"], row["canonical"]] = dict(row)
        if code["coupon_limit"] is not None:
            counted = {
                "uses": code["coupon_uses"],
                "version": code["coupon_version"],
                "use_limit": code["coupon_limit"],
            }
            code["coupon"] = group.coupons.setdefault(code["coupon_id"], counted)
    return group


async def _count_customers(connection: Any, limited: Sequence[uuid.UUID], asks: Sequence[Ask], group: Group) -> None:
    named = {keys_of(ask.order.get("customer")) for ask in asks} - {(None, None)}
    locks = sorted({(coupon, key) for coupon in limited for keys in named for key in keys if key is not None})
    await connection.execute(sql.LOCK_CUSTOMERS, [lock[0] for lock in locks], [lock[1] for lock in locks])
    counted = [(coupon, *keys) for coupon in limited for keys in named]
    columns = [[each[place] for each in counted] for place in range(3)]
    for row in await connection.fetch(sql.COUNT_CUSTOMERS, *columns):
        group.customers[row["coupon_id"], row["customer_key"], row["mailbox_key"]] = row["uses"]


def _fault(ask: Ask, code: Row | None, earlier: Sequence[Row], group: Group) -> str | None:
    """Return why the order may not have one more code."""
    if code is None:
        return "code_unknown"
    return (
        _fault_of_code(ask.at, code)
        or _fault_of_order(ask.order, code)
        or _fault_of_customer(ask, code, group)
        or _fault_beside(code, earlier)
    )


def _fault_of_code(at: datetime, code: Row) -> str | None:
    if not code["is_active"] or not code["coupon_is_active"]:
        return "code_inactive"
    if code["partner_id"] is not None and code["status"] != "active":
        return "partner_not_active"
    starts = [each for each in (code["created_at"], code["starts_at"], code["coupon_starts_at"]) if each is not None]
    if at + CLOCK_ALLOWANCE < max(starts):
        return "code_not_started"
    if any(end is not None and at >= end for end in (code["expires_at"], code["coupon_expires_at"])):
        return "code_expired"
    if code["use_limit"] is not None and code["uses"] + code["held"] >= code["use_limit"]:
        return "code_used" if code["uses"] >= code["use_limit"] else "code_held"
    if code["coupon_limit"] is not None and code["coupon"]["uses"] >= code["coupon_limit"]:
        return "coupon_exhausted"
    return None


def _fault_of_order(order: Row, code: Row) -> str | None:
    if code["percent"] is None and order["currency"] not in (None, code["currency"]):
        return "currency_mismatch"
    if code["minimum"] is not None and (order["subtotal"] or 0) < code["minimum"]:
        return "minimum_not_met"
    return None


def _fault_of_customer(ask: Ask, code: Row, group: Group) -> str | None:
    customer = keys_of(ask.order.get("customer"))
    if code["customer_limit"] is not None:
        if customer == (None, None):
            return "customer_required"
        if group.customers[code["coupon_id"], customer[0] or "", customer[1]] >= code["customer_limit"]:
            return "customer_limit_reached"
    if ask.source == "" and not code["allows_self_referral"] and _is_own(code, customer):
        return "self_referral"
    return None


def _fault_beside(code: Row, earlier: Sequence[Row]) -> str | None:
    if len(earlier) >= code["max_codes"]:
        return "too_many_codes"
    for other in earlier:
        is_same = other["coupon_id"] == code["coupon_id"]
        if "none" in (code["combination"], other["combination"]) or (is_same and code["combination"] != "any"):
            return "not_combinable"
    return None


def _is_own(code: Row, customer: tuple[str | None, str | None]) -> bool:
    own = {f"id:{code['partner_id']}", f"email:{code['partner_email']}"}
    return code["partner_id"] is not None and not own.isdisjoint(each for each in customer if each is not None)


def _price(order: Row, code: Row, earlier: Sequence[Row]) -> tuple[int | None, list[Any] | None]:
    """Return what a code takes off an order with these codes before it, in total and per line."""
    subtotal = order["subtotal"]
    if subtotal is None:
        return None, None
    left = max(0, subtotal - sum(other["discount_minor"] or 0 for other in earlier))
    if code["percent"] is None:
        amount = min(code["amount"], left)
    else:
        amount = min((2 * subtotal * code["percent"] + 10_000) // 20_000, left, code["max_discount"] or left)
    if order["lines"] is None:
        return amount, None
    of_line = [price or 0 for _, price in order["lines"]]
    for other in earlier:
        for place, _, minor in orjson.loads(other["lines"] or "[]"):
            of_line[place] -= minor
    parts = _spread(amount, [*of_line, max(0, left - sum(of_line))])
    return amount, [(n, product, parts[n]) for n, (product, _) in enumerate(order["lines"]) if parts[n]]


def _spread(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount pro rata by largest remainder."""
    total = sum(weights) or 1
    parts = [amount * weight // total for weight in weights]
    largest = sorted(range(len(weights)), key=lambda place: (-(amount * weights[place] % total), place))
    for place in largest[: amount - sum(parts)]:
        parts[place] += 1
    return parts


def _chosen(ask: Ask, group: Group) -> tuple[list[Row], list[tuple[Row, Row]], str | None]:
    """Return the order's earlier redemptions, its new codes with their discounts, and why there are none."""
    order = ask.order
    standing = [row for row in group.orders.get((ask.program_id, order["order_ref"]), ()) if row["voided_at"] is None]
    known = {row["canonical"] for row in standing}
    new: list[tuple[Row, Row]] = []
    for canonical in order["codes"]:
        if canonical in known:
            continue
        code = group.codes.get((ask.program_id, canonical))
        earlier = [*standing, *(taken for _, taken in new)]
        fault = _fault(ask, code, earlier, group)
        if fault is not None or code is None:
            return standing, [], fault
        amount, lines = _price(order, code, earlier)
        text = None if lines is None else orjson.dumps(lines).decode()
        taken = {"coupon_id": code["coupon_id"], "combination": code["combination"], "discount_minor": amount}
        new.append((code, {**taken, "lines": text}))
    return standing, new, None


def _redeem(ask: Ask, group: Group) -> tuple[int, Any]:
    standing, new, fault = _chosen(ask, group)
    if fault is not None:
        return 409, fault
    order, customer = ask.order, keys_of(ask.order.get("customer"))
    prices = None if order["lines"] is None else orjson.dumps(order["lines"]).decode()
    attributes = orjson.dumps(order["attributes"]).decode() if order.get("attributes") else None
    made: list[Row] = []
    for code, taken in new:
        is_own = _is_own(code, customer)
        made.append(
            {
                "id": derived(str(ask.program_id), ask.source, str(ask.id), code["canonical"]),
                "program_id": ask.program_id,
                "order_ref": order["order_ref"],
                "canonical": code["canonical"],
                "code": code["code"],
                "code_id": code["code_id"],
                "partner_id": code["partner_id"],
                "customer_id": (order.get("customer") or {}).get("id"),
                "customer_key": customer[0],
                "mailbox_key": customer[1],
                "discount_type": "static" if code["percent"] is None else "percent",
                "percent_hundredths": code["percent"],
                "amount_minor": code["amount"],
                "currency": order["currency"] or code["currency"],
                "subtotal_minor": order["subtotal"],
                "commission_hundredths": None if code["partner_id"] is None else 0 if is_own else code["commission"],
                "commission_minor": None,
                "commission_cap_hundredths": code["commission_cap"],
                "release_policy": code["release_policy"],
                "release_until": _end(code),
                "discount_ends_at": ask.at,
                "occurred_at": ask.at,
                "confirmed_at": ask.at,
                "claimed_at": ask.claimed_at or ask.at,
                "clock": ask.source or "api",
                "terms": orjson.dumps(terms_of(code)).decode(),
                "prices": prices,
                "attributes": attributes,
                "is_self_referral": is_own,
                "voided_at": None,
                "void_reason": None,
                "is_counted": True,
                **taken,
            }
        )
    _earn([*standing, *made])
    for row, (code, _) in zip(made, new, strict=True):
        _count(code, row, group, 1)
        group.events.append(event_of("code.redeemed", row, ask.at, redeemed_members(row, code, order)))
    group.redeemed += made
    if made:
        group.orders.setdefault((ask.program_id, order["order_ref"]), []).extend(made)
    shown = [shown_of(row) for row in [*standing, *made]]
    return 201 if made else 200, {"order_ref": order["order_ref"], "redemptions": shown, "notice": None}


def _earn(rows: Sequence[Row]) -> None:
    """Set the commissions of an order: shares of what was paid after all discounts, capped together."""
    off = sum(row["discount_minor"] or 0 for row in rows)
    earning = [r for r in rows if r["commission_hundredths"] is not None and r["subtotal_minor"] is not None]
    paid = [max(0, row["subtotal_minor"] - off) for row in earning]
    earned = [(2 * p * r["commission_hundredths"] + 10_000) // 20_000 for p, r in zip(paid, earning, strict=True)]
    if earning:
        rate = min(row["commission_cap_hundredths"] for row in earning)
        most = (2 * max(paid) * rate + 10_000) // 20_000
        for row, minor in zip(earning, earned if sum(earned) <= most else _spread(most, earned), strict=True):
            row["commission_minor"] = minor


def _count(code: Row, row: Row, group: Group, sign: int) -> None:
    code["uses"] += sign
    code["version"] += 1
    code["is_moved"] = True
    if (coupon := code.get("coupon")) is not None:
        coupon["uses"] += sign
        coupon["version"] += 1
    if (key := (code["coupon_id"], row["customer_key"], row["mailbox_key"])) in group.customers:
        group.customers[key] += sign


def _hold(ask: Ask, group: Group) -> tuple[int, Any]:
    standing, new, fault = _chosen(ask, group)
    if fault is not None or standing:
        return 409, fault or "code_used"
    order, customer = ask.order, keys_of(ask.order.get("customer"))
    until = ask.at + timedelta(seconds=order["ttl_seconds"])
    shown = []
    for code, taken in new:
        code["held"] += 1
        kept = {"program_id": ask.program_id, "order_ref": order["order_ref"], "until": until, "ask": ask.id}
        held = {**taken, "customer_key": customer[0], "mailbox_key": customer[1], "currency": order["currency"]}
        group.held.append({**{name: code[name] for name in ("canonical", "code", "code_id")}, **held, **kept})
        names = {"code": code["code"], "code_id": str(code["code_id"]), "coupon_id": str(code["coupon_id"])}
        lines = discounts_of_lines(taken["lines"])
        amounts = {"discount_minor": taken["discount_minor"], "currency": order["currency"], "lines": lines}
        shown.append({**names, **amounts})
    times = {"reserved_at": ask.at, "expires_at": until, "is_test": False}
    return 201, {"id": ask.id, "order_ref": order["order_ref"], "status": "live", "codes": shown, **times}


def _void(ask: Ask, group: Group) -> tuple[int, Any]:
    order = ask.order
    rows = group.orders.get((ask.program_id, order.get("order_ref", "")), ())
    row = next((row for row in rows if row["id"] == order["id"]), None)
    if row is None:
        return 404, "not_found"
    if row["voided_at"] is None:
        code = group.codes[ask.program_id, row["canonical"]]
        bought = (row["claimed_at"].isoformat(), row["confirmed_at"].isoformat(), row["clock"])
        until = row["release_until"]
        policy = row["release_policy"]
        is_free = policy == "always" or (policy == "until_expiry" and (until is None or ask.at < until))
        is_free = is_free and order["release"] is not False
        purchases = orjson.dumps([bought]).decode()
        row |= {"voided_at": max(ask.at, row["occurred_at"]), "void_reason": order["reason"], "purchases": purchases}
        if is_free:
            row["is_counted"] = False
            _count(code, row, group, -1)
        _earn([each for each in rows if each["voided_at"] is None])
        group.voided.append(row)
        more = {
            "is_released": is_free,
            "was_counted": True,
            "reason": order["reason"],
            "redeemed_at": row["occurred_at"],
        }
        counts = {"times_redeemed": code["uses"], "times_redeemed_version": code["version"]}
        group.events.append(event_of("code.redemption_voided", row, ask.at, {**more, **counts}))
    return 200, shown_of(row)


async def _close(connection: Any, group: Group) -> None:
    """Write everything; a group of one kind is one statement."""
    codes = [code for code in group.codes.values() if code.get("is_moved")]
    of_codes = [[code[name] for code in codes] for name in ("code_id", "uses", "version", "use_limit")]
    of_coupons = [list(group.coupons)]
    of_coupons += [[each[name] for each in group.coupons.values()] for name in ("uses", "version", "use_limit")]
    made = [e for e in group.events if e.type == "code.redeemed"]
    taken = [e for e in group.events if e.type != "code.redeemed"]
    if group.voided:
        rows = group.voided
        ids, bodies = [event.id for event in taken], [event.body for event in taken]
        written = [[row[name] for row in rows] for name in sql.VOIDED]
        await connection.execute(
            sql.VOID, *of_codes[:3], *of_coupons[:3], "code.redemption_voided", ids, bodies, *written
        )
    if group.redeemed:
        ids, bodies = [event.id for event in made], [event.body for event in made]
        written = [_sparse([row[name] for row in group.redeemed]) for name in sql.REDEMPTION]
        await connection.execute(sql.REDEEM, *of_codes, *of_coupons, "code.redeemed", ids, bodies, *written)
    if group.held:
        names = ("program_id", "order_ref", "canonical", "code", "code_id", "coupon_id", "customer_key", "mailbox_key")
        columns = [
            [row[name] for row in group.held] for name in (*names, "discount_minor", "currency", "lines", "until")
        ]
        orders = {(row["program_id"], row["order_ref"]): (row["ask"], row["until"]) for row in group.held}
        reserved = [[key[0] for key in orders], [key[1] for key in orders]]
        reserved += [[each[place] for each in orders.values()] for place in (0, 1)]
        await connection.execute(sql.HOLD, *map(_sparse, columns), *reserved)


def _sparse(column: list[Any]) -> list[Any]:
    """Return a column, or none of it if it has only NULLs, which the server then adds itself."""
    return column if any(value is not None for value in column) else []


def _end(code: Row) -> datetime | None:
    ends = [end for end in (code["expires_at"], code["coupon_expires_at"]) if end is not None]
    return min(ends, default=None)


def verdicts(order: Row, rows: Iterable[Row], program_id: uuid.UUID) -> Row:
    """Return what a validation answers, from the terms of its codes as they are now."""
    group = Group()
    for row in rows:
        group.codes[program_id, row["canonical"]] = dict(row)
    ask = Ask("validate", uuid.UUID(int=0), program_id, order, datetime.now(UTC))
    taken: list[Row] = []
    shown = []
    for canonical, text in order["codes"].items():
        code = group.codes.get((program_id, canonical))
        if code is not None and code["coupon_limit"] is not None:
            code["coupon"] = {"uses": code["coupon_uses"] or 0}
        fault = _fault(ask, code, taken, group)
        given = None
        if fault is None and code is not None:
            amount, lines = _price(order, code, taken)
            text_of_lines = None if lines is None else orjson.dumps(lines).decode()
            of_code = {"coupon_id": code["coupon_id"], "combination": code["combination"], "lines": text_of_lines}
            taken.append({**of_code, "discount_minor": amount})
            kind = "static" if code["percent"] is None else "percent"
            amounts = {"amount_minor": code["amount"], "currency": order["currency"], "discount_minor": amount}
            given = discount({"discount_type": kind, "percent_hundredths": code["percent"], **amounts})
            given["lines"] = discounts_of_lines(text_of_lines)
        ids = {name: code and code[name] and str(code[name]) for name in ("code_id", "coupon_id", "partner_id")}
        told = {"reason": fault, "detail": fault, "blocked_by": None}
        shown.append({"code": text, "valid": fault is None, **told, **ids, "discount": given})
    off = sum(each["discount_minor"] or 0 for each in taken)
    total = None if order["subtotal"] is None else order["subtotal"] - off
    totals = {"currency": order["currency"], "subtotal": order["subtotal"], "discount": off, "total": total}
    is_valid = len(taken) == len(shown)
    return {"valid": is_valid, "codes": shown, "order": totals, "are_histories_counted": True}
