"""Operators look at the replays of all programs, and cancel one."""

import uuid
from dataclasses import dataclass

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import ReplayEnded, ReplayMissing
from services.webhooks.store import operated_jobs, replays
from shared.clock import Clock
from shared.database import operator_log
from shared.database.pool import Database
from shared.events.operating import Act, JobPage


@dataclass(frozen=True, slots=True)
class OperateJobs:
    """The replays of all programs."""

    database: Database
    clock: Clock

    async def page(self, after: uuid.UUID | None, limit: int, is_finished: bool | None) -> JobPage:
        """Return up to `limit` replays, newest first, older than `after`; a filtered page may be short."""
        async with self.database.connection() as connection:
            return await operated_jobs.list_all(connection, after, limit, is_finished)

    async def cancel(self, job_id: uuid.UUID, act: Act) -> str:
        """Cancel a replay, and return its state; deliveries that are already due are still sent.

        Raises ReplayMissing or ReplayEnded, which a canceled one has too.
        """
        now = self.clock()
        async with self.database.transaction() as connection:
            program_id = await operated_jobs.program_of(connection, job_id)
            if program_id is None:
                raise ReplayMissing
            if not await replays.cancel(connection, Owner(program_id, None), job_id, now):
                raise ReplayEnded
            await operator_log.record(connection, act, "job.cancelled", str(job_id), {}, now)
        return "canceled"
