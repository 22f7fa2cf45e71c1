"""The queue of live work: claims with a lease and a fencing token, releases, and the age of what is due."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.webhooks.domain.deliveries import LEASE_SECONDS, Backlog, HeldDelivery
from services.webhooks.domain.pacing import MARGIN_SECONDS
from shared.database.pool import Connection, affected

# Walks from endpoint to endpoint through the index instead of reading a backlog, then takes a fair share of each: what
# is in flight anywhere counts against an endpoint's cap. Paused and resting endpoints are passed over; archived and
# disabled ones are not, so that their work comes to its end. The start changes, so no endpoint is always last. Behind
# a breaker that has opened, one delivery at a time is claimed in all processes together. Of an endpoint with a limit
# per second as many as that leaves (`domain/pacing.py`), counted under the lock of its row and by the database's clock,
# for all processes together; one whose row another claim holds is passed over, and one that has no row yet gets it.
# Of what is chosen so many are taken, one of each endpoint in turn, as their bodies fit into what the process has left
# for bodies; one at least. No body is read to know its size. What has lost its body comes to its end when it expires.
CLAIM = """
WITH RECURSIVE walk AS (
    (SELECT endpoint_id FROM delivery_queue ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.endpoint_id FROM delivery_queue q WHERE q.endpoint_id > w.endpoint_id
            ORDER BY q.endpoint_id LIMIT 1)
    FROM walk w WHERE w.endpoint_id IS NOT NULL
), candidate AS MATERIALIZED (
    SELECT e.id, e.version, e.breaker_trips, CASE WHEN e.archived_at IS NULL THEN e.rate_limit_per_second END AS rate,
           least(CASE WHEN e.breaker_trips = 0 THEN e.max_in_flight * $8::int ELSE 1 END
                 - (SELECT count(*) FROM delivery_queue f
                    WHERE f.endpoint_id = e.id AND f.token IS NOT NULL AND f.visible_at > $1),
                 coalesce(known.room, $9::int)) AS room
    FROM walk w
    JOIN endpoints e ON e.id = w.endpoint_id
    LEFT JOIN unnest($6::uuid[], $7::int[]) AS known (id, room) ON known.id = e.id
    WHERE (e.archived_at IS NOT NULL OR e.status = 'disabled'
           OR (e.status = 'active' AND (e.resume_at IS NULL OR e.resume_at <= $1)))
      AND EXISTS (SELECT 1 FROM delivery_queue d WHERE d.endpoint_id = e.id AND d.visible_at <= $1)
), unmade AS (
    INSERT INTO endpoint_rates (endpoint_id)
    SELECT c.id FROM candidate c
    WHERE c.rate IS NOT NULL AND NOT EXISTS (SELECT 1 FROM endpoint_rates r WHERE r.endpoint_id = c.id)
    ORDER BY c.id
    ON CONFLICT (endpoint_id) DO NOTHING
), paced AS MATERIALIZED (
    SELECT r.endpoint_id,
           (SELECT coalesce(sum(s.count), 0) FROM unnest(r.span_ends, r.span_counts) AS s (ends_at, count)
            WHERE s.ends_at > statement_timestamp() - interval '1 second')::int AS spent
    FROM endpoint_rates r
    WHERE r.endpoint_id = ANY (ARRAY(SELECT id FROM candidate WHERE rate IS NOT NULL AND room > 0))
    FOR UPDATE SKIP LOCKED
), lane AS MATERIALIZED (
    SELECT c.id, c.version, c.breaker_trips, c.rate IS NOT NULL AS is_paced,
           CASE WHEN c.rate IS NULL THEN c.room ELSE least(c.room, coalesce(c.rate - p.spent, 0)) END AS room
    FROM candidate c LEFT JOIN paced p ON p.endpoint_id = c.id
), share AS (
    SELECT greatest(1, ceil($2::int::numeric / greatest(1, count(*) FILTER (WHERE room > 0))))::bigint AS size FROM lane
), chosen AS (
    SELECT picked.*, lane.version, lane.breaker_trips, lane.is_paced
    FROM (SELECT * FROM lane WHERE room > 0 ORDER BY (id > $5) DESC, id) AS lane
    CROSS JOIN LATERAL (
        SELECT q.delivery_id, q.endpoint_id, q.visible_at, q.message_id, q.format FROM delivery_queue q
        WHERE q.endpoint_id = lane.id AND q.visible_at <= $1
        ORDER BY q.visible_at
        LIMIT least(lane.room, (SELECT size FROM share))
        FOR UPDATE SKIP LOCKED) AS picked
    LIMIT $2
), weighed AS (
    SELECT c.delivery_id, c.version, c.breaker_trips, c.is_paced,
           sum(c.bytes) OVER (ORDER BY c.turn ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (SELECT *, row_number() OVER (PARTITION BY endpoint_id ORDER BY visible_at) AS turn,
                 (SELECT octet_length(m.body) FROM messages m
                  WHERE m.id = chosen.message_id AND m.format = chosen.format) AS bytes
          FROM chosen) AS c
), claimed AS (
    UPDATE delivery_queue q SET visible_at = $3, token = $4
    FROM weighed c WHERE q.delivery_id = c.delivery_id AND coalesce(c.bytes_before, 0) < $10::bigint
    RETURNING q.delivery_id, q.endpoint_id, c.version, q.message_id, q.format, q.event_type, q.step, q.trigger,
              q.ends_at, q.sequence, q.ordering_key, c.breaker_trips, c.is_paced
), spent AS (
    UPDATE endpoint_rates r
    SET span_ends = ARRAY(
            SELECT s.ends_at FROM unnest(r.span_ends) WITH ORDINALITY AS s (ends_at, nth)
            WHERE s.ends_at > statement_timestamp() - interval '1 second' ORDER BY s.nth)
            || (statement_timestamp() + $11::float8 * interval '1 second'),
        span_counts = ARRAY(
            SELECT s.count FROM unnest(r.span_ends, r.span_counts) WITH ORDINALITY AS s (ends_at, count, nth)
            WHERE s.ends_at > statement_timestamp() - interval '1 second' ORDER BY s.nth) || c.count
    FROM (SELECT endpoint_id, count(*)::int AS count FROM claimed WHERE is_paced GROUP BY endpoint_id) AS c
    WHERE r.endpoint_id = c.endpoint_id
)
SELECT c.delivery_id, c.endpoint_id, c.version, c.message_id, c.event_type, c.step, c.trigger, c.ends_at, m.body,
       c.format, c.sequence, c.ordering_key, c.breaker_trips, m.traceparent, m.occurred_at, c.is_paced
FROM claimed c JOIN messages m ON m.id = c.message_id AND m.format = c.format
WHERE m.body IS NOT NULL
"""
CLAIM_EXPIRED = """
WITH claimed AS (
    UPDATE delivery_queue SET visible_at = $3, token = $4
    WHERE delivery_id IN (
        SELECT delivery_id FROM delivery_queue
        WHERE delivery_id < $5 AND ends_at <= $1 AND (token IS NULL OR visible_at <= $1)
        LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING delivery_id, endpoint_id, message_id, event_type, step, trigger, ends_at, format, sequence,
              ordering_key)
SELECT c.delivery_id, c.endpoint_id, e.version, c.message_id, c.event_type, c.step, c.trigger, c.ends_at,
       ''::bytea AS body, c.format, c.sequence, c.ordering_key, 0 AS breaker_trips, NULL::text AS traceparent,
       NULL::timestamptz AS occurred_at, false AS is_paced
FROM claimed c JOIN endpoints e ON e.id = c.endpoint_id
"""
RELEASE = """
UPDATE delivery_queue q SET visible_at = $3, token = NULL
FROM unnest($1::uuid[], $2::bigint[]) AS r (delivery_id, token)
WHERE q.delivery_id = r.delivery_id AND q.token = r.token
"""
# Whoever adds to a line or takes from it locks it before it looks who is first. Without that, one who adds might see a
# predecessor that is just going, and one who goes might not see who was just added.
LOCK_LINES = """
SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM unnest($1::uuid[]) AS id ORDER BY id
"""
# What has died holds up what comes after it, where the endpoint wants it so.
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
# Lines whose first waits though nothing is before him: that was replayed, purged or canceled, or may now be passed.
# From line to line by the index, so many of them behind the one where the look before has ended.
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
# From endpoint to endpoint by the index, so many of them behind the one where the look before has ended.
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
# Counts no further than is worth its cost every few seconds, however much lies there. What waits behind another is due
# at infinity, which the driver returns as a time without a zone: nothing else than what is due may be looked at.
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


async def claim(
    connection: Connection,
    *,
    now: datetime,
    limit: int,
    limit_bytes: int,
    leased_until: datetime,
    token: int,
    start: uuid.UUID,
    rooms: Iterable[tuple[uuid.UUID, int]],
    room: int,
    ahead: int,
    asked: float,
    begin_within: float,
) -> list[HeldDelivery]:
    """Lease up to `limit` due deliveries, fairly over endpoints: so many as `rooms` says of each, else `room`.

    Once their bodies come to `limit_bytes` no more are taken; the last one may lead over it.
    In all processes together an endpoint may have `ahead` times its cap leased, most of it waiting. What has a limit
    per second has to be sent within `begin_within` seconds from `asked`, a moment ago on the monotonic clock.
    """
    room_ids, room_sizes = _columns(rooms)
    rows = await connection.fetch(
        CLAIM,
        now,
        limit,
        leased_until,
        token,
        start,
        room_ids,
        room_sizes,
        ahead,
        room,
        limit_bytes,
        begin_within + MARGIN_SECONDS,
    )
    return [_held(row, token, asked + LEASE_SECONDS, asked + begin_within) for row in rows]


async def claim_expired(
    connection: Connection,
    *,
    now: datetime,
    limit: int,
    leased_until: datetime,
    token: int,
    bound: uuid.UUID,
    lease_ends: float,
) -> list[HeldDelivery]:
    """Lease deliveries whose time is over, whatever their endpoint's state; `bound` is an id younger than theirs."""
    rows = await connection.fetch(CLAIM_EXPIRED, now, limit, leased_until, token, bound)
    return [_held(row, token, lease_ends) for row in rows]


async def release(connection: Connection, held: Sequence[HeldDelivery], now: datetime) -> None:
    """Give deliveries back unsent; they are due at once."""
    await connection.execute(RELEASE, [h.delivery_id for h in held], [h.token for h in held], now)


async def release_heads(connection: Connection, lines: Sequence[tuple[uuid.UUID, str]], now: datetime) -> int:
    """Make the first of each line due, unless it is already or is held up; return how many now are.

    Has to run in the transaction of what has changed the lines, after it.
    """
    endpoint_ids, keys = [line[0] for line in lines], [line[1] for line in lines]
    await connection.execute(LOCK_LINES, sorted(set(endpoint_ids)))
    return len(await connection.fetch(RELEASE_HEADS, endpoint_ids, keys, now))


async def waiting_lines(
    connection: Connection, after: tuple[uuid.UUID, str], limit: int
) -> tuple[list[tuple[uuid.UUID, str]], tuple[uuid.UUID, str] | None]:
    """Look at `limit` lines; return those whose first waits for nobody, and after which to go on; None at the end."""
    rows = await connection.fetch(FIND_LINES, *after, limit)
    lines = [(row["endpoint_id"], row["ordering_key"]) for row in rows if row["is_waiting"]]
    return lines, (rows[-1]["endpoint_id"], rows[-1]["ordering_key"]) if len(rows) == limit else None


async def cancel_waiting(connection: Connection, endpoint_id: uuid.UUID, now: datetime, limit: int) -> int:
    """End up to `limit` deliveries of an endpoint that nobody holds, and return how many."""
    return affected(await connection.execute(CANCEL_WAITING, endpoint_id, now, limit))


async def archived(connection: Connection, after: uuid.UUID, limit: int) -> tuple[list[uuid.UUID], uuid.UUID | None]:
    """Look at `limit` endpoints with live work; return the archived ones, and after which to go on; None at the end."""
    rows = await connection.fetch(FIND_ARCHIVED, after, limit)
    found = [row["endpoint_id"] for row in rows if row["is_archived"]]
    return found, rows[-1]["endpoint_id"] if len(rows) == limit else None


async def measure(connection: Connection, now: datetime, limit: int) -> Backlog:
    """Return how far behind the deliveries to active endpoints are, counting no more than `limit`."""
    row: Any = await connection.fetchrow(MEASURE, now, limit)
    oldest_at: datetime | None = row["oldest_at"]
    return Backlog(timedelta(0) if oldest_at is None else now - oldest_at, row["due"])


def _columns(rooms: Iterable[tuple[uuid.UUID, int]]) -> tuple[list[uuid.UUID], list[int]]:
    pairs = list(rooms)
    return [endpoint_id for endpoint_id, _ in pairs], [room for _, room in pairs]


def _held(row: Any, token: int, lease_ends: float, begins_before: float | None = None) -> HeldDelivery:
    return HeldDelivery(
        row["delivery_id"],
        row["endpoint_id"],
        row["version"],
        row["message_id"],
        row["event_type"],
        row["body"],
        row["step"],
        row["trigger"],
        row["ends_at"],
        token,
        lease_ends,
        row["format"],
        row["sequence"],
        row["ordering_key"],
        row["breaker_trips"],
        traceparent=row["traceparent"],
        occurred_at=row["occurred_at"],
        begins_before=begins_before if row["is_paced"] else None,
    )
