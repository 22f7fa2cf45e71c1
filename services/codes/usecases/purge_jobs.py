"""Removes what finished jobs leave behind: uploads at once, the jobs and their reports after thirty days."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.codes.domain.jobs import KEPT_FOR, UPLOAD_KEPT_FOR
from services.codes.store import jobs
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.purging import in_batches
from shared.periodic import for_each

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
        kinds: tuple[tuple[Callable[[Connection], Awaitable[int]], int], ...] = (
            (lambda c: jobs.purge_jobs(c, now - KEPT_FOR, now - UPLOAD_KEPT_FOR, _ROWS_AT_ONCE), _ROWS_AT_ONCE),
            (lambda c: jobs.purge_uploads(c, _PIECES_AT_ONCE), _PIECES_AT_ONCE),
            (lambda c: jobs.purge_lines(c, _ROWS_AT_ONCE), _ROWS_AT_ONCE),
            (lambda c: jobs.purge_errors(c, _ROWS_AT_ONCE), _ROWS_AT_ONCE),
        )
        removed = 0

        async def purge(kind: tuple[Callable[[Connection], Awaitable[int]], int]) -> None:
            nonlocal removed
            removed += await self._repeat(*kind)

        await for_each(kinds, purge)
        return removed

    async def _repeat(self, purge: Callable[[Connection], Awaitable[int]], full: int) -> int:
        async def remove() -> int:
            async with self.database.connection() as connection:
                return await purge(connection)

        return await in_batches(remove, full)
