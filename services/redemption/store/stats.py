"""Statistics: counted by quarters of an hour; what was touched since is counted from the facts while it is asked for.

What is stored, what is on the list and what is counted at once are read by one statement, so all of it is exact.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from services.redemption.domain.stats import MOST_FACTS, MOST_TOUCHED, Figure
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.database.stats import Bucket, Kind
from shared.steps import MOST_ROWS, StatsFilter, TooMuch

# Looked up one by one (OFFSET 0), however small the table looks.
DELETE_STATS = Statement("""
DELETE FROM stats WHERE ctid = ANY (ARRAY(
    SELECT s.place FROM @b(program_id uuid, quarter timestamptz) CROSS JOIN LATERAL (
        SELECT ctid AS place FROM stats
        WHERE program_id = b.program_id AND slice = ANY ('{0,1,2,3,4,5,6,7}') AND quarter = b.quarter
          AND kind = $kind OFFSET 0) s))
""")
INSERT_REDEMPTIONS = Statement("""
INSERT INTO stats (kind, program_id, quarter, slice, partner_id, coupon_id, currency, redemptions, discount_minor,
                   commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals)
SELECT 'redemptions', b.program_id, b.quarter, 3 - GROUPING(f.partner_id, f.coupon_id), f.partner_id, f.coupon_id,
       f.currency, sum(f.redemptions), coalesce(sum(f.discount_minor), 0), coalesce(sum(f.commission_minor), 0),
       sum(f.voids), coalesce(sum(f.voided_discount_minor), 0), coalesce(sum(f.voided_commission_minor), 0), 0
FROM @b(program_id uuid, quarter timestamptz)
CROSS JOIN LATERAL (
    SELECT partner_id, coupon_id, currency, redemptions, discount_minor, commission_minor, voids,
           voided_discount_minor, voided_commission_minor
    FROM stats_facts
    WHERE kind = 'redemptions' AND program_id = b.program_id AND at >= b.quarter
      AND at < b.quarter + interval '15 minutes') f
GROUP BY b.program_id, b.quarter, f.currency, CUBE (f.partner_id, f.coupon_id)
""")
INSERT_REFUSALS = Statement("""
INSERT INTO stats (kind, program_id, quarter, slice, partner_id, coupon_id, reason, redemptions, discount_minor,
                   commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals)
SELECT 'rejections', b.program_id, b.quarter, 7 - GROUPING(f.reason, f.partner_id, f.coupon_id), f.partner_id,
       f.coupon_id, f.reason, 0, 0, 0, 0, 0, 0, sum(f.refusals)
FROM @b(program_id uuid, quarter timestamptz)
CROSS JOIN LATERAL (
    SELECT partner_id, coupon_id, reason, refusals FROM stats_facts
    WHERE kind = 'rejections' AND program_id = b.program_id AND at >= b.quarter
      AND at < b.quarter + interval '15 minutes') f
GROUP BY b.program_id, b.quarter, CUBE (f.reason, f.partner_id, f.coupon_id)
""")
# Along an index, from quarter to quarter: as many steps as there are of them, however many rows each has.
WALK_REDEMPTIONS = Statement("""
WITH RECURSIVE found AS (
    (SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch') AS quarter FROM redemptions
     WHERE (program_id, occurred_at) >= ($program_id, $next) ORDER BY program_id, occurred_at, id LIMIT 1)
    UNION ALL
    SELECT n.program_id, n.quarter FROM found f CROSS JOIN LATERAL (
        SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch') AS quarter FROM redemptions
        WHERE (program_id, occurred_at) >= (f.program_id, f.quarter + interval '15 minutes')
        ORDER BY program_id, occurred_at, id LIMIT 1) n
)
SELECT program_id, quarter FROM found LIMIT $limit
""")
WALK_VOIDS = Statement("""
WITH RECURSIVE found AS (
    (SELECT program_id, date_bin('15 minutes', voided_at, 'epoch') AS quarter FROM redemptions
     WHERE (program_id, voided_at) >= ($program_id, $next) AND voided_at IS NOT NULL
     ORDER BY program_id, voided_at LIMIT 1)
    UNION ALL
    SELECT n.program_id, n.quarter FROM found f CROSS JOIN LATERAL (
        SELECT program_id, date_bin('15 minutes', voided_at, 'epoch') AS quarter FROM redemptions
        WHERE (program_id, voided_at) >= (f.program_id, f.quarter + interval '15 minutes') AND voided_at IS NOT NULL
        ORDER BY program_id, voided_at LIMIT 1) n
)
SELECT program_id, quarter FROM found LIMIT $limit
""")
WALK_REJECTIONS = Statement("""
WITH RECURSIVE found AS (
    (SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch') AS quarter FROM rejections
     WHERE (program_id, occurred_at) >= ($program_id, $next) ORDER BY program_id, occurred_at, id LIMIT 1)
    UNION ALL
    SELECT n.program_id, n.quarter FROM found f CROSS JOIN LATERAL (
        SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch') AS quarter FROM rejections
        WHERE (program_id, occurred_at) >= (f.program_id, f.quarter + interval '15 minutes')
        ORDER BY program_id, occurred_at, id LIMIT 1) n
)
SELECT program_id, quarter FROM found LIMIT $limit
""")
# One of the ways is taken, along an index; the others are not even begun. What is on the list is left out of what is
# stored, and counted from the facts. The first columns say how much there was to look at, in every row.
READ_STATS = Statement("""
WITH RECURSIVE listed AS (
    (SELECT k.kind, f.quarter FROM stats_kinds k CROSS JOIN LATERAL (
        SELECT quarter FROM stats_touched
        WHERE kind = k.kind AND program_id = $program_id AND quarter >= greatest($since, k.sealed_before)
          AND quarter < $until
        ORDER BY quarter LIMIT 1) f
     WHERE $is_live)
    UNION ALL
    SELECT l.kind, n.quarter FROM listed l CROSS JOIN LATERAL (
        SELECT quarter FROM stats_touched
        WHERE kind = l.kind AND program_id = $program_id AND quarter > l.quarter AND quarter < $until
        ORDER BY quarter LIMIT 1) n
), touched AS MATERIALIZED (
    SELECT kind, quarter FROM listed LIMIT $most_touched + 1
), fact AS MATERIALIZED (
    SELECT t.kind, t.quarter, f.partner_id, f.coupon_id, f.currency, f.reason, f.redemptions,
           coalesce(f.discount_minor, 0) AS discount_minor, coalesce(f.commission_minor, 0) AS commission_minor,
           f.voids, coalesce(f.voided_discount_minor, 0) AS voided_discount_minor,
           coalesce(f.voided_commission_minor, 0) AS voided_commission_minor, f.refusals
    FROM touched t CROSS JOIN LATERAL (
        SELECT partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
               voided_discount_minor, voided_commission_minor, refusals
        FROM stats_facts
        WHERE kind = t.kind AND program_id = $program_id AND at >= t.quarter
          AND at < t.quarter + interval '15 minutes') f
    WHERE (SELECT count(*) FROM touched) <= $most_touched
    LIMIT $most_facts + 1
), stored AS MATERIALIZED (
    SELECT kind, quarter, partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
           voided_discount_minor, voided_commission_minor, refusals FROM (
        (SELECT * FROM stats WHERE $way = 'quarter' AND program_id = $program_id AND slice = $slice
           AND quarter >= $since AND quarter < $until LIMIT $most_rows + 1)
        UNION ALL
        (SELECT * FROM stats WHERE $way = 'partner' AND program_id = $program_id AND partner_id = $partner_id
           AND slice = $slice AND quarter >= $since AND quarter < $until LIMIT $most_rows + 1)
        UNION ALL
        (SELECT * FROM stats WHERE $way = 'coupon' AND program_id = $program_id AND coupon_id = $coupon_id
           AND slice = $slice AND quarter >= $since AND quarter < $until LIMIT $most_rows + 1)) s
), figure AS MATERIALIZED (
    SELECT width_bucket(quarter, $bounds::timestamptz[]) AS step,
           coalesce(CASE $group_by::text WHEN 'partner_id' THEN partner_id::text WHEN 'coupon_id' THEN coupon_id::text
                    WHEN 'reason' THEN reason END, '') AS key,
           currency, sum(redemptions) AS redemptions, sum(discount_minor) AS discount_minor,
           sum(commission_minor) AS commission_minor, sum(voids) AS voids,
           sum(voided_discount_minor) AS voided_discount_minor, sum(voided_commission_minor) AS voided_commission_minor,
           sum(refusals) AS refusals
    FROM (SELECT * FROM stored s WHERE NOT EXISTS (
              SELECT FROM touched t WHERE t.kind = s.kind AND t.quarter = s.quarter)
          UNION ALL SELECT * FROM fact) f
    WHERE ($partner_id::uuid IS NULL OR partner_id = $partner_id)
      AND ($coupon_id::uuid IS NULL OR coupon_id = $coupon_id)
      AND ($group_by IS DISTINCT FROM 'reason' OR kind = 'rejections')
    GROUP BY 1, 2, 3
), ranked AS (
    SELECT key, row_number() OVER (ORDER BY sum(redemptions) DESC, sum(refusals) DESC, key) AS place
    FROM figure GROUP BY key
)
SELECT (SELECT count(*) FROM touched) AS touched, (SELECT count(*) FROM fact) AS facts,
       (SELECT count(*) FROM stored) AS stored, now() AS now,
       (SELECT CASE WHEN count(*) = count(recounted_at) THEN min(recounted_at) END FROM stats_kinds) AS recounted_at,
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


async def read_stats(
    connection: Connection, wanted: StatsFilter, *, is_live: bool
) -> tuple[list[Figure], datetime | None] | None:
    """Return figures and as of when they are exact, which is None while that is not known yet.

    With `is_live` what was touched is counted at once; None where that is too much. Raises TooMuch.
    """
    by_partner = wanted.partner_id is not None or wanted.group_by == "partner_id"
    by_coupon = wanted.coupon_id is not None or wanted.group_by == "coupon_id"
    rows = await connection.fetch(
        *READ_STATS(
            program_id=wanted.program_id,
            partner_id=wanted.partner_id,
            coupon_id=wanted.coupon_id,
            bounds=wanted.bounds,
            since=wanted.bounds[0],
            until=wanted.bounds[-1],
            way="partner" if wanted.partner_id is not None else "coupon" if wanted.coupon_id is not None else "quarter",
            slice=2 * by_partner + by_coupon + 4 * (wanted.group_by == "reason"),
            group_by=wanted.group_by,
            groups=wanted.groups if wanted.group_by is not None else 1,
            is_live=is_live,
            most_touched=MOST_TOUCHED,
            most_facts=MOST_FACTS,
            most_rows=MOST_ROWS,
        )
    )
    first = rows[0]
    if first["touched"] > MOST_TOUCHED or first["facts"] > MOST_FACTS:
        return None
    if first["stored"] > MOST_ROWS:
        raise TooMuch
    as_of = first["now"] if is_live and first["recounted_at"] is not None else first["recounted_at"]
    return [_figure(row) for row in rows if row["step"] is not None], as_of


async def _recount_redemptions(connection: Connection, buckets: Sequence[Bucket]) -> None:
    columns = _BUCKETS.columns(buckets)
    await connection.execute(*DELETE_STATS(kind="redemptions", b=columns))
    await connection.execute(*INSERT_REDEMPTIONS(b=columns))


async def _recount_refusals(connection: Connection, buckets: Sequence[Bucket]) -> None:
    columns = _BUCKETS.columns(buckets)
    await connection.execute(*DELETE_STATS(kind="rejections", b=columns))
    await connection.execute(*INSERT_REFUSALS(b=columns))


async def _walk_redemptions(connection: Connection, start: Bucket, limit: int) -> list[Bucket]:
    return _found(await connection.fetch(*WALK_REDEMPTIONS(**_from(start, limit))))


async def _walk_voids(connection: Connection, start: Bucket, limit: int) -> list[Bucket]:
    return _found(await connection.fetch(*WALK_VOIDS(**_from(start, limit))))


async def _walk_rejections(connection: Connection, start: Bucket, limit: int) -> list[Bucket]:
    return _found(await connection.fetch(*WALK_REJECTIONS(**_from(start, limit))))


def _from(start: Bucket, limit: int) -> dict[str, Any]:
    return {"program_id": start.program_id, "next": start.quarter, "limit": limit}


def _found(rows: Sequence[Any]) -> list[Bucket]:
    return [_bucket(row) for row in rows]


_BUCKETS: Final = Values(DELETE_STATS.tables["b"], Bucket)
_bucket: Final = Rows(Bucket)
_figure: Final = Rows(Figure)
KINDS: Final = (
    Kind("redemptions", _recount_redemptions, {"redemptions": _walk_redemptions, "voids": _walk_voids}),
    Kind("rejections", _recount_refusals, {"rejections": _walk_rejections}),
)
