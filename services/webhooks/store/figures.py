"""Statistics over time: figures by quarters, hours and six hours, and the changes that are not added up yet.

Triggers append the changes (`migrations/0340_stats.sql`). Both are read by one statement, so their sum is exact.
"""

import uuid
from typing import Final

from services.webhooks.domain.figures import DeliveryStatsFilter, Figure
from shared.database.filters import like_pattern
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.database.stats import LEVEL_COLUMNS, Found, asked_values, found_in

READ_TIMEZONE = "SELECT program_timezone FROM codes.tenant_v1 WHERE program_id = $1 AND partner_id IS NULL"
# By all levels and slices at once; those by endpoint or reason have only what has one. All is looked up one by one,
# however small the table looks.
ADD_UP = Statement("""
WITH change AS (
    DELETE FROM stats_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM stats_changes ORDER BY program_id, quarter LIMIT $limit))
    RETURNING program_id, quarter, partner_id, endpoint_id, event_type, reason, messages, deliveries, succeeded, failed,
              dead, canceled, answers_2xx, answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries,
              first_successes, durations
), added AS (
    INSERT INTO stats_totals AS t (program_id, slice, level, at, partner_id, endpoint_id, event_type, reason, messages,
                                   deliveries, succeeded, failed, dead, canceled, answers_2xx, answers_3xx, answers_4xx,
                                   answers_5xx, unanswered, first_tries, first_successes, durations)
    SELECT c.program_id, 15 - GROUPING(c.reason, c.event_type, c.partner_id, c.endpoint_id), l.level,
           date_bin(l.size, c.quarter, 'epoch'), c.partner_id, c.endpoint_id, c.event_type, c.reason, sum(c.messages),
           sum(c.deliveries), sum(c.succeeded), sum(c.failed), sum(c.dead), sum(c.canceled), sum(c.answers_2xx),
           sum(c.answers_3xx), sum(c.answers_4xx), sum(c.answers_5xx), sum(c.unanswered), sum(c.first_tries),
           sum(c.first_successes), sum(c.durations)
    FROM change c CROSS JOIN @l(level smallint, size interval)
    GROUP BY c.program_id, l.level, date_bin(l.size, c.quarter, 'epoch'), ROLLUP (c.partner_id, c.endpoint_id),
             CUBE (c.reason, c.event_type)
    HAVING (GROUPING(c.reason) = 1 OR c.reason IS NOT NULL)
       AND (GROUPING(c.endpoint_id) = 1 OR c.endpoint_id IS NOT NULL)
    ON CONFLICT (program_id, slice, level, at, (coalesce(partner_id, '00000000-0000-0000-0000-000000000000')),
                 (coalesce(endpoint_id, '00000000-0000-0000-0000-000000000000')), (coalesce(event_type, '')),
                 (coalesce(reason, '')))
    DO UPDATE SET messages = t.messages + excluded.messages, deliveries = t.deliveries + excluded.deliveries,
        succeeded = t.succeeded + excluded.succeeded, failed = t.failed + excluded.failed,
        dead = t.dead + excluded.dead, canceled = t.canceled + excluded.canceled,
        answers_2xx = t.answers_2xx + excluded.answers_2xx, answers_3xx = t.answers_3xx + excluded.answers_3xx,
        answers_4xx = t.answers_4xx + excluded.answers_4xx, answers_5xx = t.answers_5xx + excluded.answers_5xx,
        unanswered = t.unanswered + excluded.unanswered, first_tries = t.first_tries + excluded.first_tries,
        first_successes = t.first_successes + excluded.first_successes, durations = t.durations + excluded.durations
)
SELECT count(*) FROM change
""")
# One of the ways is taken, along an index; the others are not even begun. The first columns say how much there was to
# look at, in every row.
READ_STATS = Statement("""
WITH change AS MATERIALIZED (
    SELECT quarter AS at, partner_id, endpoint_id, event_type, reason, messages, deliveries, succeeded, failed, dead,
           canceled, answers_2xx, answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries, first_successes,
           durations FROM stats_changes
    WHERE $is_live AND program_id = $program_id AND quarter >= $since AND quarter < $until LIMIT $most_changes + 1
), stored AS MATERIALIZED (
    SELECT s.*
    FROM @p(level smallint, since timestamptz, until timestamptz) CROSS JOIN LATERAL (
        SELECT at, partner_id, endpoint_id, event_type, reason, messages, deliveries, succeeded, failed, dead, canceled,
               answers_2xx, answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries, first_successes, durations
        FROM stats_totals
        WHERE $way = 'program' AND program_id = $program_id AND slice = $slice AND level = p.level
          AND at >= p.since AND at < p.until
        UNION ALL
        SELECT at, partner_id, endpoint_id, event_type, reason, messages, deliveries, succeeded, failed, dead, canceled,
               answers_2xx, answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries, first_successes, durations
        FROM stats_totals
        WHERE $way = 'partner' AND program_id = $program_id AND partner_id = $partner_id AND slice = $slice
          AND level = p.level AND at >= p.since AND at < p.until
        UNION ALL
        SELECT at, partner_id, endpoint_id, event_type, reason, messages, deliveries, succeeded, failed, dead, canceled,
               answers_2xx, answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries, first_successes, durations
        FROM stats_totals
        WHERE $way = 'endpoint' AND endpoint_id = $endpoint_id AND slice = $slice AND level = p.level
          AND at >= p.since AND at < p.until AND (program_id = $program_id) IS TRUE) s
    LIMIT $most_rows + 1
), figure AS MATERIALIZED (
    SELECT width_bucket(at, $bounds::timestamptz[]) AS step,
           coalesce(CASE $group_by::text WHEN 'endpoint_id' THEN endpoint_id::text
                    WHEN 'partner_id' THEN partner_id::text WHEN 'event_type' THEN event_type WHEN 'reason' THEN reason
                    END, '') AS key,
           sum(messages) AS messages, sum(deliveries) AS deliveries, sum(succeeded) AS succeeded, sum(failed) AS failed,
           sum(dead) AS dead, sum(canceled) AS canceled, sum(answers_2xx) AS answers_2xx,
           sum(answers_3xx) AS answers_3xx, sum(answers_4xx) AS answers_4xx, sum(answers_5xx) AS answers_5xx,
           sum(unanswered) AS unanswered, sum(first_tries) AS first_tries, sum(first_successes) AS first_successes,
           sum(durations) AS durations
    FROM (SELECT * FROM stored UNION ALL SELECT * FROM change) f
    WHERE ($partner_id::uuid IS NULL OR partner_id = $partner_id)
      AND ($endpoint_id::uuid IS NULL OR endpoint_id = $endpoint_id)
      AND ($event_type::text IS NULL OR event_type LIKE $event_type) AND ($reason::text IS NULL OR reason = $reason)
      AND (NOT $by_reason OR reason IS NOT NULL) AND (NOT $by_endpoint OR endpoint_id IS NOT NULL)
    GROUP BY 1, 2
    HAVING sum(messages) <> 0 OR sum(deliveries) <> 0
        OR sum(answers_2xx + answers_3xx + answers_4xx + answers_5xx + unanswered) <> 0
), ranked AS (
    SELECT key, row_number() OVER (
        ORDER BY sum(deliveries) DESC, sum(answers_2xx + answers_3xx + answers_4xx + answers_5xx + unanswered) DESC,
                 sum(messages) DESC, key) AS place
    FROM figure GROUP BY key
)
SELECT (SELECT count(*) FROM change) AS changes, (SELECT count(*) FROM stored) AS stored, now() AS now,
       (SELECT added_up_at FROM stats_rounds) AS added_up_at,
       f.step, f.place, f.key, f.is_rest, f.messages, f.deliveries, f.succeeded, f.failed, f.dead, f.canceled,
       f.answers_2xx, f.answers_3xx, f.answers_4xx, f.answers_5xx, f.unanswered, f.first_tries, f.first_successes,
       f.durations
FROM (SELECT) always LEFT JOIN (
    SELECT step, least(r.place, $groups::bigint + 1) AS place,
           CASE WHEN r.place <= $groups THEN nullif(f.key, '') END AS key, r.place > $groups AS is_rest,
           sum(messages)::bigint AS messages, sum(deliveries)::bigint AS deliveries,
           sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, sum(dead)::bigint AS dead,
           sum(canceled)::bigint AS canceled, sum(answers_2xx)::bigint AS answers_2xx,
           sum(answers_3xx)::bigint AS answers_3xx, sum(answers_4xx)::bigint AS answers_4xx,
           sum(answers_5xx)::bigint AS answers_5xx, sum(unanswered)::bigint AS unanswered,
           sum(first_tries)::bigint AS first_tries, sum(first_successes)::bigint AS first_successes,
           sum(durations)::text AS durations
    FROM figure f JOIN ranked r USING (key) GROUP BY 1, 2, 3, 4
) f ON true
ORDER BY f.place, f.step
""")


async def read_timezone(connection: Connection, program_id: uuid.UUID) -> str | None:
    """Return the time zone of a program; None if there is no such program."""
    found: str | None = await connection.fetchval(READ_TIMEZONE, program_id)
    return found


async def add_up(connection: Connection, limit: int) -> int:
    """Add up to `limit` changes to the figures, and return how many there were."""
    added: int = await connection.fetchval(*ADD_UP(limit=limit, l=LEVEL_COLUMNS))
    return added


async def read_stats(connection: Connection, wanted: DeliveryStatsFilter, *, is_live: bool) -> Found[Figure] | None:
    """Read figures as `ReadFigures` says; raises TooMuch."""
    by_endpoint = wanted.endpoint_id is not None or wanted.group_by == "endpoint_id"
    by_partner = by_endpoint or wanted.partner_id is not None or wanted.group_by == "partner_id"
    by_type = wanted.event_type is not None or wanted.group_by == "event_type"
    by_reason = wanted.reason is not None or wanted.group_by == "reason"
    rows = await connection.fetch(
        *READ_STATS(
            **asked_values(wanted, is_live=is_live),
            endpoint_id=wanted.endpoint_id,
            event_type=like_pattern(wanted.event_type),
            reason=wanted.reason,
            way=_way(wanted),
            slice=by_endpoint + 2 * by_partner + 4 * by_type + 8 * by_reason,
            by_endpoint=by_endpoint,
            by_reason=by_reason,
        )
    )
    return found_in(rows, _figure, is_live=is_live)


def _way(wanted: DeliveryStatsFilter) -> str:
    if wanted.endpoint_id is not None:
        return "endpoint"
    return "program" if wanted.partner_id is None else "partner"


_figure: Final = Rows(Figure)
