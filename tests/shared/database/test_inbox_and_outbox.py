"""The inbox tells fresh from repeated; the outbox gives a pending event to one process at a time."""

import asyncio
import hashlib
import uuid

import pytest

from shared.clock import utc_now
from shared.database import inbox
from shared.database.inbox import InboxEntry
from shared.database.outbox import DELETE_CONFIRMED, OutboxTable, insert_events
from shared.database.pool import connect
from shared.events.envelope import OutboxEvent
from shared.ids import new_id
from tests.databases import Database

PROGRAM = uuid.uuid4()


def entry(event_id: str, body: bytes = b"body") -> InboxEntry:
    return InboxEntry(PROGRAM, "/shop", event_id, hashlib.sha256(body).digest())


async def record(database: Database, *entries: InboxEntry) -> list[str]:
    async with connect(database.redemption, "redemption", 2) as pool, pool.transaction() as connection:
        return list(await inbox.record(connection, entries, [utc_now()] * len(entries)))


async def test_a_second_delivery_is_a_duplicate_and_another_body_a_conflict(database: Database) -> None:
    assert await record(database, entry("a"), entry("b")) == ["fresh", "fresh"]
    assert await record(database, entry("b"), entry("a", b"other"), entry("c")) == ["duplicate", "conflict", "fresh"]


async def test_repeats_within_one_batch_are_told_apart(database: Database) -> None:
    verdicts = await record(database, entry("a"), entry("a"), entry("a", b"other"))
    assert verdicts == ["fresh", "duplicate", "conflict"]


async def test_the_same_id_of_another_source_or_program_is_another_event(database: Database) -> None:
    other_source = InboxEntry(PROGRAM, "/other", "a", b"")
    other_program = InboxEntry(uuid.uuid4(), "/shop", "a", b"")
    assert await record(database, entry("a"), other_source, other_program) == ["fresh"] * 3


async def test_of_concurrent_deliveries_one_is_fresh(database: Database) -> None:
    verdicts = await asyncio.gather(*(record(database, entry("a"), entry(f"own-{n}")) for n in range(8)))
    assert sorted(first for first, _ in verdicts) == ["duplicate"] * 7 + ["fresh"]
    assert [second for _, second in verdicts] == ["fresh"] * 8


async def test_a_rolled_back_event_is_fresh_again(database: Database) -> None:
    async with connect(database.redemption, "redemption", 2) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.transaction() as connection:
                await inbox.record(connection, [entry("a")], [utc_now()])
                raise ZeroDivisionError
    assert await record(database, entry("a")) == ["fresh"]


def event() -> OutboxEvent:
    return OutboxEvent(new_id(), "code.redeemed", b"{}")


async def test_a_new_event_is_leased_to_its_writer(database: Database) -> None:
    """A sweeper that took fresh events would publish everything twice."""
    async with connect(database.redemption, "redemption", 2) as pool:
        async with pool.transaction() as connection:
            await insert_events(connection, [event(), event()])
        assert await OutboxTable(pool).claim(10, 5) == []


async def test_an_event_left_behind_is_claimed_once_and_is_gone_when_confirmed(database: Database) -> None:
    left = [event() for _ in range(20)]
    async with connect(database.redemption, "redemption", 4) as pool:
        table = OutboxTable(pool)
        async with pool.transaction() as connection:
            await insert_events(connection, left)
            await connection.execute("UPDATE outbox SET leased_until = now() - interval '1 s'")
        claims = await asyncio.gather(*(table.claim(7, 5) for _ in range(4)))
        claimed = [claim.id for batch in claims for claim in batch]
        assert sorted(claimed) == sorted(e.id for e in left)
        await table.confirm(claimed[:5])
        await table.confirm(claimed[:5])
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM outbox") == 15
            assert await connection.fetchval("SELECT count(*) FROM events") == 20
            await connection.execute(DELETE_CONFIRMED, claimed)


async def test_an_event_of_a_rolled_back_change_never_was(database: Database) -> None:
    async with connect(database.redemption, "redemption", 2) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.transaction() as connection:
                await insert_events(connection, [event()])
                raise ZeroDivisionError
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM events") == 0
