"""The four ways to ask about an order's codes, and one form of answer for all of them; and a fifth, for drafts.

A case says which coupons there are, what was asked before and what is asked; `answers` asks it at every door, each for
a program of its own, and `guide_row` writes it down as the guides show it.
"""

import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import asyncpg

from services.redemption.app import open_database
from shared.draft_coupons import DraftCoupon
from tests.databases import Database
from tests.services.redemption.conftest import Decider, Reply, Shop, data, open_shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

ORDER_REF: Final = "order-1"
# What a draft is tried on.
_OF_ORDER: Final = ("order", "customer")
_FIELD: Final = re.compile(r"data\.([\w.]+) member")


def order(subtotal: Any = None, *items: tuple[Any, Any], currency: Any = "EUR") -> dict[str, Any]:
    """Return an order of lines (product, amount); without a subtotal it is what they come to."""
    made: dict[str, Any] = {"currency": currency, "subtotal": subtotal}
    if subtotal is None:
        made["subtotal"] = sum(amount for _, amount in items)
    if items:
        made["items"] = [
            {name: value for name, value in (("product_id", product), ("amount", amount)) if value is not None}
            for product, amount in items
        ]
    return made


@dataclass(frozen=True, kw_only=True)
class Coupon:
    """A coupon and its codes, by default 10 % off; `columns` are further columns of its row, `says` describes them."""

    codes: tuple[str, ...]
    percent: int | None = 1_000
    amount: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    partner: bool = False
    partner_email: str | None = None
    says: str = ""


@dataclass(frozen=True)
class Takes:
    """The codes are taken, each with what it takes off; `skipped` are those that drop out, with the reason.

    `earned` is what partners then earn by the order's codes and `ends` when discounts end, which only the two doors
    that redeem say.
    """

    discounts: Mapping[str, int | None]
    skipped: Mapping[str, str] = field(default_factory=dict)
    earned: Mapping[str, int | None] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuses:
    """Nothing is taken: the first code at fault and the reason."""

    code: str
    reason: str


@dataclass(frozen=True)
class Malformed:
    """The request cannot be read: 422 over HTTP, `invalid_data` in the dead queue. The first member at fault."""

    member: str


Answer = Takes | Refuses | Malformed
Door = Literal["http", "event", "validation", "hold", "draft"]
DOORS: Final[tuple[Door, ...]] = ("http", "validation", "hold", "event")


@dataclass(frozen=True, kw_only=True)
class Back:
    """An event by which the order is cancelled or, with an amount, refunded; purchases by event are of `/shop`."""

    seconds_ago: int
    source: str = "/warehouse"
    amount: int | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One order asked about at every door. `event` is the answer there where a finished purchase gets another.

    `before` are requests of the same order that are redeemed first, `held` what it reserves then, `back` what is taken
    back of it, `program` columns of the program's row. The order is asked about at the last of `minutes_later`, and
    what it has reserved is reserved again at those before. A case with a `rule` is a row of the table in a guide.
    """

    coupons: tuple[Coupon, ...]
    asks: Mapping[str, Any]
    answer: Answer
    event: Answer | None = None
    before: tuple[Mapping[str, Any], ...] = ()
    held: Mapping[str, Any] | None = None
    minutes_later: tuple[int, ...] = ()
    back: Back | None = None
    program: Mapping[str, Any] = field(default_factory=dict)
    guide: Literal["coupons", "checkout-publisher"] | None = None
    rule: str = ""
    order_says: str = ""

    def expected(self) -> dict[Door, Answer]:
        """What each door is to answer."""
        asking = replace(self.answer, earned={}, ends={}) if isinstance(self.answer, Takes) else self.answer
        expected: dict[Door, Answer] = {
            "http": self.answer,
            "validation": asking,
            "hold": asking,
            "event": self.event or self.answer,
        }
        if self.has_draft:
            expected["draft"] = asking
        return expected

    @property
    def has_draft(self) -> bool:
        """Whether the coupon of the order's only code could be a draft: nobody has used it, and it has no partner."""
        if len(self.coupons) != 1 or self.before or self.held or self.minutes_later or self.back or self.program:
            return False
        [coupon] = self.coupons
        is_plain = len(coupon.codes) == 1 and not coupon.partner and coupon.partner_email is None
        is_order = not (isinstance(self.answer, Malformed) and self.answer.member.partition(".")[0] not in _OF_ORDER)
        return is_plain and is_order and list(self.asks["codes"]) == list(coupon.codes)


async def answers(case: Case, database: Database) -> dict[Door, Answer]:
    """Ask at every door."""
    async with _open(database) as (merchant, shop, decider):
        doors: tuple[Door, ...] = (*DOORS, "draft") if case.has_draft else DOORS
        return {door: await _at(door, case, merchant, shop, decider) for door in doors}


@asynccontextmanager
async def _open(database: Database) -> AsyncIterator[tuple[Merchant, Shop, Decider]]:
    connection = await asyncpg.connect(database.admin)
    try:
        async with open_database(database.redemption, 2) as pool:
            decider = Decider(pool)
            async with open_shop(pool, uuid.uuid4(), "", decider) as shop:
                yield Merchant(connection), shop, decider
    finally:
        await connection.close()


async def _at(door: Door, case: Case, merchant: Merchant, shop: Shop, decider: Decider) -> Answer:
    decider.now = NOW
    shop.program_id = await merchant.program()
    shop.key = await merchant.key(shop.program_id, "checkout")
    if case.program:
        await merchant.restrict_program(shop.program_id, **case.program)
    for coupon in case.coupons:
        await _stock(coupon, merchant, shop.program_id)
    for earlier in case.before:
        assert (await shop.send("POST", "/v1/redemptions", {"order_ref": ORDER_REF, **earlier})).status == 201
    for minutes in (0, *case.minutes_later):
        decider.now = NOW + timedelta(minutes=minutes)
        if case.held is not None and minutes not in case.minutes_later[-1:]:
            reply = await shop.send("POST", "/v1/reservations", {"order_ref": ORDER_REF, **case.held})
            assert reply.status == (200 if minutes else 201)
    if case.back is not None:
        await _take_back(case.back, shop.program_id, decider)
    asked = {"order_ref": ORDER_REF, **case.asks}
    if door == "draft":
        shop.key = await merchant.key(shop.program_id, "manage")
        return await _preview(asked, shop, await _published_terms(merchant, shop.program_id))
    return await _ASK[door](asked, shop, decider)


async def _published_terms(merchant: Merchant, program_id: uuid.UUID) -> dict[str, Any]:
    """Return the terms of the program's only code as the view publishes them."""
    [row] = await merchant.connection.fetch("SELECT * FROM codes.redeemable_v1 WHERE program_id = $1", program_id)
    terms = {each.name: row[each.name] for each in fields(DraftCoupon)}
    terms["amounts_by_currency"] = json.loads(terms["amounts_by_currency"])
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in terms.items()}


async def _preview(asked: Mapping[str, Any], shop: Shop, terms: Mapping[str, Any]) -> Answer:
    asks = {name: value for name, value in asked.items() if name in _OF_ORDER}
    reply = await shop.send("POST", "/v1/validations/drafts", {"coupon": terms, **asks})
    if (refusal := _refusal(reply, asked)) is not None:
        return refusal
    [code] = asked["codes"]
    if not reply.data["valid"]:
        return Refuses(code, reply.data["reason"])
    return Takes({code: reply.data["discount"]["applied_minor"]})


async def _take_back(back: Back, program_id: uuid.UUID, decider: Decider) -> None:
    kind, amount = ("cancelled" if back.amount is None else "refunded"), back.amount
    at = decider.now - timedelta(seconds=back.seconds_ago)
    event = json.loads(taken_back(program_id, kind, ref=ORDER_REF, time=at, amount=amount)) | {"source": back.source}
    await decider.take(json.dumps(event).encode())


async def _stock(coupon: Coupon, merchant: Merchant, program_id: uuid.UUID) -> None:
    currency = None if coupon.amount is None else "EUR"
    coupon_id = await merchant.coupon(program_id, percent=coupon.percent, amount=coupon.amount, currency=currency)
    if coupon.columns:
        await merchant.restrict_coupon(coupon_id, **coupon.columns)
    partner_id = await merchant.partner(program_id) if coupon.partner or coupon.partner_email else None
    if partner_id is not None and coupon.partner_email is not None:
        await merchant.restrict_partner(partner_id, email_canonical=coupon.partner_email)
    for code in coupon.codes:
        await merchant.code(program_id, coupon_id, code, partner_id=partner_id, limit=None)


async def _redeem(asked: Mapping[str, Any], shop: Shop, _: Decider) -> Answer:
    reply = await shop.send("POST", "/v1/redemptions", asked)
    if (refusal := _refusal(reply, asked)) is not None:
        return refusal
    made = [redemption for redemption in reply.data["redemptions"] if redemption["code"] in asked["codes"]]
    taken = {each["code"]: each["discount"]["applied_minor"] for each in made}
    return Takes(taken, {}, *await _kept(asked, made, shop))


async def _hold(asked: Mapping[str, Any], shop: Shop, _: Decider) -> Answer:
    reply = await shop.send("POST", "/v1/reservations", _unpaid(asked))
    return _refusal(reply, asked) or Takes({held["code"]: held["discount_minor"] for held in reply.data["codes"]})


async def _validate(asked: Mapping[str, Any], shop: Shop, _: Decider) -> Answer:
    reply = await shop.send("POST", "/v1/validations", _unpaid(asked))
    if (refusal := _refusal(reply, asked)) is not None:
        return refusal
    verdicts = reply.data["codes"]
    for verdict in verdicts:
        if not verdict["valid"]:
            return Refuses(verdict["code"], verdict["reason"])
    return Takes({verdict["code"]: verdict["discount"]["applied_minor"] for verdict in verdicts})


def _unpaid(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a request has before the order is paid: attributes are of a purchase."""
    return {name: value for name, value in asked.items() if name != "attributes"}


async def _publish(asked: Mapping[str, Any], shop: Shop, decider: Decider) -> Answer:
    before = len(decider.handed_over)
    event = {name: value for name, value in asked.items() if name not in ("codes", "order_ref")}
    ref, paid_at = asked["order_ref"], decider.now
    [rejected] = await decider.handle(checkout(shop.program_id, *asked["codes"], ref=ref, time=paid_at, **event))
    if rejected is not None:
        found = _FIELD.search(rejected.detail)
        assert (rejected.reason, found is not None) == ("invalid_data", True), rejected
        return Malformed(found.group(1) if found else "")
    told = [data(event) for event in decider.handed_over[before:]]
    for each in told:
        if each["event"] == "code.redemption_rejected":
            return Refuses(each["code"], each["reason"])
        if each["event"] == "code.redemption_voided":
            assert not each["was_counted"]
            return Refuses(each["code"], "order_cancelled")
    redeemed = [each for each in told if each["event"] == "code.redeemed"]
    taken = {each["code"]: each["discount"]["applied_minor"] for each in redeemed}
    skipped = {each["code"]: each["reason"] for each in told if each["event"] == "code.redemption_skipped"}
    return Takes(taken, skipped, *await _kept(asked, redeemed, shop))


async def _kept(
    asked: Mapping[str, Any], said: Sequence[Mapping[str, Any]], shop: Shop
) -> tuple[dict[str, int | None], dict[str, str]]:
    """Return what partners earn of the order now, and when the discounts end that were given for a while.

    What the door itself says of its codes must be the same.
    """
    order = (await shop.send("GET", f"/v1/orders/{asked['order_ref']}")).data
    standing = [each for each in order["redemptions"] if each["voided_at"] is None]
    earned, ends = _earned(standing), _ends(standing)
    assert _earned(said).items() <= earned.items()
    assert _ends(said).items() <= ends.items()
    return earned, ends


def _earned(redeemed: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    return {each["code"]: each["commission"]["amount_minor"] for each in redeemed if each["commission"] is not None}


def _ends(redeemed: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    lasting = [each for each in redeemed if each["discount_ends_at"] not in (None, each["occurred_at"])]
    return {each["code"]: each["discount_ends_at"].replace(".000000", "") for each in lasting}


_ASK: Final[Mapping[Door, Callable[[Mapping[str, Any], Shop, Decider], Awaitable[Answer]]]] = {
    "http": _redeem,
    "validation": _validate,
    "hold": _hold,
    "event": _publish,
}


def _refusal(reply: Reply, asked: Mapping[str, Any]) -> Answer | None:
    if reply.status == 422:
        return Malformed(next(iter(reply.body["errors"])))
    if reply.status == 409:
        place = next(iter(reply.body["errors"])).removeprefix("codes.")
        return Refuses(asked["codes"][int(place)], reply.body["code"])
    assert reply.status in (200, 201), reply.body
    return None


GUIDE_HEAD: Final = (
    "| rule | codes | the order | HTTP redemption, validation, reservation | event |\n|---|---|---|---|---|"
)


def guide_row(case: Case) -> str:
    """Return the case as a row of its guide's table."""
    coupons = "; ".join(_coupon_text(coupon) for coupon in case.coupons)
    program = f"; {_columns_text(case.program)}" if case.program else ""
    event = "the same" if case.event is None else _answer_text(case.event, case)
    return f"| {case.rule} | {coupons}{program} | {_order_text(case)} | {_answer_text(case.answer, case)} | {event} |"


def _coupon_text(coupon: Coupon) -> str:
    codes = ", ".join(f"`{code}`" for code in coupon.codes)
    taken = f"{(coupon.percent or 0) / 100:g} %" if coupon.amount is None else f"{coupon.amount} off"
    further = coupon.says or _columns_text(coupon.columns)
    return f"{codes}: {taken}{', ' if further else ''}{further}"


# Columns in the words of the coupon API, or of people; what has no words here is shown as it is.
_WORDS: Final[Mapping[str, Callable[[Any], str]]] = {
    "product_ids": lambda products: f"for {', '.join(products)}",
    "excluded_product_ids": lambda products: f"not for {', '.join(products)}",
    "minimum_minor": lambda amount: f"from {amount} on",
    "minimum_currency": lambda _: "",
    "commission_hundredths": lambda rate: f"commission {rate / 100:g} %",
    "commission_cap_hundredths": lambda cap: f"`commission_cap_percent` `{cap / 100:g}`",
    "customer_redemption_limit": lambda limit: f"`redemptions_per_customer` `{limit}`",
    "redemption_limit": lambda limit: f"`redemption_times_value` `{limit}`",
    "daily_redemption_limit": lambda limit: f"`redemptions_per_day` `{limit}`",
    "budget_minor": lambda amount: f"a budget of {amount}",
    "budget_currency": lambda _: "",
    "timezone": lambda zone: f"`timezone` `{zone}`",
    "is_active": lambda is_active: "on" if is_active else "off",
}


def _columns_text(columns: Mapping[str, Any]) -> str:
    words = [_WORDS[name](value) if name in _WORDS else f"`{name}` `{_text(value)}`" for name, value in columns.items()]
    return ", ".join(filter(None, words))


def _order_text(case: Case) -> str:
    earlier = [f"{_asked_text(each)} before; " for each in case.before]
    if case.held is not None:
        earlier.append(f"{_asked_text(case.held)} reserved before; ")
        earlier += [f"reserved again {minutes} min later; " for minutes in case.minutes_later[:-1]]
    earlier += [f"{minutes} min later " for minutes in case.minutes_later[-1:]]
    if (back := case.back) is not None:
        what = "cancelled" if back.amount is None else f"refunded {back.amount}"
        earlier.append(f"{what} by `{back.source}` {back.seconds_ago} s ago; ")
    return "".join(earlier) + (case.order_says or _asked_text(case.asks))


def _asked_text(asked: Mapping[str, Any]) -> str:
    codes = ", ".join(f"`{code}`" for code in asked["codes"])
    members = [codes]
    order = asked.get("order", {})
    if order.get("items"):
        members.append(
            ", ".join(
                f"{item.get('product_id', '?')} {_text(item.get('amount', 'without amount'))}"
                for item in order["items"]
            )
        )
    told = [("subtotal", order.get("subtotal")), ("currency", order.get("currency"))]
    # What follows from the items, or is as everywhere, need not be said.
    usual = (sum(item["amount"] for item in order.get("items") or ()) if _are_told(order) else None, "EUR")
    pairs = zip(told, usual, strict=True)
    members += [f"{name} {_text(value)}" for (name, value), same in pairs if value not in (None, same)]
    members += [f"{name} {_text(value)}" for name, value in asked.items() if name not in ("codes", "order")]
    return ", ".join(members)


def _are_told(order: Mapping[str, Any]) -> bool:
    items = order.get("items") or ()
    return bool(items) and all(isinstance(item.get("amount"), int | float) for item in items)


def _answer_text(answer: Answer, case: Case) -> str:
    match answer:
        case Malformed(member):
            dead = "" if case.event is not None else ", in the dead queue as `invalid_data`"
            return f"422{dead}: `{member}`"
        case Refuses(code, reason):
            return f"`{reason}`" if len(case.asks["codes"]) == 1 else f"`{reason}` for `{code}`"
        case Takes(discounts, skipped, earned, ends):
            taken = [f"`{code}` takes {'an unknown amount' if n is None else n}" for code, n in discounts.items()]
            taken += [f"the partner of `{code}` earns {amount}" for code, amount in earned.items()]
            taken += [f"the discount of `{code}` ends at {at}" for code, at in ends.items()]
            return ", ".join([*taken, *(f"`{code}` drops out: `{reason}`" for code, reason in skipped.items())])


def _text(value: Any) -> str:
    is_word = isinstance(value, str) and value.replace("_", "").isalnum()
    return str(value) if is_word or value == "without amount" else json.dumps(value, ensure_ascii=False)
