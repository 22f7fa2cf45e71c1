"""Statements of commissions as properties: they add up to what was earned at every moment, and closed ones stay."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from services.redemption.app import open_database
from services.redemption.consumers import CheckoutConsumer
from services.redemption.usecases import remove_old
from services.redemption.usecases.book_commissions import BookCommissions
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.database.pool import Connection
from shared.database.pool import Database as Pool
from shared.faults import TransientFault
from tests.databases import Database
from tests.dying import Dying
from tests.services.redemption.commission_life import Life
from tests.services.redemption.conftest import DIGESTS, Shop, received
from tests.services.redemption.merchant import Merchant, checkout

_EUR = {"currency": "EUR", "subtotal": 1_000}


@pytest.fixture
async def life(shop: Shop, merchant: Merchant, pool: Pool) -> Life:
    seed = random.randrange(10**6)  # noqa: S311 - plays a shop
    sys.stdout.write(f"seed {seed}\n")
    made = Life(shop, merchant, pool, seed)
    await made.stock(made.random.choice(("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns")))
    return made


@pytest.mark.parametrize("part", range(3))
async def test_statements_add_up_to_what_was_earned_at_every_moment(life: Life, admin: Any, part: int) -> None:
    """Whether or not anything was booked since: after voids, refunds in any order, late events and an erasure."""
    for nth in range(6):
        await life.go_on(12)
        if life.random.random() < 0.6:
            await life.books()
        if nth == 3:
            await life.erase("c-1")
        statements = await life.is_exact(admin)
    await life.books()
    statements = await life.is_exact(admin)
    states = {each["state"] for each in statements}
    assert "closed" in states
    kinds = {kind for each in statements for kind in ("redemptions", "reversals", "adjustments") if each[kind]["count"]}
    assert kinds == {"redemptions", "reversals", "adjustments"}
    assert {each["currency"] for each in statements} == {"USD", "EUR"}


async def test_nothing_that_statements_need_is_ever_removed(life: Life, pool: Pool, admin: Any) -> None:
    """Whether or not it was booked by then."""
    await life.go_on(30)
    await life.books()
    await life.go_on(10)
    before = await life.is_exact(admin)
    later = life.shop.decider.now + timedelta(days=3_000)
    for each in remove_old.removals(pool, lambda: later, timedelta(days=36), timedelta(days=400)):
        await each()
    assert await life.is_exact(admin) == before
    await life.books()
    await life.is_exact(admin)


async def test_a_booking_that_is_killed_at_any_moment_counts_each_line_once(
    life: Life, admin: Any, database: Database
) -> None:
    """Two processes book and close, and die again and again, while purchases, refunds and late events go on."""
    async with AsyncExitStack() as stack:
        is_over = asyncio.Event()
        processes = []
        for _ in range(2):
            killer = await asyncpg.connect(database.admin)
            stack.push_async_callback(killer.close)
            other = await stack.enter_async_context(open_database(database.redemption, 1))
            processes.append(Dying(other, killer, life.random))

        async def book(process: Dying) -> None:
            while not is_over.is_set():
                with suppress(TransientFault):
                    await BookCommissions(cast(Pool, _Lending(process)), lambda: life.shop.decider.now)()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(book(process))
            await life.go_on(60)
            is_over.set()
        assert sum(process.deaths for process in processes) > 3
    await life.is_exact(admin)
    await life.books()
    await life.is_exact(admin)
    assert await admin.fetchval("SELECT count(*) FROM redemption.commission_lines WHERE statement_id IS NULL") == 0


class _Lending:
    """Lends connections for single statements as the pool does; transactions die."""

    def __init__(self, dying: Dying) -> None:
        self.transaction, self.connection = dying.transaction, dying.pool.connection


class _Held:
    """Keeps a transaction from its commit until it may."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.has_written, self.may_commit = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.pool.transaction() as connection:
            yield connection
            self.has_written.set()
            await self.may_commit.wait()


class TestClosing:
    @pytest.fixture
    async def berlin(self, shop: Shop, merchant: Merchant, pool: Pool) -> Life:
        made = Life(shop, merchant, pool, 1)
        await made.stock("Europe/Berlin")
        return made

    async def test_a_month_is_that_of_the_program_and_closes_an_hour_after_its_end(self, berlin: Life) -> None:
        decider = berlin.shop.decider
        # The last second of March in Berlin, and the first of April.
        for nth, moment in enumerate(("2026-03-31T21:59:59+00:00", "2026-03-31T22:00:00+00:00")):
            decider.now = datetime.fromisoformat(moment)
            await berlin.shop.redeem("CODE-0", ref=f"order-{nth}", order=_EUR)
        await berlin.books()
        assert [(each["month"], each["state"]) for each in (await berlin.ask()).data] == [
            ("2026-04", "open"),
            ("2026-03", "open"),
        ]
        decider.now = datetime(2026, 3, 31, 22, 59, 59, tzinfo=UTC)
        await berlin.books()
        assert (await berlin.ask(month="2026-03")).data[0]["state"] == "open"
        decider.now += timedelta(seconds=1)
        await berlin.books()
        [march] = (await berlin.ask(month="2026-03")).data
        assert (march["state"], march["zone"], march["total_minor"]) == ("closed", "Europe/Berlin", 45)
        assert march["closed_at"] == march["as_of"] == "2026-03-31T23:00:00.000000Z"
        [april] = (await berlin.ask(month="2026-04")).data
        assert (april["state"], april["closed_at"], april["total_minor"]) == ("open", None, 45)

    async def test_what_is_taken_back_or_reported_later_is_in_the_next_statement(
        self, berlin: Life, admin: Any
    ) -> None:
        shop, decider = berlin.shop, berlin.shop.decider
        decider.now = datetime(2026, 3, 20, tzinfo=UTC)
        for ref in ("voided", "refunded", "kept"):
            await shop.redeem("CODE-0", ref=ref, order=_EUR)
        decider.now = datetime(2026, 4, 1, tzinfo=UTC)
        await berlin.books()
        [march] = await berlin.is_exact(admin)
        assert (march["state"], march["total_minor"]) == ("closed", 3 * 45)
        await shop.void_order("voided")
        await shop.void_order("refunded", amount=500, refund_ref="re-1")
        # A purchase whose event waited in a dead queue: it keeps the time of its first receipt.
        bought_at = datetime(2026, 3, 31, 12, tzinfo=UTC)
        late = checkout(shop.program_id, "CODE-0", ref="late", time=bought_at, order=_EUR)
        await decider.take(late, received_at=bought_at)
        assert await berlin.is_exact(admin) != [march]
        await berlin.books()
        april, again = await berlin.is_exact(admin)
        assert again == march
        assert april["month"] == "2026-04"
        assert april["reversals"] == {"count": 1, "amount_minor": -45}
        assert april["adjustments"] == {"count": 1, "amount_minor": -25}
        assert april["redemptions"] == {"count": 1, "amount_minor": 45}
        [redeemed, *_] = await berlin.pages(f"/{april['id']}/lines")
        assert (redeemed["order_ref"], redeemed["kind"]) == ("late", "redemption")

    async def test_a_late_event_that_is_being_decided_while_its_month_closes_counts_in_the_next(
        self, berlin: Life, admin: Any, pool: Pool
    ) -> None:
        """Its line is written before the close and committed after it."""
        shop, decider = berlin.shop, berlin.shop.decider
        decider.now = datetime(2026, 3, 31, 12, tzinfo=UTC)
        await shop.redeem("CODE-0", ref="before", order=_EUR)
        held = _Held(pool)
        late = CheckoutConsumer(
            TakeInCheckouts(cast(Pool, held), lambda: decider.now, decider.handed_over.extend, DIGESTS)
        )
        body = checkout(shop.program_id, "CODE-0", ref="late", time=decider.now, order=_EUR)
        deciding = asyncio.create_task(late(received([body], decider.now)))
        await held.has_written.wait()
        await BookCommissions(pool, lambda: datetime(2026, 4, 1, tzinfo=UTC))()
        held.may_commit.set()
        assert await deciding == [None]
        decider.now = datetime(2026, 4, 1, tzinfo=UTC)
        april, march = await berlin.is_exact(admin)
        assert (march["state"], march["redemptions"]["count"]) == ("closed", 1)
        assert (april["month"], april["redemptions"]["count"]) == ("2026-04", 1)
        await berlin.books()
        assert (await berlin.is_exact(admin))[1] == march

    async def test_no_statement_can_change_once_it_is_closed(self, berlin: Life, admin: Any, pool: Pool) -> None:
        await berlin.shop.redeem("CODE-0", order=_EUR)
        berlin.shop.decider.now += timedelta(days=40)
        await berlin.books()
        with pytest.raises(asyncpg.RaiseError, match="closed statement"):
            await admin.execute("UPDATE redemption.commission_statements SET redemptions_minor = 0")
        async with pool.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("UPDATE commission_lines SET amount_minor = 0")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("DELETE FROM commission_lines")

    async def test_a_program_that_moves_west_opens_no_month_again(
        self, berlin: Life, merchant: Merchant, admin: Any
    ) -> None:
        shop, decider = berlin.shop, berlin.shop.decider
        decider.now = datetime(2026, 3, 31, 12, tzinfo=UTC)
        await shop.redeem("CODE-0", ref="before", order=_EUR)
        decider.now = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
        await berlin.books()
        await merchant.restrict_program(shop.program_id, timezone="Pacific/Honolulu")
        await shop.redeem("CODE-0", ref="after", order=_EUR)
        await berlin.books()
        april, march = await berlin.is_exact(admin)
        assert [april["state"], march["state"]] == ["open", "closed"]

    async def test_an_upgrade_accounts_for_what_there_was(self, berlin: Life, admin: Any) -> None:
        """As after the migration; and a day later once more what processes of the release before wrote meanwhile."""
        await berlin.go_on(40)
        await admin.execute("DELETE FROM redemption.commission_lines")
        await admin.execute("UPDATE redemption.redemptions SET accounted_minor = NULL")
        await admin.execute("INSERT INTO redemption.commission_walks VALUES (now()), (now() + interval '1 day')")
        assert (await berlin.ask()).data == []
        await berlin.books()
        statements = await berlin.is_exact(admin)
        # No month closes before the second walk.
        assert {each["state"] for each in statements} == {"open"}
        # An old process voids one, and changes the commission of another, without a line.
        await admin.execute(
            "UPDATE redemption.redemptions SET voided_at = now(), is_counted = false WHERE id = "
            "(SELECT id FROM redemption.redemptions WHERE commission_minor > 0 AND voided_at IS NULL LIMIT 1)"
        )
        await admin.execute(
            "UPDATE redemption.redemptions SET commission_minor = commission_minor + 7 WHERE id = "
            "(SELECT id FROM redemption.redemptions WHERE commission_minor > 0 AND voided_at IS NULL LIMIT 1)"
        )
        await admin.execute("UPDATE redemption.commission_walks SET due_at = now()")
        await berlin.books()
        await berlin.is_exact(admin)
        await berlin.go_on(20)
        await berlin.books()
        assert "closed" in {each["state"] for each in await berlin.is_exact(admin)}
