"""Lists of deliveries by what only the queue knows: those that wait, and those that are being sent."""

from typing import Final

from shared.database.rows import Statement

MOST_SORTED: Final = 20
SORTED_PER_ENDPOINT: Final = 500
MOST_IN_FLIGHT: Final = 20_000

# Deliveries that wait at paused endpoints, or at all others; leased ones are neither. The queue has no index in the
# order of a list, and must not pay for one: for an endpoint with few rows all of them are sorted, and for one with
# many, most of its newest deliveries match. With many endpoints, the newest rows of the whole queue are searched.
# Marker row as above.
LIST_WAITING = Statement("""
WITH owned AS MATERIALIZED (
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
), chosen AS MATERIALIZED (
    SELECT o.id FROM owned o
    WHERE o.is_paused = ($status::text = 'paused') AND (SELECT count(*) FROM owned) < $most
        AND (SELECT true FROM delivery_queue q WHERE q.endpoint_id = o.id ORDER BY q.visible_at LIMIT 1)
    LIMIT $most_sorted + 1
), narrow AS MATERIALIZED (
    SELECT (SELECT count(*) FROM owned) < $most AND (SELECT count(*) FROM chosen) <= $most_sorted AS is_so
), nearest AS MATERIALIZED (
    SELECT e.id AS endpoint_id, q.delivery_id, q.event_type, q.visible_at, q.token
    FROM chosen e CROSS JOIN LATERAL (
        SELECT delivery_id, event_type, visible_at, token FROM delivery_queue
        WHERE endpoint_id = e.id ORDER BY visible_at LIMIT $sorted) AS q
    WHERE (SELECT is_so FROM narrow)
), crowded AS MATERIALIZED (
    SELECT endpoint_id FROM nearest GROUP BY endpoint_id HAVING count(*) = $sorted
), share AS MATERIALIZED (
    SELECT greatest($limit::bigint, $scanned::bigint / greatest(1, count(*))) AS size FROM crowded
), scanned AS MATERIALIZED (
    SELECT delivery_id, event_type, visible_at, token, true AS is_own, false AS is_last FROM nearest n
    WHERE NOT EXISTS (SELECT 1 FROM crowded c WHERE c.endpoint_id = n.endpoint_id)
        AND delivery_id < $before AND delivery_id >= $first
    UNION ALL
    SELECT f.id, f.event_type, q.visible_at, q.token, q.delivery_id IS NOT NULL, f.place = (SELECT size FROM share)
    FROM crowded c CROSS JOIN LATERAL (
        SELECT id, event_type, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, event_type FROM deliveries
            WHERE (endpoint_id, id) < (c.endpoint_id, $before) AND (endpoint_id, id) >= (c.endpoint_id, $first)
            ORDER BY endpoint_id DESC, id DESC LIMIT (SELECT size FROM share)) AS n) AS f
    LEFT JOIN LATERAL (
        SELECT delivery_id, visible_at, token FROM delivery_queue WHERE delivery_id = f.id OFFSET 0) AS q ON true
    UNION ALL
    SELECT f.delivery_id, f.event_type, f.visible_at, f.token, e.is_own, f.place = greatest($limit::bigint, $scanned)
    FROM (
        SELECT *, row_number() OVER (ORDER BY delivery_id DESC) AS place FROM (
            SELECT delivery_id, endpoint_id, event_type, visible_at, token FROM delivery_queue
            WHERE NOT (SELECT is_so FROM narrow) AND delivery_id < $before AND delivery_id >= $first
            ORDER BY delivery_id DESC LIMIT greatest($limit::bigint, $scanned)) AS n) AS f
    CROSS JOIN LATERAL (
        SELECT program_id = $program AND ($partner::uuid IS NULL OR partner_id = $partner)
               AND (status = 'paused' AND listens_until IS NULL) = ($status::text = 'paused') AS is_own
        FROM endpoints WHERE id = f.endpoint_id OFFSET 0) AS e
), floor AS MATERIALIZED (
    SELECT delivery_id AS id FROM scanned WHERE is_last ORDER BY delivery_id DESC LIMIT 1
), page AS (
    SELECT delivery_id, visible_at, token FROM scanned
    WHERE is_own AND delivery_id >= coalesce((SELECT id FROM floor), $first) AND (token IS NULL OR visible_at <= $now)
        AND ($type::text IS NULL OR event_type LIKE $type)
    ORDER BY delivery_id DESC LIMIT $limit
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, $status::text AS status,
       CASE WHEN p.token IS NULL THEN nullif(p.visible_at, 'infinity') END AS next_attempt_at, false AS is_mark
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM floor
""")
# Through the index of leased deliveries, which are few, however many wait: of one endpoint, or all.
LIST_IN_FLIGHT = Statement("""
WITH leased AS MATERIALIZED (
    (SELECT delivery_id, endpoint_id, event_type FROM delivery_queue
     WHERE $endpoint::uuid IS NOT NULL AND endpoint_id = $endpoint AND token IS NOT NULL AND visible_at > $now
         LIMIT $most_leased)
    UNION ALL
    (SELECT delivery_id, endpoint_id, event_type FROM delivery_queue
     WHERE $endpoint::uuid IS NULL AND token IS NOT NULL AND visible_at > $now ORDER BY endpoint_id LIMIT $most_leased)
), page AS (
    SELECT q.delivery_id FROM leased q
    CROSS JOIN LATERAL (SELECT program_id, partner_id FROM endpoints WHERE id = q.endpoint_id OFFSET 0) AS e
    WHERE e.program_id = $program AND ($partner::uuid IS NULL OR e.partner_id = $partner)
        AND q.delivery_id < $before AND q.delivery_id >= $first AND ($type::text IS NULL OR q.event_type LIKE $type)
    ORDER BY q.delivery_id DESC LIMIT $limit
)
SELECT d.id, d.endpoint_id, d.message_id, d.event_type, d.attempts_made, d.last_status, d.last_error_code,
       d.sequence, d.replay_id, d.created_at, d.completed_at, $status::text AS status,
       NULL::timestamptz AS next_attempt_at
FROM page p CROSS JOIN LATERAL (
    SELECT id, endpoint_id, message_id, event_type, status, attempts_made, last_status, last_error_code, sequence,
           replay_id, created_at, completed_at
    FROM deliveries WHERE id = p.delivery_id OFFSET 0) AS d
""")
