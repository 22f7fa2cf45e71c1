"""Operators look at the jobs of all programs, and cancel one."""

import uuid
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.errors import JobFinished, Missing
from services.codes.store import audit, jobs, operated_jobs
from shared.clock import Clock
from shared.database import operator_log
from shared.database.pool import Database
from shared.events.operating import Act, JobPage


@dataclass(frozen=True, slots=True)
class OperateJobs:
    """The jobs of all programs."""

    database: Database
    clock: Clock

    async def page(self, after: uuid.UUID | None, limit: int, is_finished: bool | None) -> JobPage:
        """Return up to `limit` jobs, newest first, older than `after`; a filtered page may be short."""
        async with self.database.connection() as connection:
            return await operated_jobs.list_all(connection, after, limit, is_finished)

    async def cancel(self, job_id: uuid.UUID, act: Act) -> str:
        """Cancel a job after the chunk under way, and return its state; again changes nothing.

        The program's audit log names the operator too. Raises Missing or JobFinished.
        """
        now = self.clock()
        async with self.database.transaction() as connection:
            program_id = await operated_jobs.program_of(connection, job_id)
            if program_id is None:
                raise Missing
            if await jobs.cancel_job(connection, job_id, program_id, now) is not None:
                delta = {"state": {"to": "cancelled"}}
                actor = Actor(None, act.actor)
                await audit.record(connection, actor, program_id, "job.cancelled", job_id, delta, now=now)
                await operator_log.record(connection, act, "job.cancelled", str(job_id), {}, now)
                return "cancelled"
            job = await jobs.find_job(connection, job_id, program_id)
            if job is None:
                raise Missing
            if job.state != "cancelled":
                raise JobFinished
            return job.state
