"""Claims: due deliveries leased to this process under a fencing token, with the runs that follow in their lines."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from services.webhooks.domain.deliveries import LEASE_SECONDS, HeldDelivery
from services.webhooks.domain.pacing import MARGIN_SECONDS
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement

# Walks from endpoint to endpoint through the index instead of reading a backlog, then takes a fair share of each: all
# deliveries in flight anywhere count against an endpoint's cap. Paused and resting endpoints are skipped; archived and
# disabled ones are not, so that their deliveries come to an end. The start changes, so no endpoint is always last.
# Behind an open breaker, one delivery at a time is claimed over all processes. For an endpoint with a limit per second,
# as many are claimed as the limit leaves (`domain/pacing.py`), counted under the lock of its row and by the database's
# clock, over all processes; if another claim holds the row the endpoint is skipped, and a missing row is created. One
# delivery of each endpoint is taken in turn, as long as the bodies fit into the room that the process has left; at
# least one. No body is read to know its size. A delivery that has lost its body comes to an end when it expires. In an
# ordered line only the first delivery is chosen, whatever the leases say: those behind it may have had the lease of a
# process that is gone. The next ones of its line come with it, as many as there is room for, up to the first that
# another process holds: they are leased like the first and sent one after the other (`followers`).
CLAIM = Statement("""
WITH RECURSIVE walk AS (
    (SELECT endpoint_id FROM delivery_queue ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.endpoint_id FROM delivery_queue q WHERE q.endpoint_id > w.endpoint_id
            ORDER BY q.endpoint_id LIMIT 1)
    FROM walk w WHERE w.endpoint_id IS NOT NULL
), candidate AS MATERIALIZED (
    SELECT e.id, e.version, e.breaker_trips, CASE WHEN e.archived_at IS NULL THEN e.rate_limit_per_second END AS rate,
           e.status = 'active' AND e.archived_at IS NULL AND e.ordering <> 'none' AND e.breaker_trips = 0
               AND e.rate_limit_per_second IS NULL AS takes_runs,
           least(CASE WHEN e.breaker_trips = 0 THEN e.max_in_flight * $ahead::int ELSE 1 END
                 - (SELECT count(*) FROM delivery_queue f
                    WHERE f.endpoint_id = e.id AND f.token IS NOT NULL AND f.visible_at > $now),
                 coalesce(known.room, $room::int)) AS room
    FROM walk w
    JOIN endpoints e ON e.id = w.endpoint_id
    LEFT JOIN @known(id uuid, room int) ON known.id = e.id
    WHERE (e.archived_at IS NOT NULL OR e.status = 'disabled'
           OR (e.status = 'active' AND (e.resume_at IS NULL OR e.resume_at <= $now)))
      AND EXISTS (SELECT 1 FROM delivery_queue d WHERE d.endpoint_id = e.id AND d.visible_at <= $now)
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
), pipe AS MATERIALIZED (
    SELECT c.id, c.version, c.breaker_trips, c.rate IS NOT NULL AS is_paced, c.takes_runs,
           CASE WHEN c.rate IS NULL THEN c.room ELSE least(c.room, coalesce(c.rate - p.spent, 0)) END AS room
    FROM candidate c LEFT JOIN paced p ON p.endpoint_id = c.id
), share AS (
    SELECT greatest(1, ceil($limit::int::numeric / greatest(1, count(*) FILTER (WHERE room > 0))))::bigint AS size
    FROM pipe
), chosen AS (
    SELECT picked.*, pipe.version, pipe.breaker_trips, pipe.is_paced, pipe.takes_runs, pipe.room
    FROM (SELECT * FROM pipe WHERE room > 0 ORDER BY (id > $start) DESC, id) AS pipe
    CROSS JOIN LATERAL (
        SELECT q.delivery_id, q.endpoint_id, q.visible_at, q.message_id, q.format, q.ordering_key, q.position
        FROM delivery_queue q
        WHERE q.endpoint_id = pipe.id AND q.visible_at <= $now
          AND (q.ordering_key IS NULL OR NOT EXISTS (
              SELECT 1 FROM delivery_queue p
              WHERE p.endpoint_id = q.endpoint_id AND p.ordering_key = q.ordering_key AND p.position < q.position))
        ORDER BY q.visible_at
        LIMIT least(pipe.room, (SELECT size FROM share))
        FOR UPDATE SKIP LOCKED) AS picked
    LIMIT $limit
), weighed AS MATERIALIZED (
    SELECT c.*, sum(c.bytes) OVER (ORDER BY c.turn ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (SELECT *, row_number() OVER (PARTITION BY endpoint_id ORDER BY visible_at) AS turn,
                 (SELECT octet_length(m.body) FROM messages m
                  WHERE m.id = chosen.message_id AND m.format = chosen.format) AS bytes
          FROM chosen) AS c
), claimed AS (
    UPDATE delivery_queue q SET visible_at = $leased_until, token = $token
    FROM weighed c WHERE q.delivery_id = c.delivery_id AND coalesce(c.bytes_before, 0) < $limit_bytes::bigint
    RETURNING q.delivery_id, q.endpoint_id, c.version, q.message_id, q.format, q.event_type, q.step, q.trigger,
              q.ends_at, q.sequence, q.ordering_key, q.position, c.breaker_trips, c.is_paced
), spent AS (
    UPDATE endpoint_rates r
    SET span_ends = ARRAY(
            SELECT s.ends_at FROM unnest(r.span_ends) WITH ORDINALITY AS s (ends_at, nth)
            WHERE s.ends_at > statement_timestamp() - interval '1 second' ORDER BY s.nth)
            || (statement_timestamp() + $counted_for::float8 * interval '1 second'),
        span_counts = ARRAY(
            SELECT s.count FROM unnest(r.span_ends, r.span_counts) WITH ORDINALITY AS s (ends_at, count, nth)
            WHERE s.ends_at > statement_timestamp() - interval '1 second' ORDER BY s.nth) || c.count
    FROM (SELECT endpoint_id, count(*)::int AS count FROM claimed WHERE is_paced GROUP BY endpoint_id) AS c
    WHERE r.endpoint_id = c.endpoint_id
), head AS MATERIALIZED (
    SELECT endpoint_id, ordering_key, position, version,
           room / count(*) OVER (PARTITION BY endpoint_id) - 1 AS length
    FROM weighed
    WHERE takes_runs AND ordering_key IS NOT NULL AND coalesce(bytes_before, 0) < $limit_bytes::bigint
), next AS MATERIALIZED (
    SELECT head.endpoint_id, head.version, behind.*,
           row_number() OVER (PARTITION BY head.endpoint_id, head.ordering_key ORDER BY behind.position) AS nth
    FROM head CROSS JOIN LATERAL (
        SELECT q.delivery_id, q.position FROM delivery_queue q
        WHERE q.endpoint_id = head.endpoint_id AND q.ordering_key = head.ordering_key AND q.position > head.position
        ORDER BY q.position LIMIT greatest(0, head.length)) AS behind
), free AS MATERIALIZED (
    SELECT q.delivery_id, q.endpoint_id, q.ordering_key, q.message_id, q.format, next.version, next.nth
    FROM next JOIN delivery_queue q ON q.delivery_id = next.delivery_id
    WHERE q.visible_at = 'infinity' OR q.visible_at <= $now
    FOR UPDATE OF q SKIP LOCKED
), run AS MATERIALIZED (
    SELECT f.*, row_number() OVER (ORDER BY f.nth) AS place,
           sum((SELECT octet_length(m.body) FROM messages m WHERE m.id = f.message_id AND m.format = f.format))
               OVER (ORDER BY f.nth, f.delivery_id) AS bytes
    FROM (SELECT *, row_number() OVER (PARTITION BY endpoint_id, ordering_key ORDER BY nth) AS unbroken FROM free) AS f
    WHERE f.nth = f.unbroken
), following AS (
    UPDATE delivery_queue q SET visible_at = $leased_until, token = $token
    FROM run
    WHERE q.delivery_id = run.delivery_id AND run.place <= $limit - (SELECT count(*) FROM weighed)
      AND run.bytes < $limit_bytes::bigint - (SELECT coalesce(sum(bytes), 0) FROM weighed)
    RETURNING q.delivery_id, q.endpoint_id, run.version, q.message_id, q.format, q.event_type, q.step, q.trigger,
              q.ends_at, q.sequence, q.ordering_key, q.position, 0 AS breaker_trips, false AS is_paced
)
SELECT c.delivery_id, c.endpoint_id, c.version AS endpoint_version, c.message_id, c.event_type, c.step, c.trigger,
       c.ends_at, m.body, c.format, c.sequence, c.ordering_key, c.breaker_trips, m.traceparent, m.occurred_at,
       c.is_paced,
       c.position, c.follows, m.erased_by IS NOT NULL AS is_erased
FROM (SELECT *, false AS follows FROM claimed UNION ALL SELECT *, true FROM following) AS c
JOIN messages m ON m.id = c.message_id AND m.format = c.format
WHERE m.body IS NOT NULL
ORDER BY c.position
""")
CLAIM_EXPIRED = Statement("""
WITH claimed AS (
    UPDATE delivery_queue SET visible_at = $leased_until, token = $token
    WHERE delivery_id IN (
        SELECT delivery_id FROM delivery_queue
        WHERE delivery_id < $bound AND ends_at <= $now AND (token IS NULL OR visible_at <= $now)
        LIMIT $limit FOR UPDATE SKIP LOCKED)
    RETURNING delivery_id, endpoint_id, message_id, event_type, step, trigger, ends_at, format, sequence,
              ordering_key, position)
SELECT c.delivery_id, c.endpoint_id, e.version AS endpoint_version, c.message_id, c.event_type, c.step, c.trigger,
       c.ends_at, ''::bytea AS body, c.format, c.sequence, c.ordering_key, 0 AS breaker_trips,
       NULL::text AS traceparent, NULL::timestamptz AS occurred_at, c.position, false AS is_erased
FROM claimed c JOIN endpoints e ON e.id = c.endpoint_id
""")
_HELD: Final = Rows(HeldDelivery, "token", "lease_ends", "begins_before", "followers")


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
    """Lease up to `limit` due deliveries, fairly across endpoints: at most `rooms[endpoint]` for each, or else `room`.

    Deliveries that follow another one in their line are not in the list, but among that one's `followers`.

    Once their bodies reach `limit_bytes` no more are taken; the last one may exceed it. Over all processes an endpoint
    may have `ahead` times its cap leased, most of it waiting. Deliveries of an endpoint with a limit per second must be
    sent within `begin_within` seconds from `asked`, a recent time on the monotonic clock.
    """
    known = list(rooms)
    rows = await connection.fetch(
        *CLAIM(
            now=now,
            limit=limit,
            leased_until=leased_until,
            token=token,
            start=start,
            known={"id": [endpoint_id for endpoint_id, _ in known], "room": [size for _, size in known]},
            ahead=ahead,
            room=room,
            limit_bytes=limit_bytes,
            counted_for=begin_within + MARGIN_SECONDS,
        )
    )
    lease = {"token": token, "lease_ends": asked + LEASE_SECONDS}
    claimed = [_HELD(row, **lease, begins_before=asked + begin_within if row["is_paced"] else None) for row in rows]
    found = list(zip(rows, claimed, strict=True))
    heads = {(held.endpoint_id, held.ordering_key): held for row, held in found if not row["follows"]}
    for row, held in found:
        if row["follows"]:
            heads[held.endpoint_id, held.ordering_key].followers.append(held)
    return [held for row, held in found if not row["follows"]]


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
    """Lease deliveries whose time is over, whatever the state of their endpoint; `bound` is an id newer than theirs."""
    rows = await connection.fetch(
        *CLAIM_EXPIRED(now=now, limit=limit, leased_until=leased_until, token=token, bound=bound)
    )
    return [_HELD(row, token=token, lease_ends=lease_ends) for row in rows]
