"""Holds, redemptions, voids, refunds and the clock against each other, over HTTP and by events on two replicas."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.app import open_database
from tests.databases import Database
from tests.services.redemption.conftest import Decider, Shop, open_shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

WAVES, ASKS = 6, 24
CODES = {"C0": 1, "C1": 3, "C2": None}
USD = {"currency": "USD", "subtotal": 100}
REDEMPTIONS = "SELECT id FROM redemption.redemptions ORDER BY decided_at, id"
RESERVATIONS = "SELECT reservation_id FROM redemption.orders WHERE reservation_id IS NOT NULL"
# Every count against what it counts, and with what is held against its limit, row by row.
WRONG = """
WITH counted AS (SELECT * FROM redemption.redemptions WHERE is_counted),
held AS (SELECT * FROM redemption.holds WHERE expires_at > $1)
SELECT 'code ' || c.code AS what, n.uses
FROM redemption.code_counters n JOIN codes.promotion_codes c ON c.id = n.code_id
WHERE n.uses <> (SELECT count(*) FROM counted r WHERE r.code_id = n.code_id)
   OR n.uses + (SELECT count(*) FROM held h WHERE h.code_id = n.code_id) > c.redemption_limit
UNION ALL
SELECT 'coupon', n.uses FROM redemption.coupon_counters n JOIN codes.coupons k ON k.id = n.coupon_id
WHERE n.uses <> (SELECT count(*) FROM counted) OR n.uses + (SELECT count(*) FROM held) > k.redemption_limit
   OR n.spent_minor <> (SELECT coalesce(sum(discount_minor), 0) FROM counted)
   OR n.spent_minor + (SELECT coalesce(sum(discount_minor), 0) FROM held) > k.budget_minor
UNION ALL
SELECT 'day', n.uses FROM redemption.period_counters n JOIN codes.coupons k ON k.id = n.coupon_id
WHERE n.period = 'day' AND (n.uses <> (SELECT count(*) FROM counted) OR n.uses > k.daily_redemption_limit)
UNION ALL
SELECT 'customer', count(*)::int FROM (
    SELECT customer_key, coupon_id FROM counted UNION ALL SELECT customer_key, coupon_id FROM held) u
JOIN codes.coupons k ON k.id = u.coupon_id
GROUP BY customer_key, customer_redemption_limit HAVING count(*) > customer_redemption_limit
UNION ALL
SELECT 'event', count(*)::int FROM redemption.events HAVING
    count(*) FILTER (WHERE type = 'code.redeemed') <> (SELECT count(*) FROM redemption.redemptions r WHERE r.id IN (
        SELECT (convert_from(body, 'UTF8')::json->'data'->>'redemption_id')::uuid FROM redemption.events
        WHERE type = 'code.redeemed'))
    OR count(*) FILTER (WHERE type = 'code.redemption_voided') <> (
        SELECT count(*) FROM redemption.redemptions WHERE voided_at IS NOT NULL)
"""


@pytest.fixture
async def replicas(database: Database, merchant: Merchant) -> AsyncIterator[list[Shop]]:
    program = await merchant.program()
    key = await merchant.key(program, "checkout")
    async with open_database(database.redemption, 4) as one, open_database(database.redemption, 4) as two:
        first, second = Decider(one), Decider(two)
        async with open_shop(one, program, key, first) as here, open_shop(two, program, key, second) as there:
            yield [here, there]


@pytest.mark.parametrize("seed", range(3))
async def test_no_interleaving_passes_a_limit_or_loses_a_use(
    seed: int, replicas: list[Shop], merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Nothing fails either: every request is granted or refused, every event is taken."""
    chance = random.Random(seed)  # noqa: S311 - it has to repeat itself
    coupon = await merchant.coupon(replicas[0].program_id, percent=1000, limit=7)
    await merchant.restrict_coupon(
        coupon, customer_redemption_limit=3, daily_redemption_limit=6, budget_minor=60, budget_currency="USD"
    )
    for text, limit in CODES.items():
        await merchant.code(replicas[0].program_id, coupon, text, limit=limit)
    for wave in range(WAVES):
        now = NOW + wave * timedelta(seconds=10)
        for replica in replicas:
            replica.decider.now = now
        ids = [str(row["id"]) for row in await admin.fetch(REDEMPTIONS)]
        held = [str(row["reservation_id"]) for row in await admin.fetch(RESERVATIONS)]
        statuses = await asyncio.gather(*(ask(chance, replicas, ids, held) for _ in range(ASKS)))
        assert set(statuses) <= {200, 201, 204, 404, 409}
        assert [tuple(row) for row in await admin.fetch(WRONG, now)] == []
    assert await admin.fetchval("SELECT count(*) FROM redemption.redemptions") > 0


def ask(chance: random.Random, replicas: list[Shop], ids: list[str], held: list[str]) -> Awaitable[int]:
    """Do one thing, chosen at once, so that the seed says what is done and only the database in which order."""
    shop = chance.choice(replicas)
    codes = chance.sample(list(CODES), chance.choice((1, 1, 2)))
    order = chance.randrange(8)
    ref = f"order-{order}"
    who: dict[str, Any] = {"order": USD, "customer": {"id": f"customer-{order // 3}"}}
    moment = shop.decider.now - timedelta(seconds=chance.randrange(15))
    match chance.choice(
        ("redeem", "redeem", "reserve", "reserve", "event", "event", "cancel", "refund", "void", "end")
    ):
        case "redeem":
            return status(shop, "/v1/redemptions", {"codes": codes, "order_ref": ref, **who})
        case "reserve":
            asked = {"codes": codes, "order_ref": ref, "ttl_seconds": chance.choice((5, 15, 60)), **who}
            return status(shop, "/v1/reservations", asked)
        case "event":
            return taken(shop, checkout(shop.program_id, *codes, ref=ref, time=moment, **who))
        case "refund":
            return taken(shop, taken_back(shop.program_id, "refunded", ref=ref, time=moment, amount=45))
        case "void" if ids:
            return status(shop, f"/v1/redemptions/{chance.choice(ids)}/void", {})
        case "end" if held:
            return status(shop, f"/v1/reservations/{chance.choice(held)}", method="DELETE")
        case _:
            return taken(shop, taken_back(shop.program_id, ref=ref, time=moment))


async def status(shop: Shop, path: str, body: object = None, *, method: str = "POST") -> int:
    return (await shop.send(method, path, body)).status


async def taken(shop: Shop, body: bytes) -> int:
    await shop.decider.take(body)
    return 200
