"""Reads jobs."""

import uuid
from dataclasses import dataclass

from services.codes.domain.errors import Missing
from services.codes.domain.jobs import Job, JobKind, JobState
from services.codes.domain.pages import Page
from services.codes.store import jobs
from shared.database.pool import Database


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
