"""Dead letters: gone through from the oldest on, made due again, or given up for good."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.deliveries import DeadLetterFilter, DeliveryStatus
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store.delivery_lists import LANES, MOST_ENDPOINTS, SCANNED_PER_PAGE
from shared.database.filters import like
from shared.database.pool import Connection

LOCK_DELIVERY = """
SELECT d.status, m.body IS NOT NULL AS is_whole
FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
LEFT JOIN messages m ON m.id = d.message_id AND m.format = d.format
WHERE d.id = $1 AND e.program_id = $2 AND ($3::uuid IS NULL OR e.partner_id = $3) AND e.archived_at IS NULL
FOR NO KEY UPDATE OF d
"""
# As `delivery_lists.LIST_DEAD`, from the oldest on.
WALK = """
WITH chosen AS MATERIALIZED (
    (SELECT id FROM endpoints
     WHERE $3::uuid IS NOT NULL AND id = $3 AND program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2))
    UNION ALL
    (SELECT id FROM endpoints
     WHERE $3::uuid IS NULL AND $2::uuid IS NOT NULL AND owner_id = $2 AND program_id = $1 LIMIT $10)
    UNION ALL
    (SELECT id FROM endpoints WHERE $3::uuid IS NULL AND $2::uuid IS NULL AND program_id = $1 LIMIT $10)
), oldest AS MATERIALIZED (
    SELECT c.id AS endpoint_id, n.delivery_id AS id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT delivery_id FROM dead_letters WHERE (endpoint_id, delivery_id) > (c.id, $4) AND endpoint_id <= c.id
        ORDER BY endpoint_id, delivery_id LIMIT 1) AS n
    WHERE (SELECT count(*) FROM chosen) < $10
    ORDER BY n.delivery_id LIMIT $11 + 1
), lane AS MATERIALIZED (
    SELECT endpoint_id FROM oldest ORDER BY id LIMIT $11
), share AS MATERIALIZED (
    SELECT $9::bigint / greatest(1, count(*)) AS size FROM lane
), letter AS MATERIALIZED (
    SELECT l.endpoint_id, f.delivery_id, f.event_type, f.reason, f.died_at,
           f.place = (SELECT size FROM share) AS is_last
    FROM lane l CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY delivery_id) AS place FROM (
            SELECT delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (endpoint_id, delivery_id) > (l.endpoint_id, $4) AND endpoint_id <= l.endpoint_id
            ORDER BY endpoint_id, delivery_id LIMIT (SELECT size FROM share)) AS n) AS f
    UNION ALL
    SELECT endpoint_id, delivery_id, event_type, reason, died_at, place = greatest($8::bigint, $9) FROM (
        SELECT *, row_number() OVER (ORDER BY delivery_id) AS place FROM (
            SELECT endpoint_id, delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (SELECT count(*) FROM chosen) = $10 AND delivery_id > $4
            ORDER BY delivery_id LIMIT greatest($8::bigint, $9)) AS n) AS f
), roof AS MATERIALIZED (
    SELECT id FROM (
        SELECT delivery_id AS id FROM letter WHERE is_last
        UNION ALL
        (SELECT id FROM oldest ORDER BY id OFFSET $11)) AS f
    ORDER BY id LIMIT 1
)
(SELECT l.delivery_id AS id, false AS is_mark FROM letter l
 CROSS JOIN LATERAL (SELECT program_id, partner_id, archived_at FROM endpoints WHERE id = l.endpoint_id OFFSET 0) AS e
 WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($12 OR e.archived_at IS NULL)
     AND l.delivery_id <= coalesce((SELECT id FROM roof), l.delivery_id) AND ($5::text IS NULL OR l.event_type LIKE $5)
     AND ($6::timestamptz IS NULL OR l.died_at >= $6) AND ($7::text IS NULL OR l.reason = $7)
 ORDER BY l.delivery_id LIMIT $8)
UNION ALL
(SELECT l.delivery_id, true FROM letter l JOIN roof r ON l.delivery_id <= r.id ORDER BY l.delivery_id DESC LIMIT 1)
"""
# Whoever removes the dead letter revives the delivery; of two replays at the same moment one finds nothing. What had a
# place in a line has it again, and is called up in its turn.
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
# As for a replay, whoever removes the dead letter decides about the delivery.
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


@dataclass(frozen=True, slots=True)
class Stretch:
    """The next dead letters of a walk, and after which id to go on; None at the end."""

    ids: list[uuid.UUID]
    next_after: uuid.UUID | None


async def walk(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    after: uuid.UUID,
    limit: int,
    *,
    with_archived: bool,
) -> Stretch:
    """Return up to `limit` dead letters of the owner's endpoints that fit, the oldest first; few may be found."""
    rows = await connection.fetch(
        WALK,
        owner.program_id,
        owner.partner_id,
        chosen.endpoint_id,
        after,
        like(chosen.event_type),
        chosen.since,
        chosen.reason,
        limit,
        SCANNED_PER_PAGE,
        MOST_ENDPOINTS + 1,
        LANES,
        with_archived,
    )
    ids = sorted(row["id"] for row in rows if not row["is_mark"])
    mark = next((row["id"] for row in rows if row["is_mark"]), None)
    return Stretch(ids, ids[-1] if len(ids) == limit else mark)


async def lock_status(
    connection: Connection, owner: Owner, delivery_id: uuid.UUID
) -> tuple[DeliveryStatus, bool] | None:
    """Return the status of a delivery and whether its content is there; keep others from changing the delivery."""
    row = await connection.fetchrow(LOCK_DELIVERY, delivery_id, owner.program_id, owner.partner_id)
    return None if row is None else (row["status"], row["is_whole"])


async def revive(
    connection: Connection, delivery_ids: Sequence[uuid.UUID], limit: int, now: datetime, ends_at: datetime
) -> int:
    """Make up to `limit` of these dead letters whose content is there due again with a fresh schedule."""
    return len(await connection.fetch(REVIVE, delivery_ids, limit, now, ends_at))


async def purge(
    connection: Connection, delivery_ids: Sequence[uuid.UUID], limit: int
) -> list[tuple[uuid.UUID, str | None]]:
    """Give up to `limit` of these dead letters up; return the endpoint of each, and the line that it may have held up.

    What is being replayed at this moment is passed over.
    """
    rows = await connection.fetch(PURGE, delivery_ids, limit)
    return [(row["endpoint_id"], row["ordering_key"]) for row in rows]
