"""How old rows are removed: in short statements, with a pause between them, by any number of processes at once.

Correctness does not depend on it; the disk does. `docs/operations.md` says how long each table keeps its rows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.metrics import ROWS_REMOVED

INTERVAL_SECONDS: Final = 600.0
# Few enough rows that a statement takes milliseconds; requests have the database in the pauses.
ROWS_AT_ONCE: Final = 1_000
BREATH_SECONDS: Final = 0.1


async def in_batches(remove: Callable[[], Awaitable[int]], full: int, breath_seconds: float = 0.0) -> int:
    """Remove batch after batch until one is not `full`, with a pause between them; return the total removed."""
    removed = 0
    while True:
        batch = await remove()
        removed += batch
        if batch < full:
            return removed
        if breath_seconds:
            await asyncio.sleep(breath_seconds)


@dataclass(frozen=True, slots=True)
class Removal:
    """Removes rows of one table that are past their retention.

    `remove` takes a connection, the time before which rows are old, and a maximum; it returns how many it removed.
    """

    table: str
    database: Database
    clock: Clock
    kept: timedelta
    remove: Callable[[Connection, datetime, int], Awaitable[int]]
    rows_at_once: int = ROWS_AT_ONCE

    async def __call__(self) -> int:
        """Remove old rows, a chunk per transaction, and return their number."""
        before = self.clock() - self.kept

        async def chunk() -> int:
            async with self.database.transaction() as connection:
                removed = await self.remove(connection, before, self.rows_at_once)
            ROWS_REMOVED.labels(self.table).inc(removed)
            return removed

        return await in_batches(chunk, self.rows_at_once, BREATH_SECONDS)
