"""Durable jobs: who runs one (a lease, and a fence against those who lost it), its progress, and its end."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import orjson

from services.codes.domain.jobs import Job, JobKind, JobState, RefusedLine, Step, Tally
from services.codes.domain.pages import Page
from services.codes.store.pages import SCANNED_PER_PAGE, page_of_ids
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import LAST_ID

INSERT_JOB = Statement("""
INSERT INTO jobs (id, program_id, kind, state, coupon_id, spec, requested, created, processed, actor, key_id,
                  created_at, started_at, finished_at, worked_at)
VALUES ($id, $program_id, $kind, $state, $coupon_id, $spec::jsonb, $requested, $created, $created, $actor, $key_id,
        $created_at, $started_at, $finished_at, clock_timestamp())
""")
COUNT_OPEN = "SELECT count(*) FROM (SELECT FROM jobs WHERE program_id = $1 AND finished_at IS NULL LIMIT $2) AS open"
READ_JOBS = """
SELECT id, program_id, kind, state, coupon_id, spec, position, requested, processed, created, updated, skipped,
       refused, failure, fence, attempts, actor, key_id, created_at, started_at, finished_at
FROM jobs WHERE id = ANY ($1::uuid[]) AND program_id = $2 ORDER BY id DESC
"""
# For the reason of bounds see `store.code_lists`.
LIST_JOBS = Statement("""
WITH scanned AS MATERIALIZED (
    SELECT id, kind, state FROM jobs WHERE (program_id, id) < ($program, $before) AND program_id >= $program
    ORDER BY program_id DESC, id DESC LIMIT $scanned
), chosen AS (
    SELECT id FROM scanned WHERE ($kind::text IS NULL OR kind = $kind) AND ($state::text IS NULL OR state = $state)
    ORDER BY id DESC LIMIT $limit
)
SELECT id, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], true FROM scanned HAVING count(*) = $scanned
""")
# The one that ran, or was created, longest ago: jobs take turns, and a stream of new ones overtakes nobody.
CLAIM_JOB = """
WITH waiting AS MATERIALIZED (
    SELECT id FROM jobs
    WHERE state IN ('queued', 'running') AND (leased_until IS NULL OR leased_until < clock_timestamp())
    ORDER BY worked_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
UPDATE jobs j SET state = 'running', fence = j.fence + 1, attempts = j.attempts + 1, worked_at = clock_timestamp(),
       leased_until = clock_timestamp() + make_interval(secs => $1), started_at = coalesce(j.started_at, $2)
FROM waiting w WHERE j.id = w.id
RETURNING j.id, j.program_id, j.kind, j.state, j.coupon_id, j.spec, j.position, j.requested, j.processed, j.created,
          j.updated, j.skipped, j.refused, j.failure, j.fence, j.attempts, j.actor, j.key_id, j.created_at,
          j.started_at, j.finished_at
"""
HOLD_JOB = "SELECT true FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running' FOR NO KEY UPDATE"
ADVANCE_JOB = Statement("""
UPDATE jobs SET position = $position::jsonb, processed = processed + $processed, created = created + $created,
       updated = updated + $updated, skipped = skipped + $skipped, refused = refused + $refused,
       requested = coalesce($requested, requested), attempts = 0,
       leased_until = clock_timestamp() + make_interval(secs => $lease_seconds), worked_at = clock_timestamp()
WHERE id = $id AND fence = $fence
""")
END_JOB = """
UPDATE jobs SET state = $3, failure = $4, finished_at = $5, leased_until = NULL,
       requested = coalesce(requested, processed)
WHERE id = $1 AND fence = $2 AND state = 'running'
"""
RELEASE_JOB = """
UPDATE jobs SET leased_until = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1 AND fence = $2 AND state = 'running'
"""
# Waits for the running chunk, after which nothing more is done.
CANCEL_JOB = """
UPDATE jobs SET state = 'cancelled', finished_at = $3, leased_until = NULL
WHERE id = $1 AND program_id = $2 AND state IN ('uploading', 'queued', 'running')
RETURNING id, program_id, kind, state, coupon_id, spec, position, requested, processed, created, updated, skipped,
          refused, failure, fence, attempts, actor, key_id, created_at, started_at, finished_at
"""
LIST_ERRORS = """
SELECT line, code, reason, detail FROM job_errors WHERE job_id = $1 AND line > $2 ORDER BY line LIMIT $3
"""
INSERT_ERRORS = Statement("""
INSERT INTO job_errors (job_id, line, code, reason, detail)
SELECT $job_id, r.* FROM @r(line bigint, code text, reason text, detail text)
""")
# The pieces of finished jobs, a few at a time; their errors are still needed, the upload is not. From job to job by the
# key, oldest first, without reading the pieces of other jobs.
PURGE_UPLOADS = """
WITH RECURSIVE held AS (
    (SELECT job_id FROM job_uploads ORDER BY job_id LIMIT 1)
    UNION ALL
    SELECT (SELECT u.job_id FROM job_uploads u WHERE u.job_id > h.job_id ORDER BY u.job_id LIMIT 1)
    FROM held h WHERE h.job_id IS NOT NULL
), over AS MATERIALIZED (
    SELECT h.job_id FROM (SELECT job_id FROM held WHERE job_id IS NOT NULL LIMIT $2) h
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = h.job_id AND j.finished_at IS NULL)
)
DELETE FROM job_uploads WHERE ctid = ANY (ARRAY(
    SELECT p.place FROM over o CROSS JOIN LATERAL (
        SELECT ctid AS place FROM job_uploads u WHERE u.job_id = o.job_id ORDER BY u.nth LIMIT $1) p
    LIMIT $1))
"""
PURGE_LINES = """
WITH RECURSIVE held AS (
    (SELECT job_id FROM job_lines ORDER BY job_id LIMIT 1)
    UNION ALL
    SELECT (SELECT l.job_id FROM job_lines l WHERE l.job_id > h.job_id ORDER BY l.job_id LIMIT 1)
    FROM held h WHERE h.job_id IS NOT NULL
), over AS MATERIALIZED (
    SELECT h.job_id FROM (SELECT job_id FROM held WHERE job_id IS NOT NULL LIMIT $2) h
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = h.job_id AND j.finished_at IS NULL)
)
DELETE FROM job_lines WHERE ctid = ANY (ARRAY(
    SELECT p.place FROM over o CROSS JOIN LATERAL (
        SELECT ctid AS place FROM job_lines l WHERE l.job_id = o.job_id ORDER BY l.canonical LIMIT $1) p
    LIMIT $1))
"""
PURGE_ERRORS = """
WITH RECURSIVE held AS (
    (SELECT job_id FROM job_errors ORDER BY job_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.job_id FROM job_errors e WHERE e.job_id > h.job_id ORDER BY e.job_id LIMIT 1)
    FROM held h WHERE h.job_id IS NOT NULL
), over AS MATERIALIZED (
    SELECT h.job_id FROM (SELECT job_id FROM held WHERE job_id IS NOT NULL LIMIT $2) h
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = h.job_id)
)
DELETE FROM job_errors WHERE ctid = ANY (ARRAY(
    SELECT p.place FROM over o CROSS JOIN LATERAL (
        SELECT ctid AS place FROM job_errors e WHERE e.job_id = o.job_id ORDER BY e.line LIMIT $1) p
    LIMIT $1))
"""
PURGE_JOBS = """
WITH finished AS (
    SELECT id FROM jobs WHERE finished_at IS NOT NULL AND finished_at <= $1
    ORDER BY finished_at LIMIT $3 FOR UPDATE SKIP LOCKED
), given_up AS (
    SELECT id FROM jobs WHERE state = 'uploading' AND created_at <= $2
    ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM jobs WHERE id = ANY (ARRAY(SELECT id FROM finished UNION ALL SELECT id FROM given_up))
"""
# The number of jobs with remains per statement.
_JOBS_AT_ONCE: Final = 1_000


async def insert_job(connection: Connection, job: Job) -> None:
    """Write a job; the runner finds it once the transaction has committed."""
    await connection.execute(*INSERT_JOB(**_INSERTED.of(job), created=job.tally.created))


async def count_open(connection: Connection, program_id: uuid.UUID, most: int) -> int:
    """Return how many jobs of a program are unfinished, counted up to `most`."""
    count: int = await connection.fetchval(COUNT_OPEN, program_id, most)
    return count


async def find_job(connection: Connection, job_id: uuid.UUID, program_id: uuid.UUID) -> Job | None:
    """Read one job of a program."""
    rows = await connection.fetch(READ_JOBS, [job_id], program_id)
    return _job(rows[0]) if rows else None


async def list_jobs(
    connection: Connection,
    program_id: uuid.UUID,
    after: uuid.UUID | None,
    kind: JobKind | None,
    state: JobState | None,
    limit: int,
) -> Page[Job]:
    """Read up to `limit` jobs, newest first, older than `after`."""
    bound = limit + 1 if kind is None and state is None else max(SCANNED_PER_PAGE, limit + 1)
    rows = await connection.fetch(
        *LIST_JOBS(program=program_id, before=after or LAST_ID, kind=kind, state=state, limit=limit + 1, scanned=bound)
    )
    page = page_of_ids(rows, limit)
    found = await connection.fetch(READ_JOBS, page.items, program_id)
    return Page([_job(row) for row in found], page.next_after)


async def claim_job(connection: Connection, lease_seconds: float, now: datetime) -> Job | None:
    """Lease the job that has waited longest for its turn; None if no job is waiting."""
    row = await connection.fetchrow(CLAIM_JOB, lease_seconds, now)
    return _job(row) if row else None


async def hold_job(connection: Connection, job: Job) -> bool:
    """Lock a job for one chunk; False if it was cancelled or another process has taken it over."""
    return bool(await connection.fetchval(HOLD_JOB, job.id, job.fence))


async def advance_job(connection: Connection, job: Job, step: Step, lease_seconds: float) -> None:
    """Write the result of a chunk and renew the lease; the job must be locked by this transaction."""
    await connection.execute(
        *ADVANCE_JOB(
            **_TALLY.of(step.tally),
            id=job.id,
            fence=job.fence,
            position=orjson.dumps(step.position).decode(),
            requested=step.requested,
            lease_seconds=lease_seconds,
        )
    )


async def end_job(connection: Connection, job: Job, failure: str | None, now: datetime) -> None:
    """Finish a job that this process runs, with success or a failure."""
    await connection.execute(END_JOB, job.id, job.fence, "failed" if failure else "done", failure, now)


async def release_job(connection: Connection, job: Job, wait_seconds: float) -> None:
    """Let others take a job over, after a delay."""
    await connection.execute(RELEASE_JOB, job.id, job.fence, wait_seconds)


async def cancel_job(connection: Connection, job_id: uuid.UUID, program_id: uuid.UUID, now: datetime) -> Job | None:
    """Cancel a job that is not finished and return it; None if there is none."""
    row = await connection.fetchrow(CANCEL_JOB, job_id, program_id, now)
    return _job(row) if row else None


async def list_errors(connection: Connection, job_id: uuid.UUID, after: int, limit: int) -> list[RefusedLine]:
    """Read up to `limit` refused lines behind a line."""
    return [_refused(row) for row in await connection.fetch(LIST_ERRORS, job_id, after, limit)]


async def insert_errors(connection: Connection, job_id: uuid.UUID, refused: Sequence[RefusedLine]) -> None:
    """Write refused lines, each once."""
    await connection.execute(*INSERT_ERRORS(job_id=job_id, r=_REFUSED.columns(refused)))


async def purge_uploads(connection: Connection, limit: int) -> int:
    """Remove up to `limit` pieces of uploads whose job has finished."""
    return affected(await connection.execute(PURGE_UPLOADS, limit, _JOBS_AT_ONCE))


async def purge_lines(connection: Connection, limit: int) -> int:
    """Remove up to `limit` lines whose job has finished."""
    return affected(await connection.execute(PURGE_LINES, limit, _JOBS_AT_ONCE))


async def purge_errors(connection: Connection, limit: int) -> int:
    """Remove up to `limit` refused lines whose job is gone."""
    return affected(await connection.execute(PURGE_ERRORS, limit, _JOBS_AT_ONCE))


async def purge_jobs(connection: Connection, finished_until: datetime, begun_until: datetime, limit: int) -> int:
    """Remove up to `limit` jobs that finished, or whose upload began and never completed, by the given times."""
    return affected(await connection.execute(PURGE_JOBS, finished_until, begun_until, limit))


def _job(row: Any) -> Job:
    return _JOB(row, tally=_tally(row))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_JOB: Final = Rows(Job, "tally", spec=orjson.loads, position=orjson.loads)
_INSERTED: Final = Values(INSERT_JOB.names, Job, "created", spec=_json)
_tally: Final = Rows(Tally)
_TALLY: Final = Values([each.name for each in fields(Tally)], Tally)
_refused: Final = Rows(RefusedLine)
_REFUSED: Final = Values(INSERT_ERRORS.tables["r"], RefusedLine)
