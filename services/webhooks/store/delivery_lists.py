"""Lists of deliveries and of dead letters, the newest first; each looks at a bounded number of rows.

What is rare among millions is looked for where it is kept apart. A page can therefore be short, or even empty, without
being the last.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from services.webhooks.domain.deliveries import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterPage,
    DeliveryFilter,
    DeliveryPage,
)
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store.deliveries import to_delivery
from shared.database.filters import like
from shared.database.pool import Connection
from shared.ids import earliest_id

SCANNED_PER_PAGE: Final = 2000
# An owner with more endpoints than this is not looked for endpoint by endpoint.
MOST_ENDPOINTS: Final = 1000
# Of how many endpoints, those with the newest rows, one page is made; and of how many where all that waits is sorted.
LANES: Final = 50
MOST_SORTED: Final = 20
SORTED_PER_ENDPOINT: Final = 500
MOST_IN_FLIGHT: Final = 20_000
_FIRST_ID: Final = uuid.UUID(int=0)
_LAST_ID: Final = uuid.UUID(int=2**128 - 1)

# The owner's endpoints, then the newest row of each: a page is made of the lanes whose newest are the newest of all. Of
# each lane an equal share of what is looked at, but a page at least. What is older than the last that was looked at of
# a lane with more, or than what the first of the other endpoints has, is left to the next page; the last row, a mark,
# says where that begins. Where there are too many endpoints, the newest of everybody's are looked through instead.
#
# Bounds that are always there, so that a kept plan goes by them too, and of both columns of the index: with the
# endpoint as a constant that plan may take the order of ids alone and wade through what is everybody else's.
LIST_DELIVERIES = """
WITH chosen AS MATERIALIZED (
    (SELECT id, status = 'paused' AND listens_until IS NULL AS is_paused FROM endpoints
     WHERE $3::uuid IS NOT NULL AND id = $3 AND program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2))
    UNION ALL
    (SELECT id, status = 'paused' AND listens_until IS NULL FROM endpoints
     WHERE $3::uuid IS NULL AND $2::uuid IS NOT NULL AND owner_id = $2 AND program_id = $1 LIMIT $11)
    UNION ALL
    (SELECT id, status = 'paused' AND listens_until IS NULL FROM endpoints
     WHERE $3::uuid IS NULL AND $2::uuid IS NULL AND program_id = $1 LIMIT $11)
), newest AS MATERIALIZED (
    SELECT c.id AS endpoint_id, c.is_paused, n.id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT id FROM deliveries WHERE (endpoint_id, id) < (c.id, $4) AND (endpoint_id, id) >= (c.id, $5)
        ORDER BY endpoint_id DESC, id DESC LIMIT 1) AS n
    WHERE (SELECT count(*) FROM chosen) < $11
    ORDER BY n.id DESC LIMIT $12 + 1
), lane AS MATERIALIZED (
    SELECT endpoint_id, is_paused FROM newest ORDER BY id DESC LIMIT $12
), share AS MATERIALIZED (
    SELECT greatest($8::bigint, $9::bigint / greatest(1, count(*))) AS size FROM lane
), scanned AS MATERIALIZED (
    SELECT f.id, f.status, f.event_type, l.is_paused, true AS is_own, f.place = (SELECT size FROM share) AS is_last
    FROM lane l CROSS JOIN LATERAL (
        SELECT id, status, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, status, event_type FROM deliveries
            WHERE (endpoint_id, id) < (l.endpoint_id, $4) AND (endpoint_id, id) >= (l.endpoint_id, $5)
            ORDER BY endpoint_id DESC, id DESC LIMIT (SELECT size FROM share)) AS n) AS f
    UNION ALL
    SELECT f.id, f.status, f.event_type, e.is_paused, e.is_own, f.place = greatest($8::bigint, $13)
    FROM (
        SELECT id, endpoint_id, status, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, endpoint_id, status, event_type FROM deliveries
            WHERE (SELECT count(*) FROM chosen) = $11 AND id < $4 AND id >= $5
            ORDER BY id DESC LIMIT greatest($8::bigint, $13)) AS n) AS f
    CROSS JOIN LATERAL (
        SELECT status = 'paused' AND listens_until IS NULL AS is_paused,
               program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2) AS is_own
        FROM endpoints WHERE id = f.endpoint_id OFFSET 0) AS e
), floor AS MATERIALIZED (
    SELECT id FROM (
        SELECT id FROM scanned WHERE is_last
        UNION ALL
        (SELECT id FROM newest ORDER BY id DESC OFFSET $12)) AS f
    ORDER BY id DESC LIMIT 1
), page AS (
    SELECT id, is_paused FROM scanned
    WHERE is_own AND id >= coalesce((SELECT id FROM floor), $5) AND ($6::text IS NULL OR status = $6)
        AND ($7::text IS NULL OR event_type LIKE $7)
    ORDER BY id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at,
       CASE WHEN d.status <> 'pending' THEN d.status
            WHEN q.token IS NOT NULL AND q.visible_at > $10 THEN 'in_flight'
            WHEN p.is_paused THEN 'paused'
            ELSE 'pending' END AS status,
       CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at, false AS is_mark
FROM page p
CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.id OFFSET 0) AS d
LEFT JOIN LATERAL (
    SELECT visible_at, token FROM delivery_queue WHERE delivery_id = p.id OFFSET 0) AS q ON true
UNION ALL
(SELECT s.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
 FROM scanned s JOIN floor f ON s.id >= f.id ORDER BY s.id LIMIT 1)
"""
# A message has few deliveries: one per endpoint.
LIST_OF_MESSAGE = """
WITH shown AS (
    SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
           d.sequence, d.replay_id, d.created_at, d.completed_at,
           CASE WHEN d.status <> 'pending' THEN d.status
                WHEN q.token IS NOT NULL AND q.visible_at > $9 THEN 'in_flight'
                WHEN e.status = 'paused' AND e.listens_until IS NULL THEN 'paused'
                ELSE 'pending' END AS status,
           CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at
    FROM (
        SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
               replay_id, created_at, completed_at, code_key
        FROM deliveries WHERE message_id = $10 OFFSET 0) AS d
    CROSS JOIN LATERAL (
        SELECT id, program_id, partner_id, status, listens_until FROM endpoints WHERE id = d.endpoint_id OFFSET 0) AS e
    LEFT JOIN LATERAL (
        SELECT visible_at, token FROM delivery_queue WHERE delivery_id = d.id OFFSET 0) AS q ON true
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2)
        AND ($3::uuid IS NULL OR e.id = $3) AND d.id < $4 AND d.id >= $5
        AND ($7::text IS NULL OR d.event_type LIKE $7) AND ($11::uuid IS NULL OR d.code_key = $11)
)
SELECT id, endpoint_id, message_id, event_type, attempts_made, last_status, last_error_code, sequence, replay_id,
       created_at, completed_at, status, next_attempt_at
FROM shown WHERE $6::text IS NULL OR status = $6
ORDER BY id DESC LIMIT $8
"""
# The newest about a code of the program, whosever endpoints they went to; the bounds and the mark as above.
LIST_OF_CODE = """
WITH scanned AS MATERIALIZED (
    SELECT id, endpoint_id, status, event_type FROM deliveries
    WHERE code_key >= $10 AND (code_key, id) < ($10, $4) AND (code_key, id) >= ($10, $5)
    ORDER BY code_key DESC, id DESC LIMIT $11
), shown AS (
    SELECT s.id, CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at,
           CASE WHEN s.status <> 'pending' THEN s.status
                WHEN q.token IS NOT NULL AND q.visible_at > $9 THEN 'in_flight'
                WHEN e.status = 'paused' AND e.listens_until IS NULL THEN 'paused'
                ELSE 'pending' END AS status
    FROM scanned s
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id, status, listens_until FROM endpoints WHERE id = s.endpoint_id OFFSET 0) AS e
    LEFT JOIN LATERAL (
        SELECT visible_at, token FROM delivery_queue WHERE delivery_id = s.id OFFSET 0) AS q ON true
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($3::uuid IS NULL OR s.endpoint_id = $3)
        AND ($7::text IS NULL OR s.event_type LIKE $7)
), page AS (
    SELECT id, status, next_attempt_at FROM shown WHERE $6::text IS NULL OR status = $6 ORDER BY id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, p.status, p.next_attempt_at, false AS is_mark
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, attempts_made, last_status, last_error_code, sequence, replay_id,
           created_at, completed_at
    FROM deliveries WHERE id = p.id OFFSET 0) AS d
UNION ALL
(SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM scanned
 WHERE (SELECT count(*) FROM scanned) = $11 ORDER BY id LIMIT 1)
"""
# What waits at endpoints that are paused by their owners, or at all others; what is leased is neither. The queue has no
# index in the order of a list, and must not pay for one: where an endpoint has little in it, all of that is sorted, and
# where it has much, most of its newest deliveries are what is looked for. Where there are many endpoints, the newest of
# the whole queue are looked through. The mark as above.
LIST_WAITING = """
WITH owned AS MATERIALIZED (
    (SELECT id, status = 'paused' AND listens_until IS NULL AS is_paused FROM endpoints
     WHERE $3::uuid IS NOT NULL AND id = $3 AND program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2))
    UNION ALL
    (SELECT id, status = 'paused' AND listens_until IS NULL FROM endpoints
     WHERE $3::uuid IS NULL AND $2::uuid IS NOT NULL AND owner_id = $2 AND program_id = $1 LIMIT $11)
    UNION ALL
    (SELECT id, status = 'paused' AND listens_until IS NULL FROM endpoints
     WHERE $3::uuid IS NULL AND $2::uuid IS NULL AND program_id = $1 LIMIT $11)
), chosen AS MATERIALIZED (
    SELECT o.id FROM owned o
    WHERE o.is_paused = ($6::text = 'paused') AND (SELECT count(*) FROM owned) < $11
        AND (SELECT true FROM delivery_queue q WHERE q.endpoint_id = o.id ORDER BY q.visible_at LIMIT 1)
    LIMIT $12 + 1
), narrow AS MATERIALIZED (
    SELECT (SELECT count(*) FROM owned) < $11 AND (SELECT count(*) FROM chosen) <= $12 AS is_so
), nearest AS MATERIALIZED (
    SELECT e.id AS endpoint_id, q.delivery_id, q.event_type, q.visible_at, q.token
    FROM chosen e CROSS JOIN LATERAL (
        SELECT delivery_id, event_type, visible_at, token FROM delivery_queue
        WHERE endpoint_id = e.id ORDER BY visible_at LIMIT $9) AS q
    WHERE (SELECT is_so FROM narrow)
), crowded AS MATERIALIZED (
    SELECT endpoint_id FROM nearest GROUP BY endpoint_id HAVING count(*) = $9
), share AS MATERIALIZED (
    SELECT greatest($8::bigint, $13::bigint / greatest(1, count(*))) AS size FROM crowded
), scanned AS MATERIALIZED (
    SELECT delivery_id, event_type, visible_at, token, true AS is_own, false AS is_last FROM nearest n
    WHERE NOT EXISTS (SELECT 1 FROM crowded c WHERE c.endpoint_id = n.endpoint_id)
        AND delivery_id < $4 AND delivery_id >= $5
    UNION ALL
    SELECT f.id, f.event_type, q.visible_at, q.token, q.delivery_id IS NOT NULL, f.place = (SELECT size FROM share)
    FROM crowded c CROSS JOIN LATERAL (
        SELECT id, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, event_type FROM deliveries
            WHERE (endpoint_id, id) < (c.endpoint_id, $4) AND (endpoint_id, id) >= (c.endpoint_id, $5)
            ORDER BY endpoint_id DESC, id DESC LIMIT (SELECT size FROM share)) AS n) AS f
    LEFT JOIN LATERAL (
        SELECT delivery_id, visible_at, token FROM delivery_queue WHERE delivery_id = f.id OFFSET 0) AS q ON true
    UNION ALL
    SELECT f.delivery_id, f.event_type, f.visible_at, f.token, e.is_own, f.place = greatest($8::bigint, $13)
    FROM (
        SELECT *, row_number() OVER (ORDER BY delivery_id DESC) AS place FROM (
            SELECT delivery_id, endpoint_id, event_type, visible_at, token FROM delivery_queue
            WHERE NOT (SELECT is_so FROM narrow) AND delivery_id < $4 AND delivery_id >= $5
            ORDER BY delivery_id DESC LIMIT greatest($8::bigint, $13)) AS n) AS f
    CROSS JOIN LATERAL (
        SELECT program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2)
               AND (status = 'paused' AND listens_until IS NULL) = ($6::text = 'paused') AS is_own
        FROM endpoints WHERE id = f.endpoint_id OFFSET 0) AS e
), floor AS MATERIALIZED (
    SELECT delivery_id AS id FROM scanned WHERE is_last ORDER BY delivery_id DESC LIMIT 1
), page AS (
    SELECT delivery_id, visible_at, token FROM scanned
    WHERE is_own AND delivery_id >= coalesce((SELECT id FROM floor), $5) AND (token IS NULL OR visible_at <= $10)
        AND ($7::text IS NULL OR event_type LIKE $7)
    ORDER BY delivery_id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, $6::text AS status,
       CASE WHEN p.token IS NULL THEN nullif(p.visible_at, 'infinity') END AS next_attempt_at, false AS is_mark
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM floor
"""
# By the index of what is leased, which is little, however much waits: of one endpoint, or all of it.
LIST_IN_FLIGHT = """
WITH leased AS MATERIALIZED (
    (SELECT delivery_id, endpoint_id, event_type FROM delivery_queue
     WHERE $3::uuid IS NOT NULL AND endpoint_id = $3 AND token IS NOT NULL AND visible_at > $9 LIMIT $10)
    UNION ALL
    (SELECT delivery_id, endpoint_id, event_type FROM delivery_queue
     WHERE $3::uuid IS NULL AND token IS NOT NULL AND visible_at > $9 ORDER BY endpoint_id LIMIT $10)
), page AS (
    SELECT q.delivery_id FROM leased q
    CROSS JOIN LATERAL (SELECT program_id, partner_id FROM endpoints WHERE id = q.endpoint_id OFFSET 0) AS e
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2)
        AND q.delivery_id < $4 AND q.delivery_id >= $5 AND ($7::text IS NULL OR q.event_type LIKE $7)
    ORDER BY q.delivery_id DESC LIMIT $8
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, $6::text AS status, NULL::timestamptz AS next_attempt_at
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
"""
# As the list of deliveries; the letters of archived endpoints are shown by the list of deliveries only.
LIST_DEAD = """
WITH chosen AS MATERIALIZED (
    (SELECT id FROM endpoints
     WHERE $3::uuid IS NOT NULL AND id = $3 AND program_id = $1 AND ($2::uuid IS NULL OR partner_id = $2)
         AND ($14 OR archived_at IS NULL))
    UNION ALL
    (SELECT id FROM endpoints
     WHERE $3::uuid IS NULL AND $2::uuid IS NOT NULL AND owner_id = $2 AND program_id = $1 LIMIT $11)
    UNION ALL
    (SELECT id FROM endpoints WHERE $3::uuid IS NULL AND $2::uuid IS NULL AND program_id = $1 LIMIT $11)
), newest AS MATERIALIZED (
    SELECT c.id AS endpoint_id, n.delivery_id AS id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT delivery_id FROM dead_letters
        WHERE (endpoint_id, delivery_id) < (c.id, $4) AND (endpoint_id, delivery_id) >= (c.id, $5)
        ORDER BY endpoint_id DESC, delivery_id DESC LIMIT 1) AS n
    WHERE (SELECT count(*) FROM chosen) < $11
    ORDER BY n.delivery_id DESC LIMIT $12 + 1
), lane AS MATERIALIZED (
    SELECT endpoint_id FROM newest ORDER BY id DESC LIMIT $12
), share AS MATERIALIZED (
    SELECT greatest($9::bigint, $10::bigint / greatest(1, count(*))) AS size FROM lane
), letter AS MATERIALIZED (
    SELECT l.endpoint_id, f.delivery_id, f.event_type, f.reason, f.died_at,
           f.place = (SELECT size FROM share) AS is_last
    FROM lane l CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY delivery_id DESC) AS place FROM (
            SELECT delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (endpoint_id, delivery_id) < (l.endpoint_id, $4) AND (endpoint_id, delivery_id) >= (l.endpoint_id, $5)
            ORDER BY endpoint_id DESC, delivery_id DESC LIMIT (SELECT size FROM share)) AS n) AS f
    UNION ALL
    SELECT endpoint_id, delivery_id, event_type, reason, died_at, place = greatest($9::bigint, $13) FROM (
        SELECT *, row_number() OVER (ORDER BY delivery_id DESC) AS place FROM (
            SELECT endpoint_id, delivery_id, event_type, reason, died_at FROM dead_letters
            WHERE (SELECT count(*) FROM chosen) = $11 AND delivery_id < $4 AND delivery_id >= $5
            ORDER BY delivery_id DESC LIMIT greatest($9::bigint, $13)) AS n) AS f
), floor AS MATERIALIZED (
    SELECT id FROM (
        SELECT delivery_id AS id FROM letter WHERE is_last
        UNION ALL
        (SELECT id FROM newest ORDER BY id DESC OFFSET $12)) AS f
    ORDER BY id DESC LIMIT 1
), page AS (
    SELECT l.delivery_id, l.reason, l.died_at FROM letter l
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id, archived_at FROM endpoints WHERE id = l.endpoint_id OFFSET 0) AS e
    WHERE e.program_id = $1 AND ($2::uuid IS NULL OR e.partner_id = $2) AND ($14 OR e.archived_at IS NULL)
        AND l.delivery_id >= coalesce((SELECT id FROM floor), $5) AND ($6::text IS NULL OR l.event_type LIKE $6)
        AND ($7::timestamptz IS NULL OR l.died_at >= $7) AND ($8::text IS NULL OR l.reason = $8)
    ORDER BY l.delivery_id DESC LIMIT $9
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.status, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, NULL::timestamptz AS next_attempt_at, p.reason, p.died_at,
       false AS is_mark
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
UNION ALL
(SELECT l.delivery_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
 FROM letter l JOIN floor f ON l.delivery_id >= f.id ORDER BY l.delivery_id LIMIT 1)
"""


async def list_page(
    connection: Connection,
    owner: Owner,
    chosen: DeliveryFilter,
    before: uuid.UUID | None,
    limit: int,
    now: datetime,
) -> DeliveryPage:
    """Return deliveries of the owner's endpoints, archived ones too, the newest first."""
    rows = await _rows(connection, owner, chosen, before, limit + 1, now)
    found, next_after = _cut(rows, limit)
    return DeliveryPage([to_delivery(row) for row in found], next_after)


async def list_dead_letters(
    connection: Connection, owner: Owner, chosen: DeadLetterFilter, before: uuid.UUID | None, limit: int
) -> DeadLetterPage:
    """Return dead letters of the owner's live endpoints, the newest deliveries first."""
    span = (before or _LAST_ID, _FIRST_ID)
    rows = await _dead(connection, owner, chosen, span, limit + 1, with_archived=False)
    found, next_after = _cut(rows, limit)
    return DeadLetterPage([DeadLetter(to_delivery(row), row["reason"], row["died_at"]) for row in found], next_after)


async def _rows(
    connection: Connection,
    owner: Owner,
    chosen: DeliveryFilter,
    before: uuid.UUID | None,
    limit: int,
    now: datetime,
) -> list[Any]:
    whose = (owner.program_id, owner.partner_id, chosen.endpoint_id)
    since = None if chosen.since is None else earliest_id(chosen.since)
    until = None if chosen.until is None else earliest_id(chosen.until)
    pattern = like(chosen.event_type)
    span = (min(before or _LAST_ID, until or _LAST_ID), since or _FIRST_ID)
    wanted = (*whose, *span, chosen.status, pattern, limit)
    if chosen.message_id is not None:
        return await connection.fetch(LIST_OF_MESSAGE, *wanted, now, chosen.message_id, chosen.code_key)
    if chosen.code_key is not None:
        return await connection.fetch(LIST_OF_CODE, *wanted, now, chosen.code_key, SCANNED_PER_PAGE)
    if chosen.status == "dead":
        letters = DeadLetterFilter(chosen.endpoint_id, chosen.event_type)
        return await _dead(connection, owner, letters, span, limit, with_archived=True)
    if chosen.status == "in_flight":
        return await connection.fetch(LIST_IN_FLIGHT, *wanted, now, MOST_IN_FLIGHT)
    most = MOST_ENDPOINTS + 1
    if chosen.status in ("pending", "paused"):
        bounds = (most, MOST_SORTED, SCANNED_PER_PAGE)
        return await connection.fetch(LIST_WAITING, *wanted, SORTED_PER_ENDPOINT, now, *bounds)
    is_whole = chosen.status is None and chosen.event_type is None
    share = 0 if is_whole else SCANNED_PER_PAGE
    return await connection.fetch(LIST_DELIVERIES, *wanted, share, now, most, LANES, SCANNED_PER_PAGE)


async def _dead(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    span: tuple[uuid.UUID, uuid.UUID],
    limit: int,
    *,
    with_archived: bool,
) -> list[Any]:
    is_whole = chosen.event_type is None and chosen.since is None and chosen.reason is None
    return await connection.fetch(
        LIST_DEAD,
        owner.program_id,
        owner.partner_id,
        chosen.endpoint_id,
        *span,
        like(chosen.event_type),
        chosen.since,
        chosen.reason,
        limit,
        0 if is_whole else SCANNED_PER_PAGE,
        MOST_ENDPOINTS + 1,
        LANES,
        SCANNED_PER_PAGE,
        with_archived,
    )


def _cut(rows: Sequence[Any], limit: int) -> tuple[list[Any], uuid.UUID | None]:
    """Return the rows of a page and after which id to go on; there is one more than `limit` if there are more."""
    found = sorted((row for row in rows if not row.get("is_mark")), key=lambda row: row["id"], reverse=True)
    if len(found) > limit:
        return found[:limit], found[limit - 1]["id"]
    return found, next((row["id"] for row in rows if row.get("is_mark")), None)
