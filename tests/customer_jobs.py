"""Exports and erasures as the other services see them once redemption has done its part, written by the superuser."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import asyncpg

from shared.erasing import CustomerJob, JobKind
from shared.ids import new_id

NOW = datetime(2026, 3, 18, tzinfo=UTC)

INSERT_JOB = """
WITH part AS (
    INSERT INTO redemption.customer_parts (job_id, started_at, done_at) VALUES ($1, $6, $6)
)
INSERT INTO redemption.customer_jobs (id, program_id, kind, keys, digests, actor, created_at)
VALUES ($1, $2, $3, $4, $5, 'key test', $6)
"""
INSERT_EVENT = "INSERT INTO redemption.customer_events (job_id, event_id, is_whole) VALUES ($1, $2, $3)"
WRITE_EVENT = """
INSERT INTO redemption.events (id, type, body) VALUES ($1, 'code.redeemed', $2)
ON CONFLICT (id) DO UPDATE SET body = excluded.body
"""


async def ready_for_others(
    admin: "asyncpg.Connection[asyncpg.Record]",
    program_id: uuid.UUID,
    kind: JobKind,
    digests: Mapping[str, str],
    events: Mapping[uuid.UUID, bytes] | None = None,
    *,
    is_whole: bool = True,
) -> CustomerJob:
    """Write a job for the keys of `digests`, with the events that it has found, as redemption keeps them by then."""
    job = CustomerJob(new_id(), program_id, kind, tuple(digests), tuple(digests.values()), "key test", NOW)
    await admin.execute(INSERT_JOB, job.id, program_id, kind, list(job.keys), list(job.digests), NOW)
    for event_id, body in (events or {}).items():
        await admin.execute(INSERT_EVENT, job.id, event_id, is_whole)
        await admin.execute(WRITE_EVENT, event_id, body)
    return job
