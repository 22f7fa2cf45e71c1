"""Jobs that export or erase a customer: created, shown, ended when every service has done its part, and removed."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.redemption.domain.customer_jobs import JobPart, ShownJob
from shared.database.customer_parts import JOBS_AT_ONCE, job_of
from shared.database.pool import Connection, affected
from shared.database.rows import Statement
from shared.erasing import CustomerJob, JobKind

# The jobs whose part in this service is not done. An export waits for earlier erasures of its customer: it would store
# what these are about to remove.
LIST_OWN_JOBS = """
SELECT j.id, j.program_id, j.kind, j.keys, j.digests, j.actor, j.created_at
FROM customer_jobs j
WHERE j.state = 'running'
  AND NOT EXISTS (SELECT FROM customer_parts p WHERE p.job_id = j.id AND p.done_at IS NOT NULL)
  AND NOT (j.kind = 'export' AND EXISTS (
      SELECT FROM customer_jobs e
      WHERE e.state = 'running' AND e.kind = 'erase' AND e.program_id = j.program_id AND e.digests && j.digests))
ORDER BY j.id LIMIT $1
"""
INSERT_JOB = Statement("""
INSERT INTO customer_jobs (id, program_id, kind, keys, digests, actor, marked_by, created_at)
VALUES ($id, $program_id, $kind, $keys, $digests, $actor, pg_current_xact_id(), $created_at)
""")
WITHDRAW_EXPORTS = """
UPDATE customer_jobs SET state = 'withdrawn', keys = '{}', finished_at = coalesce(finished_at, $3)
WHERE program_id = $1 AND kind = 'export' AND state <> 'withdrawn' AND digests && $2::text[]
"""
# Whether every transaction that may not have known of the job has ended.
IS_SETTLED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > marked_by FROM customer_jobs WHERE id = $1"
COUNT_RUNNING = """
SELECT count(*) FROM (SELECT FROM customer_jobs WHERE program_id = $1 AND state = 'running' LIMIT $2) counted
"""
LOCK_PROGRAM = "SELECT pg_advisory_xact_lock(7236190, hashtext($1))"
# The keys are removed when they are no longer needed.
FINISH_JOBS = """
UPDATE customer_jobs j SET state = 'done', keys = '{}', finished_at = $1
WHERE j.state = 'running'
  AND EXISTS (SELECT FROM customer_parts p WHERE p.job_id = j.id AND p.done_at IS NOT NULL)
  AND EXISTS (SELECT FROM codes.customer_parts_v1 p WHERE p.job_id = j.id AND p.done_at IS NOT NULL)
  AND EXISTS (SELECT FROM webhooks.customer_parts_v1 p WHERE p.job_id = j.id AND p.done_at IS NOT NULL)
RETURNING j.id, j.kind
"""
HAS_RUNNING = "SELECT EXISTS (SELECT FROM customer_jobs WHERE state = 'running' AND created_at <= $1)"
LIST_JOBS = """
SELECT id, program_id, kind, state, digests, actor, created_at, finished_at FROM customer_jobs
WHERE program_id = $1 AND id < $2 ORDER BY program_id DESC, id DESC LIMIT $3
"""
READ_JOB = """
SELECT id, program_id, kind, state, digests, actor, created_at, finished_at FROM customer_jobs
WHERE id = $2 AND program_id = $1
"""
READ_PARTS = """
SELECT 'redemption' AS service, job_id, counts, started_at, done_at FROM customer_parts WHERE job_id = ANY ($1::uuid[])
UNION ALL
SELECT 'codes', job_id, counts, started_at, done_at FROM codes.customer_parts_v1 WHERE job_id = ANY ($1::uuid[])
UNION ALL
SELECT 'webhooks', job_id, counts, started_at, done_at FROM webhooks.customer_parts_v1 WHERE job_id = ANY ($1::uuid[])
"""
READ_OWN_LINES = "SELECT nth, line FROM customer_lines WHERE job_id = $1 AND nth > $2 ORDER BY nth LIMIT $3"
READ_CODES_LINES = """
SELECT nth, line FROM codes.customer_lines_v1 WHERE job_id = $1 AND nth > $2 ORDER BY nth LIMIT $3
"""
READ_WEBHOOKS_LINES = """
SELECT nth, line FROM webhooks.customer_lines_v1 WHERE job_id = $1 AND nth > $2 ORDER BY nth LIMIT $3
"""
DELETE_WITHDRAWN_LINES = """
DELETE FROM customer_lines WHERE (job_id, nth) IN (
    SELECT l.job_id, l.nth FROM customer_jobs j JOIN customer_lines l ON l.job_id = j.id
    WHERE j.program_id = $1 AND j.kind = 'export' AND j.state = 'withdrawn' LIMIT $2)
"""
PURGE_EVENTS = """
DELETE FROM customer_events WHERE (job_id, event_id) IN (
    SELECT c.job_id, c.event_id FROM customer_jobs j JOIN customer_events c ON c.job_id = j.id
    WHERE j.finished_at < $1 ORDER BY j.finished_at, c.event_id LIMIT $2)
"""
PURGE_JOBS = """
DELETE FROM customer_jobs WHERE id = ANY (ARRAY(
    SELECT id FROM customer_jobs WHERE finished_at < $1 ORDER BY finished_at LIMIT $2))
"""


async def list_own_jobs(connection: Connection) -> list[CustomerJob]:
    """Return the jobs whose part in this service is not done."""
    return [job_of(row) for row in await connection.fetch(LIST_OWN_JOBS, JOBS_AT_ONCE)]


async def lock_program(connection: Connection, program_id: uuid.UUID) -> None:
    """Serialise the creation of a program's jobs."""
    await connection.execute(LOCK_PROGRAM, str(program_id))


async def count_running(connection: Connection, program_id: uuid.UUID, most: int) -> int:
    """Return how many jobs of a program are unfinished, counted up to a bound."""
    counted: int = await connection.fetchval(COUNT_RUNNING, program_id, most)
    return counted


async def insert_job(
    connection: Connection,
    job_id: uuid.UUID,
    program_id: uuid.UUID,
    kind: JobKind,
    keys: Sequence[str],
    *,
    digests: Sequence[str],
    actor: str,
    now: datetime,
) -> None:
    """Write a job."""
    await connection.execute(
        *INSERT_JOB(
            id=job_id, program_id=program_id, kind=kind, keys=keys, digests=digests, actor=actor, created_at=now
        )
    )


async def withdraw_exports(
    connection: Connection, program_id: uuid.UUID, digests: Sequence[str], now: datetime
) -> None:
    """End the exports of a customer, done or not: their lines are no longer available."""
    await connection.execute(WITHDRAW_EXPORTS, program_id, digests, now)


async def is_settled(connection: Connection, job_id: uuid.UUID) -> bool:
    """Whether every later write knows of the job."""
    settled: bool = await connection.fetchval(IS_SETTLED, job_id)
    return settled


async def finish_jobs(connection: Connection, now: datetime) -> list[tuple[uuid.UUID, JobKind]]:
    """End the jobs that every service has completed."""
    if not await connection.fetchval(HAS_RUNNING, now):
        return []
    return [(row["id"], row["kind"]) for row in await connection.fetch(FINISH_JOBS, now)]


async def list_jobs(connection: Connection, program_id: uuid.UUID, before: uuid.UUID, limit: int) -> list[ShownJob]:
    """Return the program's jobs, newest first."""
    return await _shown(connection, await connection.fetch(LIST_JOBS, program_id, before, limit))


async def read_job(connection: Connection, program_id: uuid.UUID, job_id: uuid.UUID) -> ShownJob | None:
    """Return one job of a program."""
    rows = await connection.fetch(READ_JOB, program_id, job_id)
    return next(iter(await _shown(connection, rows)), None)


async def _shown(connection: Connection, rows: "Sequence[asyncpg.Record]") -> list[ShownJob]:
    parts = await connection.fetch(READ_PARTS, [row["id"] for row in rows])
    return [
        ShownJob(
            **row,
            parts={
                part["service"]: JobPart(json.loads(part["counts"]), part["started_at"], part["done_at"])
                for part in parts
                if part["job_id"] == row["id"]
            },
        )
        for row in rows
    ]


async def read_lines(
    connection: Connection, service: str, job_id: uuid.UUID, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """Return the next lines that a service has found for an export."""
    wanted = (job_id, after, limit)
    if service == "codes":
        rows = await connection.fetch(READ_CODES_LINES, *wanted)
    elif service == "webhooks":
        rows = await connection.fetch(READ_WEBHOOKS_LINES, *wanted)
    else:
        rows = await connection.fetch(READ_OWN_LINES, *wanted)
    return [(row["nth"], row["line"]) for row in rows]


async def delete_withdrawn_lines(connection: Connection, program_id: uuid.UUID, limit: int) -> int:
    """Remove up to `limit` of this service's lines of exports that were withdrawn."""
    return affected(await connection.execute(DELETE_WITHDRAWN_LINES, program_id, limit))


async def purge_events(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` events of jobs that ended before a time."""
    return affected(await connection.execute(PURGE_EVENTS, before, limit))


async def purge_jobs(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` jobs that ended before a time."""
    return affected(await connection.execute(PURGE_JOBS, before, limit))
