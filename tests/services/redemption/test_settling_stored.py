"""Separate purchases, refunds of parts and cancellations on a real database: rows, counters and events agree."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.domain.terms import ReleasePolicy
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back
from tests.services.redemption.test_settling import EXAMPLES, SUBTOTAL, Event, bought, cancelled, outcome, refunded

ORDER = {"currency": "USD", "subtotal": SUBTOTAL}
CODES = ("A0", "A1")
# Late cancellations and refunds that show that another refund was not the rest of what was paid.
STORIES = [
    *EXAMPLES,
    (
        [bought(0, at=1), cancelled(at=2, clock="/other"), bought(1, at=3), refunded(8_500, at=4), bought(1, at=5)],
        {"A1"},
    ),
]
EVENTS = "SELECT type, convert_from(body, 'UTF8')::json -> 'data' AS data FROM redemption.events ORDER BY id"
Connection = asyncpg.Connection


def body(program: Any, event: Event, ref: str, place: int, codes: Sequence[str] = CODES, order: Any = ORDER) -> bytes:
    at = NOW - timedelta(hours=20) + event.second * timedelta(hours=1)
    if event.codes:
        named = [codes[code] for code in event.codes]
        made = checkout(program, *named, ref=ref, event=f"{ref} {place}", time=at, order=order, customer={"id": ref})
    elif event.refund is None:
        made = taken_back(program, ref=ref, event=f"{ref} {place}", time=at, release=event.release)
    else:
        parts: dict[str, Any] = {"amount": event.refund, "release": event.release}
        made = taken_back(program, "refunded", ref=ref, event=f"{ref} {place}", time=at, **parts)
    return json.dumps(json.loads(made) | {"source": event.clock}).encode()


async def stock(merchant: Merchant, program: Any, policy: str = "always", most: int = 1) -> None:
    for code in CODES:
        coupon = await merchant.coupon(program, percent=1_000, limit=5_000)
        await merchant.restrict_coupon(
            coupon,
            commission_hundredths=1_000,
            customer_redemption_limit=most,
            release_policy=policy,
            daily_redemption_limit=5_000,
            budget_minor=10**9,
            budget_currency="USD",
        )
        await merchant.code(
            program, coupon, code, limit=None, partner_id=await merchant.partner(program), created_at=NOW - timedelta(9)
        )


async def check(
    admin: "Connection[asyncpg.Record]", orders: int, stand: set[str], kept: dict[str, int] | None = None
) -> None:
    """Rows, counters, budgets and what was announced say the same of every order.

    Codes have the uses of `kept` where that is not one for each that stands.
    """
    kept = dict.fromkeys(stand, 1) if kept is None else kept
    rows = await admin.fetch(
        "SELECT id::text, order_ref, code, commission_minor FROM redemption.redemptions WHERE voided_at IS NULL"
    )
    standing: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        standing[row["order_ref"]][row["code"]] = row["commission_minor"]
    assert [set(codes) for codes in standing.values()] == ([stand] * orders if stand else [])
    assert len({json.dumps(codes, sort_keys=True) for codes in standing.values()}) <= 1
    each = await admin.fetch(
        "SELECT order_ref, canonical, count(*) AS uses FROM redemption.redemptions WHERE is_counted GROUP BY 1, 2"
    )
    assert {(row["canonical"], row["uses"]) for row in each} == set(kept.items())
    total = sorted(orders * uses for uses in kept.values())
    uses = await admin.fetch("SELECT uses FROM redemption.code_counters WHERE uses > 0")
    assert sorted(row["uses"] for row in uses) == total
    counted = await admin.fetch("SELECT uses, spent_minor FROM redemption.coupon_counters WHERE uses > 0")
    assert sorted(tuple(row) for row in counted) == [(uses, 1_000 * uses) for uses in total]
    days = "SELECT coalesce(sum(uses), 0) FROM redemption.period_counters WHERE period = 'day'"
    assert await admin.fetchval(days) == sum(total)
    counts: dict[str, tuple[int, int]] = {}
    for kind, text in await admin.fetch(EVENTS):
        if kind in ("code.redeemed", "code.redemption_voided"):
            data = json.loads(text)
            newest = data["times_redeemed_version"], data["times_redeemed"]
            counts[data["code_id"]] = max(counts.get(data["code_id"], (0, 0)), newest)
    assert sorted(count for _, count in counts.values() if count) == total
    net: Counter[tuple[str, str]] = Counter()
    commissions: dict[str, tuple[int, Any]] = {}
    for kind, text in await admin.fetch(EVENTS):
        data = json.loads(text)
        if kind == "code.redeemed":
            net[data["order_ref"], data["code"]] += 1
            commissions.setdefault(data["redemption_id"], (0, data["commission"]["amount_minor"]))
        elif kind == "code.redemption_voided":
            net[data["order_ref"], data["code"]] -= data["was_counted"]
        elif kind == "code.commission_changed":
            told = data["commission_version"], data["commission"]["amount_minor"]
            commissions[data["redemption_id"]] = max(commissions.get(data["redemption_id"], told), told)
    assert {key for key, count in net.items() if count} == {(row["order_ref"], row["code"]) for row in rows}
    assert all(count in (0, 1) for count in net.values())
    assert {row["id"]: commissions[row["id"]][1] for row in rows} == {
        row["id"]: row["commission_minor"] for row in rows
    }


@pytest.mark.parametrize("is_one_batch", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize(("story", "stand"), STORIES)
async def test_every_permutation_comes_to_the_same(
    decider: Decider,
    merchant: Merchant,
    admin: "Connection[asyncpg.Record]",
    story: list[Event],
    stand: set[str],
    is_one_batch: bool,
) -> None:
    """Each permutation is an order of its own; one by one a transaction knows the next event of each."""
    program = await merchant.program()
    await stock(merchant, program)
    orders = [
        [body(program, story[place], str(number), place) for place in arrivals]
        for number, arrivals in enumerate(itertools.permutations(range(len(story))))
    ]
    if is_one_batch:
        await decider.take(*(each for order in orders for each in (*order, *order)))
    else:
        for step in zip(*orders, strict=True):
            await decider.take(*step)
    await check(admin, len(orders), stand)


# Codes that do not become free again, by their terms or by the cancellation: a new purchase is another use.
KEPT = [
    ([bought(0, 1, at=1), cancelled(at=2)], "never"),
    ([bought(0, at=1), cancelled(at=2), bought(0, 1, at=3)], "never"),
    ([bought(0, at=1), cancelled(at=2), bought(0, at=3), cancelled(at=4)], "never"),
    ([bought(0, at=1), refunded(9_000, at=2), bought(1, at=3), refunded(8_000, at=4)], "never"),
    ([bought(0, at=1), cancelled(at=2, release=False), bought(0, at=3), cancelled(at=4)], "always"),
    ([bought(0, at=1), cancelled(at=2), cancelled(at=3, release=False)], "always"),
    ([bought(0, at=1), cancelled(at=2, release=False), cancelled(at=3, clock="/other")], "always"),
]


@pytest.mark.parametrize("is_one_batch", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize(("story", "policy"), KEPT)
async def test_every_permutation_leaves_the_same_uses_taken(
    decider: Decider,
    merchant: Merchant,
    admin: "Connection[asyncpg.Record]",
    story: list[Event],
    policy: ReleasePolicy,
    is_one_batch: bool,
) -> None:
    """A purchase that arrived after its cancellation left its use free, whatever the terms."""
    expected = outcome(story, range(len(story)), policies=(policy,))
    program = await merchant.program()
    await stock(merchant, program, policy, most=2)
    orders = [
        [body(program, story[place], str(number), place) for place in arrivals]
        for number, arrivals in enumerate(itertools.permutations(range(len(story))))
    ]
    for step in [[each for order in orders for each in order]] if is_one_batch else zip(*orders, strict=True):
        await decider.take(*step)
    await check(admin, len(orders), set(expected.earned), expected.uses)


@pytest.mark.parametrize("arrivals", list(itertools.permutations(range(3))))
async def test_at_several_doors(
    shop: Shop, merchant: Merchant, admin: "Connection[asyncpg.Record]", arrivals: tuple[int, ...]
) -> None:
    """The one code over HTTP, the other by event, the refund from elsewhere."""
    await stock(merchant, shop.program_id)
    for place in arrivals:
        if place == 0:
            at = (NOW - timedelta(hours=3)).isoformat()
            reply = await shop.redeem("A0", ref="1", order=ORDER, customer={"id": "1"}, occurred_at=at)
            assert reply.status in (201, 409)
        elif place == 1:
            await shop.decider.take(body(shop.program_id, bought(1, at=18), "1", place))
        else:
            await shop.decider.take(body(shop.program_id, refunded(8_000, at=19, clock="/other"), "1", place))
    await check(admin, 0, set())


@pytest.mark.parametrize("is_used_elsewhere", [False, True])
async def test_what_was_voided_too_early_is_redeemed_again_where_limits_allow(
    decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]", is_used_elsewhere: bool
) -> None:
    """Also of a customer of whom nothing but a digest is kept any more."""
    program = await merchant.program()
    await stock(merchant, program)
    story = [bought(0, at=1), bought(1, at=3), refunded(8_000, at=4)]
    await decider.take(*(body(program, event, "1", place) for place, event in enumerate(story)))
    assert await admin.fetchval("SELECT count(*) FROM redemption.redemptions WHERE voided_at IS NULL") == 0
    if is_used_elsewhere:
        await decider.take(body(program, bought(1, at=5), "2", 0))
    # The buyers of both orders turn out to be one.
    await admin.execute("UPDATE redemption.redemptions SET customer_id = 'erased:1', customer_key = 'erased:1'")
    events = await decider.take(body(program, cancelled(at=2), "1", 3))
    assert [(event["event"], event["code"]) for event in events] == (
        [] if is_used_elsewhere else [("code.redeemed", "A1")]
    )
    standing = await admin.fetch("SELECT order_ref, code FROM redemption.redemptions WHERE voided_at IS NULL")
    assert [tuple(row) for row in standing] == [("2" if is_used_elsewhere else "1", "A1")]


LINES = [("X", 3_000), ("Y", 2_000), ("X", 1_000)]
ITEM_ORDER = ORDER | {"items": [{"product_id": product, "amount": amount} for product, amount in LINES]}
ITEM_CODES = {"HALFX": (5_000, ["X"]), "ALLX": (10_000, ["X"]), "WHOLE": (7_000, None), "MOSTY": (6_000, ["Y"])}


@pytest.mark.parametrize(
    ("last", "stand"),
    [("ALLX", {"ALLX"}), ("WHOLE", {"WHOLE"}), ("MOSTY", {"HALFX", "MOSTY"})],
    ids=["a code for the same products", "a code for the whole order", "a code for other products"],
)
async def test_what_was_voided_too_early_fits_into_every_line_beside_what_came_since(
    decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]", last: str, stand: set[str]
) -> None:
    """Two codes took more off an item than it costs, since the subtotal alone was looked at."""
    program = await merchant.program()
    for code, (percent, products) in ITEM_CODES.items():
        coupon = await merchant.coupon(program, percent=percent)
        if products:
            await merchant.restrict_coupon(coupon, product_ids=products)
        await merchant.code(program, coupon, code, limit=None, created_at=NOW - timedelta(9))
    codes = ["MOSTY", "HALFX", last]
    # All that is paid goes back, unless the first code was cancelled before it.
    story = [bought(0, at=1), bought(1, at=3), refunded(6_800, at=4), bought(2, at=5), cancelled(at=2)]
    for place, event in enumerate(story):
        told = await decider.take(body(program, event, "1", place, codes, ITEM_ORDER))
    assert [(event["event"], event["code"]) for event in told] == (
        [("code.redeemed", "HALFX")] if "HALFX" in stand else []
    )
    rows = await admin.fetch(
        "SELECT code, lines::text, prices::text FROM redemption.redemptions WHERE voided_at IS NULL"
    )
    assert {row["code"] for row in rows} == stand
    assert {row["prices"] for row in rows} == {json.dumps(LINES, separators=(",", ":"))}
    taken = Counter[int]()
    for row in rows:
        taken.update({place: minor for place, _, minor in json.loads(row["lines"])})
    assert all(taken[place] <= amount for place, (_, amount) in enumerate(LINES))
