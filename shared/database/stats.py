"""Statistics that are added up: what was counted is appended beside each fact, and added to stored figures here.

A service has the figures, their columns and their statements; here is who adds up, when, and by which levels. Taking
changes off the list and adding them is one statement, so a process that dies at any moment loses and doubles nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.database.pool import Connection, Database
from shared.database.rows import Values
from shared.steps import LEVELS, QUARTER, Piece, pieces_of

INTERVAL_SECONDS: Final = 10.0
# How many changes a transaction adds, so that it stays far below the time limit of a statement.
AT_ONCE: Final = 5_000
# Up to this many changes that are not added yet are added by a request itself.
MOST_CHANGES: Final = 20_000

LOCK_ROUND = "SELECT clock_timestamp() AS now FROM stats_rounds FOR UPDATE SKIP LOCKED"
NOTE_ROUND = "UPDATE stats_rounds SET added_up_at = greatest(added_up_at, $1)"

LEVEL_COLUMNS: Final = {"level": [*range(len(LEVELS))], "size": [number * QUARTER for number in LEVELS]}
"""The levels of stored figures and their sizes, as the columns of a table."""
_PIECES: Final = Values(("level", "since", "until"), Piece)


@dataclass(frozen=True, slots=True)
class AddUpStats:
    """Adds up what changed, a bounded number of changes per transaction, one process at a time.

    `add_up` takes up to that many changes off the list, adds them to the figures of all levels, and returns how many.
    """

    database: Database
    add_up: Callable[[Connection, int], Awaitable[int]]
    at_once: int = AT_ONCE

    async def __call__(self) -> int:
        """Return how many changes were added."""
        added, started = 0, None
        while True:
            async with self.database.transaction() as connection:
                if (row := await connection.fetchrow(LOCK_ROUND)) is None:
                    return added
                # Whatever was written before the first look is seen by the last.
                started = started or row["now"]
                taken = await self.add_up(connection, self.at_once)
                if taken < self.at_once:
                    await connection.execute(NOTE_ROUND, started)
            added += taken
            if taken < self.at_once:
                return added


def piece_columns(bounds: Sequence[datetime]) -> dict[str, list[Any]]:
    """Return the pieces that steps are made of, as the columns of a table."""
    return _PIECES.columns(pieces_of(bounds))
