"""What redemption forgets: orders that came to nothing, with their refunds; an order with a redemption never."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.usecases import remove_old
from services.redemption.usecases.remove_old import ForgetOrders
from shared.database.pool import Database as Pool
from tests.services.redemption.conftest import Decider, Shop, data, told
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

KEPT = timedelta(days=36)
TABLES = ("orders", "refunds", "holds", "redemptions")
ORDERS = "SELECT order_ref FROM redemption.orders ORDER BY order_ref"
INSERT_AS_BEFORE = "INSERT INTO redemption.orders (program_id, order_ref, created_at) VALUES ($1, $2, now())"
INSERT_REJECTION = """
INSERT INTO redemption.rejections (id, program_id, order_ref, code, reason, detail, source, event_id, occurred_at,
                                   decided_at)
VALUES (gen_random_uuid(), gen_random_uuid(), 'o', 'C', 'expired', '', '/shop', 'e', $1, $1)
"""
INSERT_GUESS = "INSERT INTO redemption.guesses VALUES (gen_random_uuid(), '192.0.2.1', $1, 1)"


async def forget(pool: Pool, days: float) -> int:
    return await ForgetOrders(pool, lambda: NOW + timedelta(days=days), KEPT)()


async def orders(admin: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    return [row["order_ref"] for row in await admin.fetch(ORDERS)]


async def count(admin: "asyncpg.Connection[asyncpg.Record]", table: str) -> int:
    number: int = await admin.fetchval(f"SELECT count(*) FROM redemption.{table}")  # noqa: S608 - names of tests
    return number


async def code_of(merchant: Merchant, program: uuid.UUID, code: str, **terms: Any) -> None:
    await merchant.code(program, await merchant.coupon(program), code, **terms)


async def test_an_order_that_is_refused_leaves_no_row_behind(
    decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await code_of(merchant, program, "OTHER")
    events = await decider.take(
        checkout(program, "NONE", ref="refused"), checkout(program, "NONE", ref="refused", event="again")
    )
    assert told(events) == ["code_unknown", "code_unknown"]
    assert await orders(admin) == []
    await code_of(merchant, program, "NONE")
    assert told(await decider.take(checkout(program, "NONE", ref="refused"))) == ["code.redeemed"]
    assert await orders(admin) == ["refused"]


async def test_who_waits_for_an_order_that_is_refused_redeems_it(
    decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The row that one waits for is gone when it comes to its turn: it makes its own, and no purchase is lost."""
    program = await merchant.program()
    await code_of(merchant, program, "GOOD")
    bodies = [checkout(program, code, ref="one") for code in ("BAD", "GOOD") for _ in range(10)]
    assert await asyncio.gather(*(decider.handle(body) for body in bodies)) == [[None]] * 20
    reasons = told([data(event) for event in decider.handed_over])
    assert (reasons.count("code_unknown"), reasons.count("code.redeemed")) == (10, 1)
    assert await orders(admin) == ["one"]


async def test_what_came_to_nothing_goes_after_its_time_and_the_rest_stays_for_good(
    shop: Shop, merchant: Merchant, pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = shop.program_id
    for name in ("A", "B", "C"):
        await code_of(merchant, program, name)
    order = {"currency": "EUR", "subtotal": 5000}
    await shop.decider.take(
        taken_back(program, ref="cancelled"),
        taken_back(program, "refunded", ref="refunded", amount=500),
        checkout(program, "A", ref="redeemed", order=order),
        taken_back(program, "refunded", ref="redeemed", amount=500),
        checkout(program, "B", ref="voided"),
        taken_back(program, ref="voided"),
    )
    reserved = await shop.reserve("C", ref="reserved")
    assert reserved.status == 201
    everything = ["cancelled", "redeemed", "refunded", "reserved", "voided"]
    assert await orders(admin) == everything
    assert await forget(pool, 35.9) == 0
    assert await orders(admin) == everything
    # The purge of what is reserved comes long before; it need not have.
    assert await count(admin, "holds") == 1
    assert await forget(pool, 36.1) == 5
    assert await orders(admin) == ["redeemed", "voided"]
    assert [await count(admin, table) for table in TABLES] == [2, 1, 0, 2]
    # What has a redemption was looked at once.
    assert await forget(pool, 400) == 0


async def test_a_late_sign_of_an_order_begins_its_time_anew(
    decider: Decider, merchant: Merchant, pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The time of receipt counts, not the time in the event."""
    program = await merchant.program()
    await decider.take(taken_back(program, "refunded", ref="order", amount=5))
    decider.now = NOW + timedelta(days=30)
    await decider.take(taken_back(program, "refunded", ref="order", amount=6, time=NOW - timedelta(hours=1)))
    assert await forget(pool, 40) == 0
    assert await forget(pool, 67) == 1
    assert await orders(admin) == []
    assert await count(admin, "refunds") == 0


async def test_a_cancellation_stands_as_long_as_it_is_kept(decider: Decider, merchant: Merchant, pool: Pool) -> None:
    program = await merchant.program()
    await code_of(merchant, program, "CODE")
    await decider.take(taken_back(program))
    await forget(pool, 35)
    late = await decider.take(checkout(program, "CODE", time=NOW - timedelta(hours=1)))
    assert [event["event"] for event in late] == ["code.redemption_voided"]


async def test_an_order_that_is_being_decided_is_passed_over(
    decider: Decider, merchant: Merchant, pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await code_of(merchant, program, "CODE")
    await decider.take(taken_back(program, "refunded", amount=5))
    lock = "SELECT 1 FROM redemption.orders FOR UPDATE"
    async with admin.transaction():
        await admin.execute(lock)
        assert await forget(pool, 40) == 0
    await decider.take(checkout(program, "CODE"))
    assert await forget(pool, 40) == 1
    assert await orders(admin) == ["order-1"]
    assert await count(admin, "refunds") == 1


async def test_several_processes_forget_each_order_once(
    decider: Decider, merchant: Merchant, pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await decider.take(*(taken_back(program, ref=f"order-{n}") for n in range(450)))
    assert sum(await asyncio.gather(*(forget(pool, 37) for _ in range(4)))) == 450
    assert await orders(admin) == []


async def test_orders_of_the_release_before_are_looked_at_too(
    decider: Decider, merchant: Merchant, pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Its statement does not name `touched_at`; its rows with a redemption must stay."""
    program = await merchant.program()
    await code_of(merchant, program, "CODE")
    for ref in ("refused", "order-1"):
        await admin.execute(INSERT_AS_BEFORE, program, ref)
    await decider.take(checkout(program, "CODE"))
    today = (datetime.now(UTC) - NOW) / timedelta(days=1)
    assert await forget(pool, today + 35) == 0
    assert await forget(pool, today + 37) == 2
    assert await orders(admin) == ["order-1"]


async def test_refusals_go_after_their_time_and_not_before_thirty_days(
    pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    now = datetime.now(UTC)
    for days in (1, 29, 31, 399, 401):
        await admin.execute(INSERT_REJECTION, now - timedelta(days=days))
    for kept, left in ((400, 4), (300, 3), (1, 2)):
        found = remove_old.removals(pool, lambda: now, KEPT, timedelta(days=kept))
        await next(each for each in found if each.table == "rejections")()
        assert await count(admin, "rejections") == left


async def test_windows_of_guesses_go_when_they_are_over(
    pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    now = datetime.now(UTC)
    for minutes in (1, 9, 11, 1000):
        await admin.execute(INSERT_GUESS, now - timedelta(minutes=minutes))
    found = remove_old.removals(pool, lambda: now, KEPT, timedelta(days=400))
    assert await next(each for each in found if each.table == "guesses")() == 2


@pytest.mark.parametrize("statement", ["SELECT forget_refunds($1, $2)"])
async def test_the_database_keeps_the_refunds_of_what_was_redeemed(
    statement: str, decider: Decider, merchant: Merchant, pool: Pool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    program = await merchant.program()
    await code_of(merchant, program, "CODE")
    await decider.take(
        checkout(program, "CODE", order={"currency": "EUR", "subtotal": 5000}),
        taken_back(program, "refunded", amount=5),
        taken_back(program, "refunded", ref="other", amount=5),
    )
    async with pool.connection() as connection:
        assert await connection.fetchval(statement, [program] * 2, ["order-1", "other"]) == 1
    assert await count(admin, "refunds") == 1
