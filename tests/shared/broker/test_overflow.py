"""A dead queue that is full drops nothing and holds up nobody: the letters lie in the database until there is room."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from mintwire.cli.checks.management import Management
from shared.broker.consumer import BatchConsumer, Reject
from shared.broker.operator import dead
from shared.broker.overflow import Overflow
from shared.clock import utc_now
from shared.database import pool as database_pool
from shared.database.overflow import OverflowTable
from shared.events.overflow import KeptLetter
from shared.faults import TransientFault
from tests.databases import Database
from tests.shared.broker.tools import Broker, Handler, limited, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"
LIMIT = 60
NOW = datetime(2026, 3, 18, 23, 29, 28, 917_000, tzinfo=UTC)


class Table(OverflowTable):
    """The real table, with acts that fail as they would when the process dies or the database goes away."""

    dies_after: str | None = None

    async def keep(self, letters: Sequence[KeptLetter]) -> None:
        await super().keep(letters)
        self._die("keep")

    async def forget(self, letters: Sequence[KeptLetter]) -> None:
        await super().forget(letters)
        self._die("forget")

    def _die(self, act: str) -> None:
        if self.dies_after == act:
            self.dies_after = None
            raise TransientFault("away")


@pytest.fixture
async def table(database: Database) -> AsyncIterator[Table]:
    async with database_pool.connect(database.redemption, "redemption", 2) as connected:
        yield Table(connected)


def small(url: str, table: OverflowTable) -> Overflow:
    return Overflow(url, QUEUE, table, most=LIMIT // 2, few=5, enough=20)


@asynccontextmanager
async def looking_after(overflow: Overflow) -> AsyncIterator[None]:
    task = asyncio.create_task(overflow.task.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def put_many(broker: Broker, count: int, name: Callable[[int], str]) -> None:
    for number in range(count):
        await broker.put(name(number).encode(), message_id=name(number), message_type="checkout.completed")


async def all_letters(
    url: str, broker: Broker, overflow: Overflow, table: OverflowTable
) -> dict[str, dead.DeadMessage]:
    """Take every letter out as an operator would, round by round, until none comes back."""
    found: dict[str, dead.DeadMessage] = {}
    empty_looks = 0
    while True:
        # A queue tells how long it is a moment late, so what was listed is what is removed, and one look is not enough.
        listed = await dead.list_dead(url, QUEUE, limit=10_000)
        found |= {letter.key: letter for letter in listed}
        await dead.purge(url, QUEUE, choice=dead.chosen({letter.key for letter in listed}))
        empty_looks = 0 if listed or await broker.count(DEAD) or await table.count() else empty_looks + 1
        if empty_looks == 3:
            return found
        await until_it_works(overflow)
        await asyncio.sleep(0.1)


async def until_it_works(overflow: Overflow) -> None:
    """Call it as its task does: again after a fault."""
    while True:
        try:
            while await overflow():
                pass
        except TransientFault:
            continue
        return


async def test_a_flood_of_bad_messages_holds_up_no_good_one_and_no_letter_is_lost(
    clean_broker: dict[str, str], broker: Broker, table: Table, management: Management
) -> None:
    """All of it with the rights of the service."""
    url = clean_broker["redemption"]
    overflow = small(url, table)
    handler = Handler(lambda received: Reject("bad", "words") if received.body.startswith(b"bad") else None)
    async with limited(management, "mintwire-dead", LIMIT), looking_after(overflow):
        await put_many(broker, 400, lambda number: f"bad {number}")
        await put_many(broker, 20, lambda number: f"good {number}")
        consumer = BatchConsumer(url, QUEUE, handler, utc_now, batch_size=50, on_full=overflow.make_room)
        async with running(consumer):
            await until(lambda: sum(body.startswith(b"good") for body in handler.done) == 20)
            await broker.holds(QUEUE, 0)
        await until(table.count)
        assert await broker.count(DEAD) <= LIMIT + 50
        assert overflow.task.is_ok
    letters = await all_letters(clean_broker["operator"], broker, overflow, table)
    assert letters.keys() == {f"bad {number}" for number in range(400)}
    assert {(each.reason, each.detail, each.routing_key) for each in letters.values()} == {("bad", "words", QUEUE)}


async def test_a_long_queue_is_shortened_before_it_is_full(url: str, broker: Broker, table: Table) -> None:
    """Where the broker has no policy, this is the only limit."""
    overflow = small(url, table)
    async with running(BatchConsumer(url, QUEUE, Handler(lambda _: Reject("bad")), lambda: NOW)):
        await put_many(broker, 100, str)
        await broker.holds(DEAD, 100)
    while await overflow():
        pass
    assert (await broker.count(DEAD), await table.count()) == (LIMIT // 2, 70)
    # The oldest are those that went.
    assert [letter.key for letter in await dead.list_dead(url, QUEUE, limit=1)] == ["70"]
    await broker.holds(DEAD, LIMIT // 2)
    assert not await overflow()
    await dead.purge(url, QUEUE)
    await broker.holds(DEAD, 0)
    while await overflow():
        pass
    await until(lambda: broker.count(DEAD))
    listed = await dead.list_dead(url, QUEUE)
    assert listed[0].key == "0"
    assert {(each.first_received_at, each.died_at) for each in listed} == {(NOW, NOW)}
    handler = Handler()
    async with running(BatchConsumer(url, QUEUE, handler, lambda: NOW + timedelta(days=3))):
        await until(lambda: broker.count(DEAD))
        assert await dead.replay(url, QUEUE, choice=dead.chosen(["0"])) == 1
        await until(lambda: handler.done == [b"0"])
    assert handler.batches[0][0].first_received_at == NOW


@pytest.mark.parametrize("act", ["keep", "forget"])
async def test_a_crash_on_the_way_loses_no_letter(url: str, broker: Broker, table: Table, act: str) -> None:
    overflow = small(url, table)
    async with running(BatchConsumer(url, QUEUE, Handler(lambda _: Reject("bad")), utc_now)):
        await put_many(broker, 80, str)
        await broker.holds(DEAD, 80)
    table.dies_after = act
    await until_it_works(overflow)
    assert await table.count()
    letters = await all_letters(url, broker, overflow, table)
    assert letters.keys() == {str(number) for number in range(80)}
    assert table.dies_after is None


async def test_what_the_broker_moved_raw_comes_back_without_its_sender_s_headers(
    url: str, broker: Broker, table: Table
) -> None:
    """By the consumer's own way they would be believed, and a forged time of receipt with them."""
    forged = {"x-mintwire-first-received-at": "2020-01-01T00:00:00Z", "x-mintwire-reason": "forged", "kept": "yes"}
    for number in range(40):
        await broker.put(
            b"%d" % number, message_id=None if number == 0 else f"id {number}", headers=forged, expiration="1"
        )
    await broker.holds(DEAD, 40)
    before = await dead.list_dead(url, QUEUE)
    await broker.holds(DEAD, 40)
    overflow = small(url, table)
    while await overflow():
        pass
    await dead.purge(url, QUEUE)
    while await overflow():
        pass
    await until(lambda: broker.count(DEAD))
    after = await dead.list_dead(url, QUEUE)
    assert [each.key for each in after] == [each.key for each in before[:10]]
    assert {each.reason for each in after} == {"expired"}
    assert {(each.first_received_at, each.died_at) for each in after} == {
        (each.first_received_at, each.died_at) for each in before[:10]
    }
    assert {each.headers["kept"] for each in after} == {"yes"}


async def test_a_missing_dead_queue_is_a_fault_that_is_shown(url: str, broker: Broker, table: Table) -> None:
    await broker.channel.queue_delete(DEAD)
    overflow = small(url, table)
    async with looking_after(overflow):
        await until(lambda: not overflow.task.is_ok)
