"""Statistics that are added up: what was counted is appended beside each fact, and added to stored figures here.

A service has the figures, their columns and their statements; here is who adds up, when, and by which levels. Taking
changes off the list and adding them is one statement, so a process that dies at any moment loses and doubles nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from shared.database.pool import Connection, Database
from shared.database.rows import Rows, Values
from shared.steps import LEVELS, MOST_ROWS, QUARTER, Counted, Piece, StatsFilter, TooMuch, pieces_of

F = TypeVar("F", bound=Counted)
W = TypeVar("W", bound=StatsFilter)
W_contra = TypeVar("W_contra", bound=StatsFilter, contravariant=True)

Found: TypeAlias = tuple[list[F], datetime | None]
"""Figures, and as of when they are exact: None while what an upgrade found is still counted."""

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


class ReadFigures(Protocol[W_contra, F]):
    """Reads figures in one statement; with `is_live` it adds the changes at once, and is None where there are too many.

    Raises TooMuch.
    """

    async def __call__(self, connection: Connection, wanted: W_contra, *, is_live: bool) -> Found[F] | None:
        """Read them."""


async def read_added_up(database: Database, read: ReadFigures[W, F], wanted: W) -> Found[F]:
    """Return figures with every change, or as of the last round where too many wait; raises TooMuch."""
    async with database.connection() as connection:
        for is_live in (True, False):
            if (found := await read(connection, wanted, is_live=is_live)) is not None:
                return found
    raise TooMuch


def asked_values(wanted: StatsFilter, *, is_live: bool) -> dict[str, Any]:
    """Return the values that the statements of all services take."""
    return {
        "program_id": wanted.program_id,
        "partner_id": wanted.partner_id,
        "bounds": wanted.bounds,
        "p": piece_columns(wanted.bounds),
        "since": wanted.bounds[0],
        "until": wanted.bounds[-1],
        "group_by": wanted.group_by,
        "groups": wanted.groups if wanted.group_by is not None else 1,
        "is_live": is_live,
        "most_changes": MOST_CHANGES,
        "most_rows": MOST_ROWS,
    }


def found_in(rows: Sequence[Any], figure: Rows[F], *, is_live: bool) -> Found[F] | None:
    """Return the figures of a statement's rows, of which each says how many changes there are; raises TooMuch."""
    first = rows[0]
    if first["changes"] > MOST_CHANGES:
        return None
    if first["stored"] > MOST_ROWS:
        raise TooMuch
    as_of = first["now"] if is_live else first["added_up_at"]
    return [figure(row) for row in rows if row["step"] is not None], as_of


def piece_columns(bounds: Sequence[datetime]) -> dict[str, list[Any]]:
    """Return the pieces that steps are made of, as the columns of a table."""
    return _PIECES.columns(pieces_of(bounds))
