-- What there is already, in one statement and so one snapshot: the facts, and in exchange what was noted of them since the
-- triggers are there. It is added up like any other change. Nothing is locked.
WITH noted AS (
    DELETE FROM stats_changes
), message AS (
    SELECT id, program_id, min(created_at) AS created_at, event_type,
           CASE WHEN bool_or(format = 'flat' OR format LIKE '%-partner') THEN partner_id END AS partner_id
    FROM messages GROUP BY id, program_id, messages.partner_id, event_type
), made AS (
    INSERT INTO stats_changes (program_id, quarter, partner_id, event_type, messages)
    SELECT program_id, date_bin('15 minutes', created_at, 'epoch'), partner_id, event_type, count(*)
    FROM message GROUP BY 1, 2, 3, 4
), delivered AS (
    INSERT INTO stats_changes (program_id, quarter, partner_id, endpoint_id, event_type, deliveries, succeeded, failed, dead,
                               canceled)
    SELECT e.program_id, date_bin('15 minutes', d.created_at, 'epoch'), e.partner_id, d.endpoint_id, d.event_type, count(*),
           count(*) FILTER (WHERE d.status = 'succeeded'), count(*) FILTER (WHERE d.status = 'failed'),
           count(*) FILTER (WHERE d.status = 'dead'), count(*) FILTER (WHERE d.status = 'canceled')
    FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id
    GROUP BY 1, 2, 3, 4, 5
)
INSERT INTO stats_changes (program_id, quarter, partner_id, endpoint_id, event_type, reason, answers_2xx, answers_3xx,
                           answers_4xx, answers_5xx, unanswered, first_tries, first_successes, durations)
SELECT e.program_id, date_bin('15 minutes', a.started_at, 'epoch'), e.partner_id, d.endpoint_id, d.event_type,
       CASE WHEN a.status IS NULL THEN coalesce(a.error_code, 'unknown')
            WHEN a.status NOT BETWEEN 200 AND 299 THEN 'http_' || a.status END,
       count(*) FILTER (WHERE a.status BETWEEN 200 AND 299),
       count(*) FILTER (WHERE a.status < 200 OR a.status BETWEEN 300 AND 399),
       count(*) FILTER (WHERE a.status BETWEEN 400 AND 499), count(*) FILTER (WHERE a.status >= 500),
       count(*) FILTER (WHERE a.status IS NULL), count(*) FILTER (WHERE a.number = 1),
       count(*) FILTER (WHERE a.number = 1 AND a.status BETWEEN 200 AND 299),
       coalesce(sum(histogram_of(a.duration_ms)) FILTER (WHERE a.status IS NOT NULL), 0)
FROM attempts a JOIN deliveries d ON d.id = a.delivery_id JOIN endpoints e ON e.id = d.endpoint_id
GROUP BY 1, 2, 3, 4, 5, 6;
