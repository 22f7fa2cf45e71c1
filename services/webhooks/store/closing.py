"""Disabled endpoints whose pending deliveries become dead letters, in chunks of one transaction each."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.webhooks.domain.endpoints import Owner
from shared.database.pool import Connection
from shared.database.rows import Rows

FIND_CLOSING = """
SELECT id FROM endpoints WHERE is_closing AND status = 'disabled' AND id > $1 ORDER BY id LIMIT $2
"""
# A request that enables the endpoint waits until the chunk is written, and no other chunk follows. An endpoint that
# another process works on is skipped.
LOCK_CLOSING = """
SELECT id, program_id, partner_id FROM endpoints
WHERE id = $1 AND status = 'disabled' AND archived_at IS NULL
FOR NO KEY UPDATE SKIP LOCKED
"""
# Excludes deliveries that were replayed meanwhile: replays reach disabled endpoints too. Leased deliveries are ended by
# the process that holds them.
GIVE_UP_WAITING = """
WITH given_up AS (
    DELETE FROM delivery_queue WHERE delivery_id = ANY (ARRAY(
        SELECT delivery_id FROM delivery_queue
        WHERE endpoint_id = $1 AND trigger = 'automatic' AND (token IS NULL OR visible_at <= $2)
        ORDER BY visible_at LIMIT $3 FOR UPDATE SKIP LOCKED))
    RETURNING delivery_id, ordering_key, position
), dead AS (
    UPDATE deliveries d SET status = 'dead', completed_at = $2 FROM given_up b WHERE d.id = b.delivery_id
    RETURNING d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, b.ordering_key,
              b.position
), letter AS (
    INSERT INTO dead_letters (delivery_id, endpoint_id, event_type, reason, died_at, ordering_key, position)
    SELECT id, endpoint_id, event_type, $4, $2, ordering_key, position FROM dead
    ON CONFLICT (delivery_id) DO UPDATE SET reason = excluded.reason, died_at = excluded.died_at
)
SELECT id AS delivery_id, message_id, event_type, attempts_made, last_status FROM dead
"""
IS_CLOSING = """
SELECT EXISTS (
    SELECT 1 FROM endpoints
    WHERE is_closing AND status = 'disabled' AND program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2)
        AND ($3::uuid IS NULL OR id = $3))
"""
# Deliveries locked by a claim at this moment were skipped; they are looked for again.
SET_CLOSED = """
UPDATE endpoints SET is_closing = false
WHERE id = $1 AND is_closing AND NOT EXISTS (
    SELECT 1 FROM delivery_queue
    WHERE endpoint_id = $1 AND trigger = 'automatic' AND (token IS NULL OR visible_at <= $2))
"""
# A failed manual attempt puts its delivery back to pending even if the endpoint was disabled meanwhile.
SET_CLOSING = """
UPDATE endpoints SET is_closing = true
WHERE id = (SELECT endpoint_id FROM deliveries WHERE id = $1) AND status = 'disabled' AND archived_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Closing:
    """A disabled endpoint, locked."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A delivery that has become a dead letter without another attempt."""

    delivery_id: uuid.UUID
    message_id: uuid.UUID
    event_type: str
    attempts_made: int
    last_status: int | None


_CLOSING: Final = Rows(Closing)
_GIVEN_UP: Final = Rows(GivenUp)


async def find(connection: Connection, after: uuid.UUID, limit: int) -> tuple[list[uuid.UUID], uuid.UUID | None]:
    """Return up to `limit` endpoints that have more to give up, and the position of the next page; None at the end."""
    found = [row["id"] for row in await connection.fetch(FIND_CLOSING, after, limit)]
    return found, found[-1] if len(found) == limit else None


async def lock(connection: Connection, endpoint_id: uuid.UUID) -> Closing | None:
    """Return a disabled endpoint, locked until the transaction ends; None if another process works on it."""
    row = await connection.fetchrow(LOCK_CLOSING, endpoint_id)
    return None if row is None else _CLOSING(row)


async def give_up(
    connection: Connection, endpoint_id: uuid.UUID, reason: str, now: datetime, limit: int
) -> list[GivenUp]:
    """Turn up to `limit` unleased deliveries into dead letters, and record when there are no more."""
    rows = await connection.fetch(GIVE_UP_WAITING, endpoint_id, now, limit, reason)
    if len(rows) < limit:
        await connection.execute(SET_CLOSED, endpoint_id, now)
    return [_GIVEN_UP(row) for row in rows]


async def is_under_way(connection: Connection, owner: Owner, endpoint_id: uuid.UUID | None) -> bool:
    """Return whether more dead letters are about to be created for the owner's disabled endpoints, or for that one."""
    found: bool = await connection.fetchval(IS_CLOSING, owner.program_id, owner.partner_id, endpoint_id)
    return found


async def reopen(connection: Connection, delivery_id: uuid.UUID) -> None:
    """Mark an endpoint for closing again because a delivery was put back although it is disabled."""
    await connection.execute(SET_CLOSING, delivery_id)
