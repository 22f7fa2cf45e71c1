"""Statistics of redemptions: figures by quarters, hours and six hours, and the changes that are not added up yet.

Triggers append the changes (`migrations/0340_stats_totals.sql`). Both are read by one statement, so their sum is exact.
"""

from typing import Final

from services.redemption.domain.stats import Figure
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.database.stats import LEVEL_COLUMNS, Found, asked_values, found_in
from shared.steps import StatsFilter

# By all levels and slices at once; those by reason have only what has one. All is looked up one by one, however small
# the table looks.
ADD_UP = Statement("""
WITH change AS (
    DELETE FROM stats_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM stats_changes ORDER BY program_id, quarter LIMIT $limit))
    RETURNING program_id, quarter, partner_id, coupon_id, currency, reason, redemptions, discount_minor,
              commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals
), added AS (
    INSERT INTO stats_totals AS t (program_id, slice, level, at, partner_id, coupon_id, currency, reason, redemptions,
                                   discount_minor, commission_minor, voids, voided_discount_minor,
                                   voided_commission_minor, refusals)
    SELECT c.program_id, 7 - GROUPING(c.reason, c.partner_id, c.coupon_id), l.level,
           date_bin(l.size, c.quarter, 'epoch') AS at, c.partner_id, c.coupon_id, c.currency, c.reason,
           sum(c.redemptions), sum(c.discount_minor), sum(c.commission_minor), sum(c.voids),
           sum(c.voided_discount_minor), sum(c.voided_commission_minor), sum(c.refusals)
    FROM change c CROSS JOIN @l(level smallint, size interval)
    GROUP BY c.program_id, l.level, date_bin(l.size, c.quarter, 'epoch'), c.currency,
             CUBE (c.reason, c.partner_id, c.coupon_id)
    HAVING GROUPING(c.reason) = 1 OR c.reason IS NOT NULL
    ON CONFLICT (program_id, slice, level, at, (coalesce(partner_id, '00000000-0000-0000-0000-000000000000')),
                 (coalesce(coupon_id, '00000000-0000-0000-0000-000000000000')), (coalesce(currency, '')),
                 (coalesce(reason, '')))
    DO UPDATE SET redemptions = t.redemptions + excluded.redemptions,
        discount_minor = t.discount_minor + excluded.discount_minor,
        commission_minor = t.commission_minor + excluded.commission_minor, voids = t.voids + excluded.voids,
        voided_discount_minor = t.voided_discount_minor + excluded.voided_discount_minor,
        voided_commission_minor = t.voided_commission_minor + excluded.voided_commission_minor,
        refusals = t.refusals + excluded.refusals
)
SELECT count(*) FROM change
""")
# One of the ways is taken, along an index; the others are not even begun. The first columns say how much there was to
# look at, in every row.
READ_STATS = Statement("""
WITH change AS MATERIALIZED (
    SELECT quarter AS at, partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
           voided_discount_minor, voided_commission_minor, refusals FROM stats_changes
    WHERE $is_live AND program_id = $program_id AND quarter >= $since AND quarter < $until LIMIT $most_changes + 1
), stored AS MATERIALIZED (
    SELECT s.*
    FROM @p(level smallint, since timestamptz, until timestamptz) CROSS JOIN LATERAL (
        SELECT at, partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
               voided_discount_minor, voided_commission_minor, refusals FROM stats_totals
        WHERE $way = 'program' AND program_id = $program_id AND slice = $slice AND level = p.level
          AND at >= p.since AND at < p.until
        UNION ALL
        SELECT at, partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
               voided_discount_minor, voided_commission_minor, refusals FROM stats_totals
        WHERE $way = 'partner' AND program_id = $program_id AND partner_id = $partner_id AND slice = $slice
          AND level = p.level AND at >= p.since AND at < p.until
        UNION ALL
        SELECT at, partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
               voided_discount_minor, voided_commission_minor, refusals FROM stats_totals
        WHERE $way = 'coupon' AND program_id = $program_id AND coupon_id = $coupon_id AND slice = $slice
          AND level = p.level AND at >= p.since AND at < p.until) s
    LIMIT $most_rows + 1
), figure AS MATERIALIZED (
    SELECT width_bucket(at, $bounds::timestamptz[]) AS step,
           coalesce(CASE $group_by::text WHEN 'partner_id' THEN partner_id::text WHEN 'coupon_id' THEN coupon_id::text
                    WHEN 'reason' THEN reason END, '') AS key,
           currency, sum(redemptions) AS redemptions, sum(discount_minor) AS discount_minor,
           sum(commission_minor) AS commission_minor, sum(voids) AS voids,
           sum(voided_discount_minor) AS voided_discount_minor, sum(voided_commission_minor) AS voided_commission_minor,
           sum(refusals) AS refusals
    FROM (SELECT * FROM stored UNION ALL SELECT * FROM change) f
    WHERE ($partner_id::uuid IS NULL OR partner_id = $partner_id)
      AND ($coupon_id::uuid IS NULL OR coupon_id = $coupon_id)
      AND ($group_by IS DISTINCT FROM 'reason' OR reason IS NOT NULL)
    GROUP BY 1, 2, 3
    HAVING sum(redemptions) <> 0 OR sum(discount_minor) <> 0 OR sum(commission_minor) <> 0 OR sum(voids) <> 0
        OR sum(voided_discount_minor) <> 0 OR sum(voided_commission_minor) <> 0 OR sum(refusals) <> 0
), ranked AS (
    SELECT key, row_number() OVER (ORDER BY sum(redemptions) DESC, sum(refusals) DESC, key) AS place
    FROM figure GROUP BY key
)
SELECT (SELECT count(*) FROM change) AS changes, (SELECT count(*) FROM stored) AS stored, now() AS now,
       (SELECT added_up_at FROM stats_rounds) AS added_up_at,
       f.step, f.place, f.key, f.is_rest, f.currency, f.redemptions, f.discount_minor, f.commission_minor, f.voids,
       f.voided_discount_minor, f.voided_commission_minor, f.refusals
FROM (SELECT) always LEFT JOIN (
    SELECT step, least(r.place, $groups::bigint + 1) AS place,
           CASE WHEN r.place <= $groups THEN nullif(f.key, '') END AS key, r.place > $groups AS is_rest, currency,
           sum(redemptions)::bigint AS redemptions, sum(discount_minor)::bigint AS discount_minor,
           sum(commission_minor)::bigint AS commission_minor, sum(voids)::bigint AS voids,
           sum(voided_discount_minor)::bigint AS voided_discount_minor,
           sum(voided_commission_minor)::bigint AS voided_commission_minor, sum(refusals)::bigint AS refusals
    FROM figure f JOIN ranked r USING (key) GROUP BY 1, 2, 3, 4, 5
) f ON true
ORDER BY f.place, f.step, f.currency
""")


async def add_up(connection: Connection, limit: int) -> int:
    """Add up to `limit` changes to the figures, and return how many there were."""
    added: int = await connection.fetchval(*ADD_UP(limit=limit, l=LEVEL_COLUMNS))
    return added


async def read_stats(connection: Connection, wanted: StatsFilter, *, is_live: bool) -> Found[Figure] | None:
    """Read figures as `ReadFigures` says; raises TooMuch."""
    by_partner = wanted.partner_id is not None or wanted.group_by == "partner_id"
    by_coupon = wanted.coupon_id is not None or wanted.group_by == "coupon_id"
    rows = await connection.fetch(
        *READ_STATS(
            **asked_values(wanted, is_live=is_live),
            coupon_id=wanted.coupon_id,
            way="partner" if wanted.partner_id is not None else "coupon" if wanted.coupon_id is not None else "program",
            slice=2 * by_partner + by_coupon + 4 * (wanted.group_by == "reason"),
        )
    )
    return found_in(rows, _figure, is_live=is_live)


_figure: Final = Rows(Figure)
