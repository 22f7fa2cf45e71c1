"""What is old goes, in chunks and by any number of processes at once; what is young or unpublished stays."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from prometheus_client import REGISTRY

from shared.database import retention
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.database.purging import Removal
from tests.databases import SERVICES, Database

EVENTS_KEPT, INBOX_KEPT = timedelta(days=35), timedelta(days=36)
INSERT_EVENT = "INSERT INTO events (id, type, body, created_at) VALUES ($1, 'code.redeemed', '', $2)"
INSERT_PENDING = "INSERT INTO outbox (event_id, leased_until) VALUES ($1, now())"
INSERT_RECEIVED = """
INSERT INTO inbox (program_id, source, event_id, body_sha256, received_at) VALUES ($1, '/shop', $2, $3, $4)
"""
AGES = "SELECT array_agg(extract(day FROM now() - created_at)::int ORDER BY created_at) FROM events"
INBOX_AGES = "SELECT array_agg(extract(day FROM now() - received_at)::int ORDER BY received_at) FROM inbox"


@pytest.fixture(params=SERVICES)
async def schema(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def admin(database: Database, schema: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": schema})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def pool(database: Database, schema: str) -> AsyncIterator[Pool]:
    async with connect(database.role(schema), schema, 4) as opened:
        yield opened


def now() -> datetime:
    return datetime.now(UTC)


def removal(
    pool: Pool, table: str, events_kept: timedelta = EVENTS_KEPT, inbox_kept: timedelta = INBOX_KEPT
) -> Removal:
    found = retention.removals(pool, now, events_kept, inbox_kept)
    return next(each for each in found if each.table == table)


def removed(table: str) -> float:
    return REGISTRY.get_sample_value("mintwire_rows_removed_total", {"table": table}) or 0.0


async def emit(admin: "asyncpg.Connection[asyncpg.Record]", days: float) -> uuid.UUID:
    event_id = uuid.uuid4()
    await admin.execute(INSERT_EVENT, event_id, now() - timedelta(days=days))
    return event_id


async def receive(admin: "asyncpg.Connection[asyncpg.Record]", days: float) -> None:
    event_id = uuid.uuid4()
    digest = hashlib.sha256(event_id.bytes).digest()
    await admin.execute(INSERT_RECEIVED, uuid.uuid4(), str(event_id), digest, now() - timedelta(days=days))


async def test_history_and_inbox_forget_what_is_old_and_count_it(
    admin: "asyncpg.Connection[asyncpg.Record]", pool: Pool
) -> None:
    for days in (1.5, 34.5, 35.5, 60.5, 400.5):
        await emit(admin, days)
        await receive(admin, days)
    before = removed("events"), removed("inbox")
    # A chunk holds fewer than there are.
    assert await replace(removal(pool, "events"), rows_at_once=2)() == 3
    assert await removal(pool, "inbox")() == 2
    assert (removed("events") - before[0], removed("inbox") - before[1]) == (3, 2)
    assert await admin.fetchval(AGES) == [34, 1]
    assert await admin.fetchval(INBOX_AGES) == [35, 34, 1]
    assert await removal(pool, "events")() == await removal(pool, "inbox")() == 0


async def test_what_no_broker_has_confirmed_stays_however_old(
    admin: "asyncpg.Connection[asyncpg.Record]", pool: Pool
) -> None:
    """A row of the outbox without its event would be leased for ever and never sent."""
    pending = [await emit(admin, days) for days in (90.5, 50.5)]
    await emit(admin, 70.5)
    await admin.executemany(INSERT_PENDING, [(event_id,) for event_id in pending])
    assert await removal(pool, "events")() == 1
    assert await admin.fetchval(AGES) == [90, 50]
    await admin.execute("DELETE FROM outbox")
    assert await removal(pool, "events")() == 2


async def test_what_is_pending_holds_up_the_removal_of_nothing_else(
    admin: "asyncpg.Connection[asyncpg.Record]", pool: Pool
) -> None:
    """Neither one event that no queue takes, nor more of them than go at once, and the oldest of all."""
    pending = [await emit(admin, days) for days in (93.5, 92.5, 91.5, 45.5)]
    for _ in range(7):
        await emit(admin, 40.5)
    await admin.executemany(INSERT_PENDING, [(event_id,) for event_id in pending])
    assert await replace(removal(pool, "events"), rows_at_once=2)() == 7
    assert await admin.fetchval(AGES) == [93, 92, 91, 45]


async def test_a_service_cannot_forget_what_is_young_whatever_it_asks_for(
    admin: "asyncpg.Connection[asyncpg.Record]", pool: Pool
) -> None:
    for days in (0.5, 1.5, 34.5, 35.5):
        await emit(admin, days)
        await receive(admin, days)
    ahead = timedelta(days=-1000)
    assert await removal(pool, "events", events_kept=ahead)() == 3
    assert await removal(pool, "inbox", inbox_kept=ahead)() == 1
    async with pool.connection() as connection:
        for table in ("events", "inbox"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of two names


async def test_several_processes_remove_each_row_once(admin: "asyncpg.Connection[asyncpg.Record]", pool: Pool) -> None:
    for _ in range(300):
        await emit(admin, 40)
        await receive(admin, 40)
    each = [replace(removal(pool, table), rows_at_once=25) for table in ("events", "inbox") * 2]
    assert sum(await asyncio.gather(*(one() for one in each))) == 600
    assert await admin.fetchval(AGES) is None


async def test_a_removal_that_is_killed_leaves_the_rest_to_the_next(
    admin: "asyncpg.Connection[asyncpg.Record]", pool: Pool
) -> None:
    for _ in range(30):
        await receive(admin, 40)
    # Every pause between two chunks is longer than the process has to live.
    half = asyncio.create_task(replace(removal(pool, "inbox"), rows_at_once=20)())
    async with asyncio.timeout(10):
        while await admin.fetchval("SELECT count(*) FROM inbox") == 30:  # noqa: ASYNC110 - the event is in the server
            await asyncio.sleep(0.005)
    half.cancel()
    with pytest.raises(asyncio.CancelledError):
        await half
    assert await removal(pool, "inbox")() == 30 - 20
