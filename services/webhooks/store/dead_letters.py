"""Dead letters: made due again, or purged."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from services.webhooks.domain.deliveries import DeliveryStatus
from services.webhooks.domain.endpoints import Owner
from shared.database.pool import Connection

LOCK_DELIVERY = """
SELECT d.status, m.body IS NOT NULL AS is_whole
FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
WHERE d.id = $1 AND e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3) AND e.archived_at IS NULL
FOR NO KEY UPDATE OF d
"""
# The transaction that deletes the dead letter revives the delivery; the second of two concurrent replays finds nothing.
# A delivery in a line gets its place back and is called up in its turn.
REVIVE = """
WITH chosen AS (
    SELECT l.delivery_id
    FROM dead_letters l JOIN deliveries d ON d.id = l.delivery_id
    JOIN messages m ON m.id = d.message_id AND m.format = d.format AND m.body IS NOT NULL
    WHERE l.delivery_id = ANY ($1::uuid[])
    ORDER BY l.delivery_id LIMIT $2 FOR UPDATE OF l SKIP LOCKED FOR SHARE OF m
), revived AS (
    DELETE FROM dead_letters l USING chosen c WHERE l.delivery_id = c.delivery_id
    RETURNING l.delivery_id, l.ordering_key, l.position
), delivery AS (
    UPDATE deliveries d SET status = 'pending', completed_at = NULL FROM revived r
    WHERE d.id = r.delivery_id
    RETURNING d.id, d.endpoint_id, d.message_id, d.format, d.event_type, d.sequence, r.ordering_key, r.position
)
INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                            ends_at, token, sequence, ordering_key, position)
SELECT id, endpoint_id, message_id, format, event_type, 'replay', 1,
       CASE WHEN ordering_key IS NULL THEN $3::timestamptz ELSE 'infinity' END, $4, NULL, sequence, ordering_key,
       position
FROM delivery
RETURNING delivery_id
"""
# As for a replay, the transaction that deletes the dead letter decides about the delivery.
PURGE = """
WITH chosen AS (
    SELECT delivery_id FROM dead_letters WHERE delivery_id = ANY ($1::uuid[])
    ORDER BY delivery_id LIMIT $2 FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM dead_letters l USING chosen c WHERE l.delivery_id = c.delivery_id
    RETURNING l.delivery_id, l.endpoint_id, l.ordering_key
), delivery AS (
    UPDATE deliveries d SET status = 'canceled' FROM purged p WHERE d.id = p.delivery_id
)
SELECT endpoint_id, ordering_key FROM purged
"""


async def lock_status(
    connection: Connection, owner: Owner, delivery_id: uuid.UUID
) -> tuple[DeliveryStatus, bool] | None:
    """Return the status of a delivery and whether its content is stored; lock the delivery."""
    row = await connection.fetchrow(LOCK_DELIVERY, delivery_id, owner.program_id, owner.partner_id)
    return None if row is None else (row["status"], row["is_whole"])


async def revive(
    connection: Connection, delivery_ids: Sequence[uuid.UUID], limit: int, now: datetime, ends_at: datetime
) -> int:
    """Make up to `limit` of these dead letters with stored content due again with a new schedule."""
    return len(await connection.fetch(REVIVE, delivery_ids, limit, now, ends_at))


async def purge(
    connection: Connection, delivery_ids: Sequence[uuid.UUID], limit: int
) -> list[tuple[uuid.UUID, str | None]]:
    """Purge up to `limit` of these dead letters; return the endpoint of each, and the line that it may have held up.

    Dead letters that are being replayed at this moment are skipped.
    """
    rows = await connection.fetch(PURGE, delivery_ids, limit)
    return [(row["endpoint_id"], row["ordering_key"]) for row in rows]
