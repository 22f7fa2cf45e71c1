"""The outbox: events written in the transaction of their change, pending until the broker has confirmed them.

`events` is append-only; `outbox` is narrow and holds what is unpublished. A pending row starts leased to the process
that wrote it, which publishes right after its commit; the sweeper takes over rows whose lease has run out.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent

LEASE_SECONDS = 10

INSERT_EVENTS = """
WITH written AS (
    INSERT INTO events (id, type, body)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])
    RETURNING id)
INSERT INTO outbox (event_id, leased_until)
SELECT id, clock_timestamp() + make_interval(secs => $4) FROM written
"""
CLAIM_PENDING = """
WITH claimed AS (
    UPDATE outbox SET leased_until = clock_timestamp() + make_interval(secs => $2)
    WHERE event_id IN (
        SELECT event_id FROM outbox WHERE leased_until < clock_timestamp()
        LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING event_id)
SELECT e.id, e.type, e.body FROM claimed JOIN events e ON e.id = claimed.event_id
"""
DEFER_REFUSED = """
UPDATE outbox SET leased_until = clock_timestamp() + make_interval(secs => $2) WHERE event_id = ANY($1::uuid[])
"""
DELETE_CONFIRMED = "DELETE FROM outbox WHERE event_id = ANY($1::uuid[])"
PURGE_EVENTS = "SELECT purge_events($1, $2)"


async def insert_events(connection: Connection, events: Sequence[OutboxEvent]) -> None:
    """Write events and their pending rows; call inside the transaction of the change that they report."""
    if events:
        await connection.execute(
            INSERT_EVENTS, [e.id for e in events], [e.type for e in events], [e.body for e in events], LEASE_SECONDS
        )


async def purge_events(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` published events of the history that were written before a time, at least a day ago."""
    removed: int = await connection.fetchval(PURGE_EVENTS, before, limit)
    return removed


class OutboxTable:
    """The relay's view of the outbox: claim events left behind, and clear confirmed ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, limit: int, lease_seconds: float) -> list[OutboxEvent]:
        """Lease up to `limit` events whose lease has run out; other processes skip them meanwhile."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(CLAIM_PENDING, limit, lease_seconds)
        return [OutboxEvent(row["id"], row["type"], row["body"]) for row in rows]

    async def defer(self, ids: Sequence[uuid.UUID], seconds: float) -> None:
        """Keep events from being claimed for this long; safe to repeat."""
        async with self._database.connection() as connection:
            await connection.execute(DEFER_REFUSED, list(ids), seconds)

    async def confirm(self, ids: Sequence[uuid.UUID]) -> None:
        """Clear events that the broker has confirmed; clearing one twice does nothing."""
        async with self._database.connection() as connection:
            await connection.execute(DELETE_CONFIRMED, list(ids))
