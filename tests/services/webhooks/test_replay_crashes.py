"""A replay of a hundred thousand dead letters whose workers are killed and disconnected again and again."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from services.webhooks.store import replays
from services.webhooks.usecases.run_replays import LEASE
from tests.databases import Database
from tests.services.webhooks.conftest import HeldClock, Service, make_merchant, running_service
from tests.services.webhooks.test_losses import locked
from tests.services.webhooks.test_replays import begin, claimed

LETTERS, REDACTED = 100_000, 1_000
# An hour ago, so that ids and times are well inside the replayed range. Every hundredth message is redacted.
_MAKE_DEAD = """
WITH made AS (
    SELECT n, (lpad(to_hex($1::bigint), 12, '0') || lpad(to_hex(n), 20, '0'))::uuid AS id
    FROM generate_series(1, $2::int) AS n
), message AS (
    INSERT INTO webhooks.messages (id, format, program_id, partner_id, event_type, occurred_at, body, created_at,
                                   redacted_at)
    SELECT id, 'flat', $3, $4, 'code.redeemed', $5, CASE WHEN n % 100 = 0 THEN NULL ELSE '{}'::bytea END, $5,
           CASE WHEN n % 100 = 0 THEN $5::timestamptz END
    FROM made
), delivery AS (
    INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, format, event_type, status, created_at, completed_at)
    SELECT id, $6, id, 'flat', 'code.redeemed', 'dead', $5, $5 FROM made
)
INSERT INTO webhooks.dead_letters (delivery_id, endpoint_id, event_type, reason, died_at)
SELECT id, $6, 'code.redeemed', 'expired', $5 FROM made
"""
# Due deliveries are sent and die again, as with a failing receiver: a worker that started over would find them again.
_DIE_AGAIN = """
WITH gone AS (
    DELETE FROM webhooks.delivery_queue RETURNING delivery_id, endpoint_id, event_type
), died AS (
    UPDATE webhooks.deliveries d SET status = 'dead', attempts_made = attempts_made + 1
    FROM gone WHERE d.id = gone.delivery_id
)
INSERT INTO webhooks.dead_letters (delivery_id, endpoint_id, event_type, reason, died_at)
SELECT delivery_id, endpoint_id, event_type, 'attempts_exhausted', now() FROM gone
"""
_STUCK = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = 'mintwire_webhooks' AND datname = current_database() AND wait_event_type = 'Lock'
"""
_AT_WORK = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = 'mintwire_webhooks' AND datname = current_database() AND state <> 'idle'
"""
_END_LEASE = "UPDATE webhooks.replays SET leased_until = now() WHERE leased_until IS NOT NULL"
_TIMES_SENT = "SELECT attempts_made AS times, count(*) FROM webhooks.deliveries GROUP BY 1 ORDER BY 1"
_REPLAYED = "SELECT count(*) FROM webhooks.deliveries WHERE replay_id IS NOT NULL"


@asynccontextmanager
async def dying(service: Service, database: Database) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker and kill it at the end; its lease expires."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.services.webhooks.replayer", database.webhooks),
        # It reports an error when it is disconnected.
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # A commit that it had already sent still counts.
        await _count_becomes(service, _AT_WORK, 0)
        await service.admin.execute(_END_LEASE)


async def progress(service: Service, key: str, replay: Any, at_least: int = 0) -> Any:
    """Wait until this many are enqueued, and return the replay."""
    async with asyncio.timeout(60):
        while True:
            rows = await service.query("SELECT enqueued FROM webhooks.replays")
            if rows[0]["enqueued"] >= at_least:
                shown = await service.send("GET", f"/replays/{replay['id']}", key)
                # Requests that waited for a lock of this test are asked to retry.
                if shown.status != 503:
                    return shown.data
            await asyncio.sleep(0.005)


async def many_dead(service: Service, program_id: uuid.UUID, partner_id: uuid.UUID, endpoint: Any) -> None:
    """Write the dead letters."""
    at = service.clock()
    await service.admin.execute(
        _MAKE_DEAD,
        int(at.timestamp() * 1000) - 3_600_000,
        LETTERS,
        program_id,
        partner_id,
        at,
        uuid.UUID(endpoint["id"]),
    )
    await service.admin.execute("ANALYZE webhooks.deliveries, webhooks.dead_letters, webhooks.messages")


@pytest.mark.timeout(180)
async def test_each_of_a_hundred_thousand_is_replayed_once_however_often_the_worker_dies(
    database: Database, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed anywhere, killed in the middle of a step, and disconnected from the database."""
    # All of its deliveries are counted.
    monkeypatch.setattr(replays, "COUNTED", 1_000_000)
    async with running_service(database, clock, sends=False, replays=False) as service:
        merchant = await make_merchant(service.admin, clock())
        key = merchant.partner_key
        endpoint = await service.endpoint(key, "https://example.com/")
        await many_dead(service, merchant.program_id, merchant.partner_id, endpoint)
        dry = await begin(service, key, endpoint, "failed", dry_run=True)
        job = await claimed(service)
        while await service.worker.step(job) is not None:
            pass
        counted = (await service.send("GET", f"/replays/{dry['id']}", key)).data
        assert (counted["matched"], counted["skipped"], counted["enqueued"]) == (LETTERS, REDACTED, 0)

        replay = await begin(service, key, endpoint, "failed", rate_per_second=1000)
        for point in (1, 15_000, 30_000, 45_000):
            async with dying(service, database):
                await progress(service, key, replay, point)
            await _is_consistent(service, key, replay)

        for half_written in ("webhooks.delivery_queue", "webhooks.replays"):
            reached = (await progress(service, key, replay))["enqueued"]
            async with dying(service, database):
                await progress(service, key, replay, reached + 1)
                async with locked(database, f"LOCK TABLE {half_written} IN SHARE MODE"):
                    await _count_becomes(service, _STUCK, 1)
            await _is_consistent(service, key, replay)

        clock.advance(seconds=LEASE.total_seconds() + 1)
        job = await claimed(service)
        stepping = asyncio.create_task(_step_on(service, job))
        reached = (await progress(service, key, replay))["enqueued"]
        await progress(service, key, replay, reached + 5_000)
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)
        await service.admin.execute(_END_LEASE)
        await _is_consistent(service, key, replay)

        async with dying(service, database) as last:
            assert await asyncio.wait_for(last.wait(), 60) == 0
        done = await _is_consistent(service, key, replay)
        assert (done["status"], done["matched"]) == ("completed", LETTERS)
        assert (done["enqueued"], done["skipped"]) == (LETTERS - REDACTED, REDACTED)
        assert (done["waiting"], done["dead"]) == (0, LETTERS - REDACTED)
        sent = [tuple(row.values()) for row in await service.query(_TIMES_SENT)]
        assert sent == [(0, REDACTED), (1, LETTERS - REDACTED)]


async def _is_consistent(service: Service, key: str, replay: Any) -> Any:
    """Compare what a replay reports with what it has done; then let the deliveries be sent, and die again."""
    told = await progress(service, key, replay)
    assert told["enqueued"] == (await service.query(_REPLAYED))[0]["count"]
    assert told["matched"] == told["enqueued"] + told["skipped"]
    waiting = (await service.query("SELECT count(*) FROM webhooks.delivery_queue"))[0]["count"]
    assert told["waiting"] == waiting
    await service.admin.execute(_DIE_AGAIN)
    return (await service.send("GET", f"/replays/{replay['id']}", key)).data


async def _step_on(service: Service, job: Any) -> None:
    while await service.worker.step(job) is not None:
        pass


async def _count_becomes(service: Service, statement: str, wanted: int) -> None:
    async with asyncio.timeout(30):
        while (await service.query(statement))[0]["count"] != wanted:  # noqa: ASYNC110 - done by other processes
            await asyncio.sleep(0.01)
