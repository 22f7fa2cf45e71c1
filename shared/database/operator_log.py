"""What operators did to a service: written before or with each act, read page by page, never changed."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.rows import Rows, Statement
from shared.events.operating import Act, OperatorEntry
from shared.ids import earliest_id, new_id

_LAST_ID: Final = uuid.UUID(int=2**128 - 1)

INSERT_ENTRY = Statement("""
INSERT INTO operator_log (id, actor, action, target, justification, details, created_at)
VALUES ($id, $actor, $action, $target, $justification, $details::jsonb, $created_at)
""")
LIST_ENTRIES = """
SELECT id, actor, action, target, justification, details, created_at FROM operator_log
WHERE id < $1 ORDER BY id DESC LIMIT $2
"""
PURGE_ENTRIES = "SELECT purge_operator_log($1, $2, $3)"


async def record(
    connection: Connection, act: Act, action: str, target: str, details: Mapping[str, Any], now: datetime
) -> None:
    """Write one entry."""
    await connection.execute(
        *INSERT_ENTRY(
            id=new_id(),
            actor=act.actor,
            action=action,
            target=target,
            justification=act.justification,
            details=orjson.dumps(details).decode(),
            created_at=now,
        )
    )


async def purge_entries(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` entries that were written before a time, ninety days ago at least."""
    removed: int = await connection.fetchval(PURGE_ENTRIES, earliest_id(before), before, limit)
    return removed


class OperatorLog:
    """The log as the operators' API writes and reads it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def record(self, act: Act, action: str, target: str, details: Mapping[str, Any]) -> None:
        """Write one entry; raises TransientFault if it cannot be written, and then nothing may be done."""
        async with self._database.connection() as connection:
            await record(connection, act, action, target, details, self._clock())

    async def page(self, after: uuid.UUID | None, limit: int) -> list[OperatorEntry]:
        """Return up to `limit` entries, newest first, older than `after`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(LIST_ENTRIES, after or _LAST_ID, limit)
        return [_entry(row) for row in rows]


_entry: Final = Rows(OperatorEntry, details=orjson.loads)
