"""Dead letters: listed, made due again, or given up for good."""

import uuid
from datetime import datetime

from services.webhooks.domain.deliveries import DeadLetter, DeadLetterFilter, DeliveryStatus
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store.deliveries import to_delivery
from shared.database.filters import like
from shared.database.pool import Connection

LIST_DEAD_LETTERS = """
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.status, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, NULL::timestamptz AS next_attempt_at, l.reason,
       l.died_at
FROM endpoints e
CROSS JOIN LATERAL (
    SELECT * FROM dead_letters f
    WHERE f.endpoint_id = e.id AND ($6::uuid IS NULL OR f.delivery_id < $6)
        AND ($4::text IS NULL OR f.event_type LIKE $4) AND ($5::timestamptz IS NULL OR f.died_at >= $5)
        AND ($8::text IS NULL OR f.reason = $8)
    ORDER BY f.delivery_id DESC LIMIT $7) AS l
JOIN deliveries d ON d.id = l.delivery_id
WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($3::uuid IS NULL OR e.id = $3)
    AND e.archived_at IS NULL
ORDER BY l.delivery_id DESC LIMIT $7
"""
LOCK_DELIVERY = """
SELECT d.status, m.body IS NOT NULL AS is_whole
FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
WHERE d.id = $1 AND e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3) AND e.archived_at IS NULL
FOR NO KEY UPDATE OF d
"""
# Whoever removes the dead letter revives the delivery; of two replays at the same moment one finds nothing. What had a
# place in a line has it again, and is called up in its turn.
REVIVE = """
WITH chosen AS (
    SELECT l.delivery_id
    FROM endpoints e JOIN dead_letters l ON l.endpoint_id = e.id
    JOIN deliveries d ON d.id = l.delivery_id
    JOIN messages m ON m.id = d.message_id AND m.format = d.format AND m.body IS NOT NULL
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($3::uuid IS NULL OR e.id = $3)
        AND e.archived_at IS NULL
        AND ($4::text IS NULL OR l.event_type LIKE $4) AND ($5::timestamptz IS NULL OR l.died_at >= $5)
        AND ($6::uuid IS NULL OR l.delivery_id = $6) AND ($10::text IS NULL OR l.reason = $10)
    ORDER BY l.delivery_id LIMIT $7 FOR UPDATE OF l SKIP LOCKED FOR SHARE OF m
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
       CASE WHEN ordering_key IS NULL THEN $8::timestamptz ELSE 'infinity' END, $9, NULL, sequence, ordering_key,
       position
FROM delivery
RETURNING delivery_id
"""
# As for a replay, whoever removes the dead letter decides about the delivery.
PURGE = """
WITH chosen AS (
    SELECT l.delivery_id
    FROM endpoints e JOIN dead_letters l ON l.endpoint_id = e.id
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($3::uuid IS NULL OR e.id = $3)
        AND ($4::text IS NULL OR l.event_type LIKE $4) AND ($5::timestamptz IS NULL OR l.died_at >= $5)
        AND ($6::text IS NULL OR l.reason = $6)
    ORDER BY l.delivery_id LIMIT $7 FOR UPDATE OF l SKIP LOCKED
), purged AS (
    DELETE FROM dead_letters l USING chosen c WHERE l.delivery_id = c.delivery_id
    RETURNING l.delivery_id, l.endpoint_id, l.ordering_key
), delivery AS (
    UPDATE deliveries d SET status = 'canceled' FROM purged p WHERE d.id = p.delivery_id
)
SELECT endpoint_id, ordering_key FROM purged
"""


async def list_page(
    connection: Connection, owner: Owner, chosen: DeadLetterFilter, before: uuid.UUID | None, limit: int
) -> list[DeadLetter]:
    """Return dead letters of the owner's endpoints, the newest deliveries first."""
    rows = await connection.fetch(
        LIST_DEAD_LETTERS,
        owner.program_id,
        owner.partner_id,
        chosen.endpoint_id,
        like(chosen.event_type),
        chosen.since,
        before,
        limit,
        chosen.reason,
    )
    return [DeadLetter(to_delivery(row), row["reason"], row["died_at"]) for row in rows]


async def lock_status(
    connection: Connection, owner: Owner, delivery_id: uuid.UUID
) -> tuple[DeliveryStatus, bool] | None:
    """Return the status of a delivery and whether its content is there; keep others from changing the delivery."""
    row = await connection.fetchrow(LOCK_DELIVERY, delivery_id, owner.program_id, owner.partner_id)
    return None if row is None else (row["status"], row["is_whole"])


async def revive(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    delivery_id: uuid.UUID | None,
    limit: int,
    now: datetime,
    ends_at: datetime,
) -> list[uuid.UUID]:
    """Make up to `limit` dead letters whose content is there due again with a fresh schedule, and return them."""
    rows = await connection.fetch(
        REVIVE,
        owner.program_id,
        owner.partner_id,
        chosen.endpoint_id,
        like(chosen.event_type),
        chosen.since,
        delivery_id,
        limit,
        now,
        ends_at,
        chosen.reason,
    )
    return [row["delivery_id"] for row in rows]


async def purge(
    connection: Connection, owner: Owner, chosen: DeadLetterFilter, limit: int
) -> list[tuple[uuid.UUID, str | None]]:
    """Give up to `limit` dead letters up for good; return the endpoint of each, and the line that it may have held up.

    What is being replayed at this moment is passed over.
    """
    rows = await connection.fetch(
        PURGE,
        owner.program_id,
        owner.partner_id,
        chosen.endpoint_id,
        like(chosen.event_type),
        chosen.since,
        chosen.reason,
        limit,
    )
    return [(row["endpoint_id"], row["ordering_key"]) for row in rows]
