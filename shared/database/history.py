"""Reads the history of a service's events in slices: a read looks at a bounded number of rows, whatever the filter."""

import uuid
from datetime import UTC, datetime
from typing import Final

from shared.database.filters import like_pattern
from shared.database.pool import Connection, Database
from shared.database.rows import Statement
from shared.events.envelope import InvalidEvent, OutboxEvent, decode_envelope
from shared.events.history import HistoryFilter, HistoryPage, PastEvent, Place
from shared.known_ids import FIRST_ID

ROWS_AT_ONCE: Final = 1_000
BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 1, 1, tzinfo=UTC)

SLICE_END = """
SELECT created_at, id
FROM (
    SELECT created_at, id FROM events
    WHERE created_at >= $1 AND created_at <= $3 AND (created_at, id) > ($1, $2)
    ORDER BY created_at, id LIMIT $4) slice
ORDER BY created_at DESC, id DESC
LIMIT 1
"""
READ_SLICE = Statement("""
SELECT id, type, body, created_at
FROM (
    SELECT id, type, body, created_at,
           sum(octet_length(body)) OVER (ORDER BY created_at, id) - octet_length(body) AS bytes_before
    FROM events
    WHERE created_at >= $after AND created_at <= $last
      AND (created_at, id) > ($after, $after_id) AND (created_at, id) <= ($last, $last_id)
      AND ($type::text IS NULL OR type LIKE $type)) found
WHERE bytes_before < $bytes
ORDER BY created_at, id
LIMIT $limit
""")


class History:
    """The history as the operators' API reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: HistoryFilter, after: Place | None, limit: int) -> HistoryPage:
        """Return up to `limit` matching events among the next thousand rows; fewer, or none, is not the end yet."""
        # Includes events written at that very time: no id sorts before the first.
        start = after or (wanted.since or _BEGINNING, FIRST_ID)
        async with self._database.connection() as connection:
            last = await connection.fetchrow(SLICE_END, *start, wanted.until or _END, ROWS_AT_ONCE)
            if last is None:
                return HistoryPage([], None)
            end = last["created_at"], last["id"]
            found = await _slice(connection, start, end, wanted.type, limit)
        # If the slice was cut short, the next page continues after its last row.
        is_cut = len(found) == limit or sum(len(each.event.body) for each in found) >= BYTES_AT_ONCE
        return HistoryPage(
            [each for each in found if wanted.program_id in (None, _program_of(each.event))],
            found[-1].place if is_cut else end,
        )


async def _slice(connection: Connection, after: Place, last: Place, type_: str | None, limit: int) -> list[PastEvent]:
    rows = await connection.fetch(
        *READ_SLICE(
            after=after[0],
            after_id=after[1],
            last=last[0],
            last_id=last[1],
            type=like_pattern(type_),
            bytes=BYTES_AT_ONCE,
            limit=limit,
        )
    )
    return [PastEvent(OutboxEvent(row["id"], row["type"], row["body"]), row["created_at"]) for row in rows]


def _program_of(event: OutboxEvent) -> uuid.UUID | None:
    """The program that an event is about; None for a damaged one."""
    try:
        return uuid.UUID(str(decode_envelope(event.body).data.get("program_id")))
    except (InvalidEvent, ValueError):
        return None
