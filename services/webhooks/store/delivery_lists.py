"""Lists of deliveries, the newest first; each looks at a bounded number of rows.

Rows that are rare among millions are looked up where they are stored separately. A page can therefore be short, or even
empty, without being the last.
"""

import uuid
from datetime import datetime
from typing import Any

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.shown_deliveries import DeadLetterFilter, DeliveryFilter, DeliveryPage
from services.webhooks.store.dead_letter_lists import fetch_dead
from services.webhooks.store.deliveries import to_delivery
from services.webhooks.store.pages import (
    MOST_ENDPOINTS,
    SCANNED_PER_PAGE,
    SOURCES,
    cut,
    endpoint_choice,
)
from services.webhooks.store.queue_lists import (
    LIST_IN_FLIGHT,
    LIST_WAITING,
    MOST_IN_FLIGHT,
    MOST_SORTED,
    SORTED_PER_ENDPOINT,
)
from shared.bounded_counts import MOST_COUNTED, BoundedCount
from shared.database.bounded_counts import count_of_rows
from shared.database.filters import like_pattern
from shared.database.pool import Connection
from shared.database.rows import Statement
from shared.ids import earliest_id
from shared.known_ids import FIRST_ID, LAST_ID

# The owner's endpoints, then the newest row of each: a page is made of the sources whose newest rows are the newest.
# Each source contributes an equal share of the rows looked at, but at least a page. Rows older than the last one looked
# at of a source that has more, or than the first row of the other endpoints, are left to the next page; the last row, a
# marker, says where that begins. With too many endpoints, the newest rows of all owners are searched instead.  The
# bounds are always present, so that a cached plan uses them too, and cover both columns of the index: with the endpoint
# as a constant, that plan may use the order of ids alone and read through the rows of all other owners.
LIST_DELIVERIES = Statement("""
WITH chosen AS MATERIALIZED (
    (SELECT id, status = 'paused' AND listens_until IS NULL AS is_paused FROM endpoints
     WHERE $endpoint::uuid IS NOT NULL AND id = $endpoint AND program_id = $program
         AND ($partner::uuid IS NULL OR partner_id = $partner))
    UNION ALL
    (SELECT id, status = 'paused' AND listens_until IS NULL FROM endpoints
     WHERE $endpoint::uuid IS NULL AND $partner::uuid IS NOT NULL AND owner_id = $partner AND program_id = $program
         LIMIT $most)
    UNION ALL
    (SELECT id, status = 'paused' AND listens_until IS NULL FROM endpoints
     WHERE $endpoint::uuid IS NULL AND $partner::uuid IS NULL AND program_id = $program LIMIT $most)
), newest AS MATERIALIZED (
    SELECT c.id AS endpoint_id, c.is_paused, n.id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT id FROM deliveries WHERE (endpoint_id, id) < (c.id, $before) AND (endpoint_id, id) >= (c.id, $first)
        ORDER BY endpoint_id DESC, id DESC LIMIT 1) AS n
    WHERE (SELECT count(*) FROM chosen) < $most
    ORDER BY n.id DESC LIMIT $sources + 1
), source AS MATERIALIZED (
    SELECT endpoint_id, is_paused FROM newest ORDER BY id DESC LIMIT $sources
), share AS MATERIALIZED (
    SELECT greatest($limit::bigint, $share::bigint / greatest(1, count(*))) AS size FROM source
), scanned AS MATERIALIZED (
    SELECT f.id, f.status, f.event_type, l.is_paused, true AS is_own, f.place = (SELECT size FROM share) AS is_last
    FROM source l CROSS JOIN LATERAL (
        SELECT id, status, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, status, event_type FROM deliveries
            WHERE (endpoint_id, id) < (l.endpoint_id, $before) AND (endpoint_id, id) >= (l.endpoint_id, $first)
            ORDER BY endpoint_id DESC, id DESC LIMIT (SELECT size FROM share)) AS n) AS f
    UNION ALL
    SELECT f.id, f.status, f.event_type, e.is_paused, e.is_own, f.place = greatest($limit::bigint, $scanned)
    FROM (
        SELECT id, endpoint_id, status, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, endpoint_id, status, event_type FROM deliveries
            WHERE (SELECT count(*) FROM chosen) = $most AND id < $before AND id >= $first
            ORDER BY id DESC LIMIT greatest($limit::bigint, $scanned)) AS n) AS f
    CROSS JOIN LATERAL (
        SELECT status = 'paused' AND listens_until IS NULL AS is_paused,
               program_id = $program AND ($partner::uuid IS NULL OR partner_id = $partner) AS is_own
        FROM endpoints WHERE id = f.endpoint_id OFFSET 0) AS e
), floor AS MATERIALIZED (
    SELECT id FROM (
        SELECT id FROM scanned WHERE is_last
        UNION ALL
        (SELECT id FROM newest ORDER BY id DESC OFFSET $sources)) AS f
    ORDER BY id DESC LIMIT 1
), page AS (
    SELECT id, is_paused FROM scanned s
    WHERE is_own AND id >= coalesce((SELECT id FROM floor), $first) AND ($type::text IS NULL OR event_type LIKE $type)
        AND ($statuses::text[] IS NULL OR CASE
            WHEN status <> 'pending' THEN status
            WHEN (SELECT token IS NOT NULL AND visible_at > $now FROM delivery_queue WHERE delivery_id = s.id)
                THEN 'in_flight'
            WHEN is_paused THEN 'paused'
            ELSE 'pending' END = ANY ($statuses))
    ORDER BY id DESC LIMIT $limit
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at,
       CASE WHEN d.status <> 'pending' THEN d.status
            WHEN q.token IS NOT NULL AND q.visible_at > $now THEN 'in_flight'
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
""")
# A message has few deliveries: one per endpoint.
LIST_OF_MESSAGE = Statement("""
WITH shown AS (
    SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
           d.sequence, d.replay_id, d.created_at, d.completed_at,
           CASE WHEN d.status <> 'pending' THEN d.status
                WHEN q.token IS NOT NULL AND q.visible_at > $now THEN 'in_flight'
                WHEN e.status = 'paused' AND e.listens_until IS NULL THEN 'paused'
                ELSE 'pending' END AS status,
           CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at
    FROM (
        SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
               replay_id, created_at, completed_at, code_key
        FROM deliveries WHERE message_id = ANY ($message_ids::uuid[]) OFFSET 0) AS d
    CROSS JOIN LATERAL (
        SELECT id, program_id, partner_id, status, listens_until FROM endpoints WHERE id = d.endpoint_id OFFSET 0) AS e
    LEFT JOIN LATERAL (
        SELECT visible_at, token FROM delivery_queue WHERE delivery_id = d.id OFFSET 0) AS q ON true
    WHERE e.program_id = $program AND ($partner::uuid IS NULL OR e.partner_id = $partner)
        AND ($endpoint::uuid IS NULL OR e.id = $endpoint) AND d.id < $before AND d.id >= $first
        AND ($type::text IS NULL OR d.event_type LIKE $type) AND ($code_key::uuid IS NULL OR d.code_key = $code_key)
)
SELECT id, endpoint_id, message_id, event_type, attempts_made, last_status, last_error_code, sequence, replay_id,
       created_at, completed_at, status, next_attempt_at
FROM shown WHERE $statuses::text[] IS NULL OR status = ANY ($statuses)
ORDER BY id DESC LIMIT $limit
""")
# The newest deliveries about a code of the program, to any of its endpoints; bounds and marker row as above.
LIST_OF_CODE = Statement("""
WITH scanned AS MATERIALIZED (
    SELECT id, endpoint_id, status, event_type FROM deliveries
    WHERE code_key >= $code_key AND (code_key, id) < ($code_key, $before) AND (code_key, id) >= ($code_key, $first)
    ORDER BY code_key DESC, id DESC LIMIT $scanned
), shown AS (
    SELECT s.id, CASE WHEN q.token IS NULL THEN nullif(q.visible_at, 'infinity') END AS next_attempt_at,
           CASE WHEN s.status <> 'pending' THEN s.status
                WHEN q.token IS NOT NULL AND q.visible_at > $now THEN 'in_flight'
                WHEN e.status = 'paused' AND e.listens_until IS NULL THEN 'paused'
                ELSE 'pending' END AS status
    FROM scanned s
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id, status, listens_until FROM endpoints WHERE id = s.endpoint_id OFFSET 0) AS e
    LEFT JOIN LATERAL (
        SELECT visible_at, token FROM delivery_queue WHERE delivery_id = s.id OFFSET 0) AS q ON true
    WHERE e.program_id = $program AND ($partner::uuid IS NULL OR e.partner_id = $partner)
        AND ($endpoint::uuid IS NULL OR s.endpoint_id = $endpoint)
        AND ($type::text IS NULL OR s.event_type LIKE $type)
), page AS (
    SELECT id, status, next_attempt_at FROM shown WHERE $statuses::text[] IS NULL OR status = ANY ($statuses)
    ORDER BY id DESC LIMIT $limit
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, p.status, p.next_attempt_at, false AS is_mark
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, attempts_made, last_status, last_error_code, sequence, replay_id,
           created_at, completed_at
    FROM deliveries WHERE id = p.id OFFSET 0) AS d
UNION ALL
(SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM scanned
 WHERE (SELECT count(*) FROM scanned) = $scanned ORDER BY id LIMIT 1)
""")


async def list_page(
    connection: Connection,
    owner: Owner,
    chosen: DeliveryFilter,
    before: uuid.UUID | None,
    limit: int,
    now: datetime,
) -> DeliveryPage:
    """Return deliveries of the owner's endpoints, including archived ones, the newest first."""
    rows = await _rows(connection, owner, chosen, before, limit + 1, now)
    found, next_after = cut(rows, limit)
    return DeliveryPage([to_delivery(row) for row in found], next_after)


async def count(connection: Connection, owner: Owner, chosen: DeliveryFilter, now: datetime) -> BoundedCount:
    """Count the deliveries of a list."""
    return count_of_rows(await _rows(connection, owner, chosen, None, MOST_COUNTED + 1, now))


async def _rows(
    connection: Connection,
    owner: Owner,
    chosen: DeliveryFilter,
    before: uuid.UUID | None,
    limit: int,
    now: datetime,
) -> list[Any]:
    since = None if chosen.since is None else earliest_id(chosen.since)
    until = None if chosen.until is None else earliest_id(chosen.until)
    span = {"before": min(before or LAST_ID, until or LAST_ID), "first": since or FIRST_ID}
    if chosen.status == "dead" and chosen.message_ids is None and chosen.code_key is None:
        letters = DeadLetterFilter(chosen.endpoint_id, chosen.event_type)
        return await fetch_dead(connection, owner, letters, span, limit, with_archived=True)
    wanted = {
        **endpoint_choice(owner, chosen.endpoint_id),
        **span,
        "type": like_pattern(chosen.event_type),
        "limit": limit,
        "now": now,
    }
    several = {"statuses": None if chosen.statuses is None else sorted(chosen.statuses)}
    if chosen.message_ids is not None:
        which = {"message_ids": sorted(chosen.message_ids), "code_key": chosen.code_key}
        return await connection.fetch(*LIST_OF_MESSAGE(**wanted, **several, **which))
    if chosen.code_key is not None:
        by_code = {"code_key": chosen.code_key, "scanned": SCANNED_PER_PAGE}
        return await connection.fetch(*LIST_OF_CODE(**wanted, **several, **by_code))
    if chosen.status == "in_flight":
        return await connection.fetch(*LIST_IN_FLIGHT(**wanted, status=chosen.status, most_leased=MOST_IN_FLIGHT))
    bounds = {"most": MOST_ENDPOINTS + 1, "scanned": SCANNED_PER_PAGE}
    if chosen.status in ("pending", "paused"):
        sorted_ = {"sorted": SORTED_PER_ENDPOINT, "most_sorted": MOST_SORTED}
        return await connection.fetch(*LIST_WAITING(**wanted, **bounds, **sorted_, status=chosen.status))
    share = 0 if chosen.statuses is None and chosen.event_type is None else SCANNED_PER_PAGE
    return await connection.fetch(*LIST_DELIVERIES(**wanted, **several, **bounds, share=share, sources=SOURCES))
