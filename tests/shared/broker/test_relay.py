"""An event whose transaction committed is published and cleared, whatever dies or goes away on the way."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from mintwire.cli.checks.management import Management
from shared.broker import relay as relay_module
from shared.broker.consumer import BatchConsumer
from shared.broker.publisher import Publisher
from shared.broker.relay import OutboxRelay
from shared.clock import utc_now
from shared.database import pool as database_pool
from shared.database.outbox import OutboxTable, insert_events
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from tests.databases import Database
from tests.shared.broker.tools import Broker, Handler, Proxy, event, limited, running, until

QUEUE = "redemption.checkout"


class Outbox:
    """The real table, with a switch that makes the database go away."""

    def __init__(self, database: database_pool.Database) -> None:
        self._database = database
        self._table = OutboxTable(database)
        self.is_away = False
        self.confirmed: list[list[uuid.UUID]] = []

    async def write(self, *events: OutboxEvent) -> None:
        async with self._database.transaction() as connection:
            await insert_events(connection, events)

    async def end_leases(self) -> None:
        """As if the process that wrote them had died some time ago."""
        async with self._database.transaction() as connection:
            await connection.execute("UPDATE outbox SET leased_until = now() - interval '1 second'")

    async def pending(self) -> int:
        async with self._database.connection() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM outbox"))

    async def is_empty(self) -> bool:
        return not await self.pending()

    async def claim(self, limit: int, lease_seconds: float) -> list[OutboxEvent]:
        if self.is_away:
            raise TransientFault("away")
        return await self._table.claim(limit, lease_seconds)

    async def confirm(self, ids: Sequence[uuid.UUID]) -> None:
        if self.is_away:
            raise TransientFault("away")
        await self._table.confirm(ids)
        self.confirmed.append(list(ids))

    async def defer(self, ids: Sequence[uuid.UUID], seconds: float) -> None:
        if self.is_away:
            raise TransientFault("away")
        await self._table.defer(ids, seconds)


@pytest.fixture
async def outbox(database: Database) -> AsyncIterator[Outbox]:
    async with database_pool.connect(database.redemption, "redemption", 2) as connected:
        yield Outbox(connected)


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "SWEEP_INTERVAL_SECONDS", 0.1)


@asynccontextmanager
async def relaying(url: str, outbox: Outbox, deadline_seconds: float = 5.0) -> AsyncIterator[OutboxRelay]:
    async with Publisher(url, "checkout", deadline_seconds=deadline_seconds) as publisher:
        relay = OutboxRelay(publisher, outbox)
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            task.cancel()
            await asyncio.wait({task})


async def everything_arrived(url: str, events: Sequence[OutboxEvent]) -> None:
    """See that each event is in its queue at least once: a confirm that comes too late makes a repeat."""
    handler = Handler()
    bodies = {each.body for each in events}
    async with running(BatchConsumer(url, QUEUE, handler, utc_now)):
        await until(lambda: set(handler.done) == bodies)


async def test_what_is_handed_over_is_published_once_and_cleared(url: str, broker: Broker, outbox: Outbox) -> None:
    events = [event(b"%d" % number) for number in range(1300)]
    await outbox.write(*events)
    async with relaying(url, outbox) as relay:
        for start in range(0, 1300, 100):
            relay.hand_over(events[start : start + 100])
        await until(outbox.is_empty)
        assert await relay.drain(30)
    assert await broker.count(QUEUE) == 1300
    assert sorted(each for ids in outbox.confirmed for each in ids) == sorted(each.id for each in events)
    # A statement per batch, not per event.
    assert len(outbox.confirmed) < 20


async def test_what_a_dead_process_left_is_published_by_another(url: str, broker: Broker, outbox: Outbox) -> None:
    events = [event(b"%d" % number) for number in range(1200)]
    await outbox.write(*events)
    async with relaying(url, outbox):
        await outbox.end_leases()
        await until(outbox.is_empty)
    assert await broker.count(QUEUE) == 1200


async def test_fresh_rows_of_a_living_process_are_left_to_it(url: str, broker: Broker, outbox: Outbox) -> None:
    """A sweeper that took them would publish everything twice."""
    theirs, left = event(b"theirs"), event(b"left")
    await outbox.write(left)
    await outbox.end_leases()
    await outbox.write(theirs)
    async with relaying(url, outbox):
        await broker.holds(QUEUE, 1)
        await until(lambda: outbox.confirmed)
    assert outbox.confirmed == [[left.id]]
    assert await outbox.pending() == 1


async def test_two_processes_share_what_is_left(url: str, broker: Broker, outbox: Outbox) -> None:
    await outbox.write(*[event(b"%d" % number) for number in range(3000)])
    await outbox.end_leases()
    async with relaying(url, outbox), relaying(url, outbox):
        await until(outbox.is_empty)
    assert await broker.count(QUEUE) == 3000


async def test_while_the_broker_is_away_it_waits_and_then_goes_on(proxy: Proxy, url: str, outbox: Outbox) -> None:
    proxy.refuse(True)
    events = [event(b"%d" % number) for number in range(50)]
    await outbox.write(*events)
    async with relaying(proxy.url, outbox, deadline_seconds=0.2) as relay:
        relay.hand_over(events)
        assert not await relay.drain(0.5)
        assert relay.oldest_seconds > 0.4
        assert await outbox.pending() == 50
        proxy.refuse(False)
        await until(outbox.is_empty)
        await until(lambda: relay.oldest_seconds == 0)
    await everything_arrived(url, events)


async def test_without_a_confirm_the_row_stays_and_the_event_goes_out_again(
    proxy: Proxy, broker: Broker, outbox: Outbox
) -> None:
    sent = event(b"once or twice")
    await outbox.write(sent)
    async with relaying(proxy.url, outbox, deadline_seconds=0.3) as relay:
        assert await relay._publisher.wait_ready(30)
        proxy.silence()
        relay.hand_over([sent])
        await until(lambda: relay._later)
        assert await outbox.pending() == 1
        proxy.heal()
        await until(outbox.is_empty)
    bodies = []
    while message := await broker.get(QUEUE):
        bodies.append(message.body)
    assert set(bodies) == {b"once or twice"}


async def test_while_the_database_is_away_confirms_wait(url: str, broker: Broker, outbox: Outbox) -> None:
    events = [event(b"%d" % number) for number in range(50)]
    await outbox.write(*events)
    outbox.is_away = True
    async with relaying(url, outbox) as relay:
        relay.hand_over(events)
        await broker.holds(QUEUE, 50)
        assert not await relay.drain(0.3)
        assert await outbox.pending() == 50
        outbox.is_away = False
        await until(outbox.is_empty)
    assert await broker.count(QUEUE) == 50


async def test_memory_is_bounded_and_a_sweep_finds_the_rest(
    proxy: Proxy, url: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MOST_IN_HAND", 600)
    proxy.refuse(True)
    events = [event(b"%d" % number) for number in range(1500)]
    await outbox.write(*events)
    async with relaying(proxy.url, outbox, deadline_seconds=0.2) as relay:
        relay.hand_over(events)
        assert len(relay._in_hand) == 600
        proxy.refuse(False)
        await until(lambda: not relay._in_hand)
        await outbox.end_leases()
        await until(outbox.is_empty)
    await everything_arrived(url, events)


async def test_handing_over_twice_publishes_once(url: str, broker: Broker, outbox: Outbox) -> None:
    sent = event()
    await outbox.write(sent)
    async with relaying(url, outbox) as relay:
        relay.hand_over([sent])
        relay.hand_over([sent])
        await until(outbox.is_empty)
        assert await relay.drain(30)
    assert await broker.count(QUEUE) == 1


async def test_draining_takes_nothing_more_from_the_table(url: str, broker: Broker, outbox: Outbox) -> None:
    await outbox.write(*[event() for _ in range(10)])
    async with relaying(url, outbox) as relay:
        assert await relay.drain(30)
        await outbox.end_leases()
        mine = event()
        await outbox.write(mine)
        relay.hand_over([mine])
        await until(lambda: outbox.confirmed)
    assert outbox.confirmed == [[mine.id]]


async def test_a_sweep_that_fails_is_shown_and_what_is_handed_over_goes_out_all_the_same(
    url: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: int, __: float) -> list[OutboxEvent]:
        raise ZeroDivisionError

    monkeypatch.setattr(outbox, "claim", broken)
    mine = event()
    await outbox.write(mine)
    async with relaying(url, outbox) as relay:
        [sweeping] = relay.tasks
        await until(lambda: not sweeping.is_ok)
        relay.hand_over([mine])
        await until(lambda: outbox.confirmed)
    assert outbox.confirmed == [[mine.id]]
    assert "ZeroDivisionError" in sweeping.state


async def test_what_a_full_queue_refuses_waits_in_the_outbox_and_holds_up_nothing_else(
    url: str,
    broker: Broker,
    outbox: Outbox,
    management: Management,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were they kept in hand, the refused ones would soon be all that a process has in hand."""
    monkeypatch.setattr(relay_module, "MOST_IN_HAND", 600)
    monkeypatch.setattr(relay_module, "REFUSED_SECONDS", 3600.0)
    unwanted = [event(b"%d" % number, "checkout.unheard_of") for number in range(1500)]
    async with limited(management, "mintwire-unrouted", 40):
        await outbox.write(*unwanted)
        await outbox.end_leases()
        async with relaying(url, outbox) as relay:
            await until(lambda: not relay._in_hand and outbox.confirmed)
            # What was under way when the limit was reached still found a place.
            assert await outbox.pending() >= 400
            wanted = [event(b"wanted %d" % number) for number in range(300)]
            await outbox.write(*wanted)
            relay.hand_over(wanted)
            await broker.holds(QUEUE, 300)
    # Somebody has made room; nothing was dropped.
    async with relaying(url, outbox):
        await outbox.end_leases()
        await until(outbox.is_empty)
    await broker.holds("unrouted", 1500)


async def test_an_event_that_no_queue_takes_is_put_off_too(url: str, broker: Broker, outbox: Outbox) -> None:
    await broker.channel.queue_unbind("unrouted", "unrouted", "")
    nobodys, wanted = event(b"1", "checkout.unheard_of"), event(b"2")
    await outbox.write(nobodys, wanted)
    async with relaying(url, outbox) as relay:
        relay.hand_over([nobodys, wanted])
        await until(lambda: not relay._in_hand)
        assert await relay.drain(5)
    assert (await outbox.pending(), await broker.count(QUEUE)) == (1, 1)
