"""Removes what finished jobs leave behind: uploads at once, the jobs and their reports after thirty days."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.codes.domain.jobs import KEPT_FOR, UPLOAD_KEPT_FOR
from services.codes.store import jobs
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.faults import TransientFault
from shared.log import get_logger

PURGE_INTERVAL_SECONDS: Final = 600.0
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
        removed = 0
        while True:
            async with self.database.connection() as connection:
                purged = await purge(connection)
            removed += purged
            if purged < full:
                return removed

    async def run(self) -> None:
        """Remove what is old now and then, until cancelled."""
        while True:
            try:
                await self()
            except TransientFault as fault:
                get_logger().warning("purge_failed", reason=str(fault))
            await asyncio.sleep(PURGE_INTERVAL_SECONDS)
