"""Operators look at the exports and erasures of all programs. These end by themselves, so none is cancelled."""

import uuid
from dataclasses import dataclass

from services.redemption.store import operated_jobs
from shared.database.pool import Database
from shared.events.operating import JobPage


@dataclass(frozen=True, slots=True)
class OperateJobs:
    """The jobs of all programs."""

    database: Database

    async def page(self, after: uuid.UUID | None, limit: int, is_finished: bool | None) -> JobPage:
        """Return up to `limit` jobs, newest first, older than `after`; a filtered page may be short."""
        async with self.database.connection() as connection:
            return await operated_jobs.list_all(connection, after, limit, is_finished)
