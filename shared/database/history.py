"""Reads the history of a service's events in slices: a read looks at a bounded number of rows, whatever is wanted."""

import uuid
from datetime import datetime, timedelta
from typing import Final

from shared.database.filters import like
from shared.database.pool import Connection, Database
from shared.events.envelope import InvalidEvent, OutboxEvent, decode_envelope
from shared.events.history import HistoryFilter, HistoryPage
from shared.ids import earliest_id

ROWS_AT_ONCE: Final = 1_000
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_MILLISECOND: Final = timedelta(milliseconds=1)
_FIRST: Final = uuid.UUID(int=0)
_LAST: Final = uuid.UUID(int=2**128 - 1)

# Ids are made of the time, so a stretch of time is a stretch of the primary key.
SLICE_END = """
SELECT id FROM (SELECT id FROM events WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3) slice ORDER BY id DESC LIMIT 1
"""
READ_SLICE = """
SELECT id, type, body
FROM (
    SELECT id, type, body, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS bytes_before
    FROM events WHERE id > $1 AND id <= $2 AND ($3::text IS NULL OR type LIKE $3)) found
WHERE bytes_before < $4
ORDER BY id
LIMIT $5
"""


class History:
    """The history as the operators' API reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: HistoryFilter, after: uuid.UUID | None, limit: int) -> HistoryPage:
        """Return up to `limit` events that fit among the next thousand rows; fewer, or none, is not yet the end."""
        start = after or (_FIRST if wanted.since is None else _before(wanted.since))
        end = _LAST if wanted.until is None else earliest_id(wanted.until + _MILLISECOND)
        async with self._database.connection() as connection:
            last = await connection.fetchval(SLICE_END, start, end, ROWS_AT_ONCE)
            if last is None:
                return HistoryPage([], None)
            found = await _slice(connection, start, last, wanted.type, limit)
        # Where the slice was cut short, the next page goes on behind what was read of it.
        is_cut = len(found) == limit or sum(len(event.body) for event in found) >= BYTES_AT_ONCE
        return HistoryPage(
            [event for event in found if wanted.program_id in (None, _program_of(event))],
            found[-1].id if is_cut else last,
        )


async def _slice(
    connection: Connection, after: uuid.UUID, last: uuid.UUID, type_: str | None, limit: int
) -> list[OutboxEvent]:
    rows = await connection.fetch(READ_SLICE, after, last, like(type_), BYTES_AT_ONCE, limit)
    return [OutboxEvent(row["id"], row["type"], row["body"]) for row in rows]


def _before(moment: datetime) -> uuid.UUID:
    """The last id that sorts before every id made at the moment or later."""
    return uuid.UUID(int=max(earliest_id(moment).int - 1, 0))


def _program_of(event: OutboxEvent) -> uuid.UUID | None:
    """The program that an event is about; a damaged one is about none."""
    try:
        return uuid.UUID(str(decode_envelope(event.body).data.get("program_id")))
    except (InvalidEvent, ValueError):
        return None
