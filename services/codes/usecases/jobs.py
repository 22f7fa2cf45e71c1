"""Jobs: queued, read with their errors, cancelled."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.codes.domain.access import Actor
from services.codes.domain.errors import JobFinished, Missing, TooManyJobs
from services.codes.domain.jobs import MAX_OPEN_JOBS, Job, JobKind, JobState, RefusedLine
from services.codes.domain.pages import Page
from services.codes.store import audit, jobs
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.idempotency import Answer, Once


async def queue_job(connection: Connection, job: Job) -> None:
    """Write a job to be run later, or one that waits for its file; raises TooManyJobs.

    Takes no lock: concurrent requests may exceed the limit by a few.
    """
    if await jobs.count_open(connection, job.program_id, MAX_OPEN_JOBS) >= MAX_OPEN_JOBS:
        raise TooManyJobs(MAX_OPEN_JOBS)
    await jobs.insert_job(connection, job)


@dataclass(frozen=True, slots=True)
class ReadJobs:
    """One job, or a page of a program's jobs."""

    database: Database

    async def __call__(
        self, program_id: uuid.UUID, after: uuid.UUID | None, limit: int, kind: JobKind | None, state: JobState | None
    ) -> Page[Job]:
        """Return up to `limit` jobs, newest first, older than `after`; a page by kind or state may be short."""
        async with self.database.connection() as connection:
            return await jobs.list_jobs(connection, program_id, after, kind, state, limit)

    async def one(self, program_id: uuid.UUID, job_id: uuid.UUID) -> Job:
        """Return one job; raises Missing."""
        async with self.database.connection() as connection:
            job = await jobs.find_job(connection, job_id, program_id)
        if job is None:
            raise Missing
        return job


_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class ReadJobErrors:
    """All of them, page by page, in the order of the file."""

    database: Database

    async def __call__(self, program_id: uuid.UUID, job_id: uuid.UUID) -> AsyncIterator[Sequence[RefusedLine]]:
        """Return the pages; raises Missing."""
        async with self.database.connection() as connection:
            if await jobs.find_job(connection, job_id, program_id) is None:
                raise Missing
        return self._pages(job_id)

    async def _pages(self, job_id: uuid.UUID) -> AsyncIterator[Sequence[RefusedLine]]:
        after = 0
        while True:
            async with self.database.connection() as connection:
                page = await jobs.list_errors(connection, job_id, after, _AT_ONCE)
            if page:
                yield page
            if len(page) < _AT_ONCE:
                return
            after = page[-1].line


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Waits for the running chunk; after the answer nothing more is done."""

    answer_once: AnswerOnce

    async def __call__(self, actor: Actor, program_id: uuid.UUID, job_id: uuid.UUID, once: Once[Job]) -> Answer:
        """Cancel the job; a repeat changes nothing. Raises Missing or JobFinished."""

        async def work(connection: Connection, now: datetime) -> Job:
            if (cancelled := await jobs.cancel_job(connection, job_id, program_id, now)) is not None:
                delta = {"state": {"to": "cancelled"}}
                await audit.record(connection, actor, program_id, "job.cancelled", job_id, delta, now=now)
                return cancelled
            job = await jobs.find_job(connection, job_id, program_id)
            if job is None:
                raise Missing
            if job.state != "cancelled":
                raise JobFinished
            return job

        return await self.answer_once(once, work)
