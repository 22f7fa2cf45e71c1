"""The queue of live work: deliveries returned to it, whose turn it is in a line, and the age of the backlog."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.webhooks.domain.deliveries import Backlog, HeldDelivery
from shared.database.pool import Connection, affected

# Ordered deliveries wait to be called up again.
RELEASE = """
UPDATE delivery_queue q
SET visible_at = CASE WHEN q.ordering_key IS NULL THEN $3::timestamptz ELSE 'infinity' END, token = NULL
FROM unnest($1::uuid[], $2::bigint[]) AS r (delivery_id, token)
WHERE q.delivery_id = r.delivery_id AND q.token = r.token
"""
# A transaction that adds to a line or removes from it locks the line before it looks for the first delivery. Otherwise
# one that adds might see a predecessor that is just leaving, and one that removes might miss a delivery just added.
LOCK_LINES = """
SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM unnest($1::uuid[]) AS id ORDER BY id
"""
# A dead letter holds up the deliveries behind it, where the endpoint asks for that.
RELEASE_HEADS = """
WITH head AS (
    SELECT first.delivery_id
    FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) AS l (endpoint_id, ordering_key)) AS line
    JOIN endpoints e ON e.id = line.endpoint_id
    CROSS JOIN LATERAL (
        SELECT q.delivery_id, q.position, q.visible_at FROM delivery_queue q
        WHERE q.endpoint_id = line.endpoint_id AND q.ordering_key = line.ordering_key
        ORDER BY q.position LIMIT 1) AS first
    WHERE first.visible_at = 'infinity'
      AND (e.on_exhausted = 'skip' OR NOT EXISTS (
          SELECT 1 FROM dead_letters d
          WHERE d.endpoint_id = line.endpoint_id AND d.ordering_key = line.ordering_key
              AND d.position < first.position))
)
UPDATE delivery_queue q SET visible_at = $3 FROM head
WHERE q.delivery_id = head.delivery_id AND q.visible_at = 'infinity'
RETURNING q.delivery_id
"""
# Lines whose first delivery waits although nothing is before it: its predecessor was replayed, purged or canceled, or
# may now be skipped. Goes from line to line by the index, a bounded number behind the one where the last run ended.
FIND_LINES = """
WITH RECURSIVE line AS (
    (SELECT endpoint_id, ordering_key, position, visible_at FROM delivery_queue
     WHERE (endpoint_id, ordering_key) > ($1, $2) AND ordering_key IS NOT NULL
     ORDER BY endpoint_id, ordering_key, position LIMIT 1)
    UNION ALL
    SELECT n.* FROM line l CROSS JOIN LATERAL (
        SELECT q.endpoint_id, q.ordering_key, q.position, q.visible_at FROM delivery_queue q
        WHERE (q.endpoint_id, q.ordering_key) > (l.endpoint_id, l.ordering_key) AND q.ordering_key IS NOT NULL
        ORDER BY q.endpoint_id, q.ordering_key, q.position LIMIT 1) AS n
), first AS MATERIALIZED (
    SELECT * FROM line LIMIT $3
)
SELECT first.endpoint_id, first.ordering_key,
       first.visible_at = 'infinity' AND (e.on_exhausted = 'skip' OR NOT EXISTS (
           SELECT 1 FROM dead_letters d
           WHERE d.endpoint_id = first.endpoint_id AND d.ordering_key = first.ordering_key
               AND d.position < first.position)) AS is_waiting
FROM first
CROSS JOIN LATERAL (SELECT on_exhausted FROM endpoints WHERE id = first.endpoint_id OFFSET 0) AS e
ORDER BY first.endpoint_id, first.ordering_key
"""
CANCEL_WAITING = """
WITH canceled AS (
    DELETE FROM delivery_queue WHERE delivery_id = ANY (ARRAY(
        SELECT delivery_id FROM delivery_queue WHERE endpoint_id = $1 AND (token IS NULL OR visible_at <= $2)
        ORDER BY visible_at LIMIT $3 FOR UPDATE SKIP LOCKED))
    RETURNING delivery_id)
UPDATE deliveries d SET status = 'canceled', completed_at = $2 FROM canceled c WHERE d.id = c.delivery_id
"""
# From endpoint to endpoint by the index, a bounded number behind the one where the last run ended.
FIND_ARCHIVED = """
WITH RECURSIVE walk AS (
    (SELECT endpoint_id FROM delivery_queue WHERE endpoint_id > $1 ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.endpoint_id FROM delivery_queue q WHERE q.endpoint_id > w.endpoint_id
            ORDER BY q.endpoint_id LIMIT 1)
    FROM walk w WHERE w.endpoint_id IS NOT NULL
), seen AS MATERIALIZED (
    SELECT endpoint_id FROM walk WHERE endpoint_id IS NOT NULL LIMIT $2
)
SELECT s.endpoint_id, e.archived_at IS NOT NULL AS is_archived
FROM seen s CROSS JOIN LATERAL (SELECT archived_at FROM endpoints WHERE id = s.endpoint_id OFFSET 0) AS e
ORDER BY s.endpoint_id
"""
# Counts no further than is worth the cost every few seconds. Deliveries that wait behind another are due at infinity,
# which the driver returns as a time without a zone: only due ones may be read.
MEASURE = """
WITH RECURSIVE walk AS (
    (SELECT endpoint_id FROM delivery_queue ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.endpoint_id FROM delivery_queue q WHERE q.endpoint_id > w.endpoint_id
            ORDER BY q.endpoint_id LIMIT 1)
    FROM walk w WHERE w.endpoint_id IS NOT NULL
), active AS MATERIALIZED (
    SELECT e.id, e.resume_at
    FROM (SELECT endpoint_id FROM walk LIMIT $2) w
    JOIN endpoints e ON e.id = w.endpoint_id AND e.status = 'active' AND e.archived_at IS NULL
        AND e.secret_unreadable_since IS NULL
)
SELECT (SELECT min(greatest(first_due.visible_at, a.resume_at))
        FROM active a CROSS JOIN LATERAL (
            SELECT q.visible_at FROM delivery_queue q
            WHERE q.endpoint_id = a.id AND q.visible_at <= $1 ORDER BY q.visible_at LIMIT 1) AS first_due
        WHERE a.resume_at IS NULL OR a.resume_at <= $1) AS oldest_at,
       (SELECT count(*) FROM (
            SELECT 1 FROM active a CROSS JOIN LATERAL (
                SELECT 1 FROM delivery_queue q
                WHERE q.endpoint_id = a.id AND q.visible_at <= $1 ORDER BY q.visible_at LIMIT $2) AS due
            WHERE a.resume_at IS NULL OR a.resume_at <= $1 LIMIT $2) AS counted) AS due
"""


async def release(connection: Connection, held: Sequence[HeldDelivery], now: datetime) -> None:
    """Return unsent deliveries; unordered ones are due at once, ordered ones wait to be called up."""
    if held:
        await connection.execute(RELEASE, [h.delivery_id for h in held], [h.token for h in held], now)


async def release_heads(connection: Connection, lines: Sequence[tuple[uuid.UUID, str]], now: datetime) -> int:
    """Make the first delivery of each line due, unless it already is or is held up; return how many now are.

    Must run in the transaction that changed the lines, after the change.
    """
    if not lines:
        return 0
    endpoint_ids, keys = [line[0] for line in lines], [line[1] for line in lines]
    await connection.execute(LOCK_LINES, sorted(set(endpoint_ids)))
    return len(await connection.fetch(RELEASE_HEADS, endpoint_ids, keys, now))


def lines_of(held: Iterable[HeldDelivery]) -> list[tuple[uuid.UUID, str]]:
    """Return the lines of deliveries; unordered deliveries have none."""
    return list({(h.endpoint_id, h.ordering_key) for h in held if h.ordering_key is not None})


async def waiting_lines(
    connection: Connection, after: tuple[uuid.UUID, str], limit: int
) -> tuple[list[tuple[uuid.UUID, str]], tuple[uuid.UUID, str] | None]:
    """Look at `limit` lines; return those whose first delivery waits for none, and the next position; None at end."""
    rows = await connection.fetch(FIND_LINES, *after, limit)
    lines = [(row["endpoint_id"], row["ordering_key"]) for row in rows if row["is_waiting"]]
    return lines, (rows[-1]["endpoint_id"], rows[-1]["ordering_key"]) if len(rows) == limit else None


async def cancel_waiting(connection: Connection, endpoint_id: uuid.UUID, now: datetime, limit: int) -> int:
    """Cancel up to `limit` unleased deliveries of an endpoint, and return how many."""
    return affected(await connection.execute(CANCEL_WAITING, endpoint_id, now, limit))


async def find_archived(
    connection: Connection, after: uuid.UUID, limit: int
) -> tuple[list[uuid.UUID], uuid.UUID | None]:
    """Look at `limit` endpoints with live work; return the archived ones, and the next position; None at the end."""
    rows = await connection.fetch(FIND_ARCHIVED, after, limit)
    found = [row["endpoint_id"] for row in rows if row["is_archived"]]
    return found, rows[-1]["endpoint_id"] if len(rows) == limit else None


async def measure(connection: Connection, now: datetime, limit: int) -> Backlog:
    """Return the backlog of active endpoints, counting no more than `limit` deliveries."""
    row: Any = await connection.fetchrow(MEASURE, now, limit)
    oldest_at: datetime | None = row["oldest_at"]
    return Backlog(timedelta(0) if oldest_at is None else now - oldest_at, row["due"])
