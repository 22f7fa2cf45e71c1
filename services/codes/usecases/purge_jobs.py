"""Removes what finished jobs leave behind: uploads at once, the jobs and their reports after thirty days."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.codes.domain.jobs import KEPT_FOR, UPLOAD_KEPT_FOR
from services.codes.store import jobs
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.purging import in_batches

_ROWS_AT_ONCE: Final = 5_000
_PIECES_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class PurgeJobs:
    """Correctness does not need it; the disk does."""

    database: Database
    clock: Clock

    async def __call__(self) -> int:
        """Remove what is old, in short statements, and return how many rows there were."""
        now = self.clock()
        return (
            await self._repeat(
                lambda c: jobs.purge_jobs(c, now - KEPT_FOR, now - UPLOAD_KEPT_FOR, _ROWS_AT_ONCE), _ROWS_AT_ONCE
            )
            + await self._repeat(lambda c: jobs.purge_uploads(c, _PIECES_AT_ONCE), _PIECES_AT_ONCE)
            + await self._repeat(lambda c: jobs.purge_lines(c, _ROWS_AT_ONCE), _ROWS_AT_ONCE)
            + await self._repeat(lambda c: jobs.purge_errors(c, _ROWS_AT_ONCE), _ROWS_AT_ONCE)
        )

    async def _repeat(self, purge: Callable[[Connection], Awaitable[int]], full: int) -> int:
        async def remove() -> int:
            async with self.database.connection() as connection:
                return await purge(connection)

        return await in_batches(remove, full)
