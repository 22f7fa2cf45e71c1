"""Statistics of codes: figures per quarter of an hour, and the changes to them that are not added up yet.

Triggers append the changes (`migrations/0300_stats.sql`). Both are read by one statement, so their sum is exact.
"""

import uuid
from datetime import datetime
from typing import Final

from services.codes.domain.stats import MOST_CHANGES, Figure
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.steps import MOST_ROWS, StatsFilter, TooMuch

LOCK_ROUND = "SELECT FROM stats_rounds FOR UPDATE SKIP LOCKED"
NOTE_ROUND = "UPDATE stats_rounds SET added_up_at = greatest(added_up_at, $1)"
READ_CLOCK = "SELECT clock_timestamp()"
# From quarter to quarter, however many changes each has.
NEXT_CHANGED = Statement("""
WITH RECURSIVE found AS (
    (SELECT program_id, quarter FROM stats_changes
     WHERE (program_id, quarter) > ($program_id, $quarter) ORDER BY program_id, quarter LIMIT 1)
    UNION ALL
    SELECT n.program_id, n.quarter FROM found f CROSS JOIN LATERAL (
        SELECT program_id, quarter FROM stats_changes
        WHERE (program_id, quarter) > (f.program_id, f.quarter) ORDER BY program_id, quarter LIMIT 1) n
)
SELECT program_id, quarter FROM found LIMIT $limit
""")
# What is there is replaced, and only the finest of it is added up again. All is looked up one by one (OFFSET 0),
# however small the tables look, and nobody else removes any.
ADD_UP = Statement("""
WITH change AS (
    DELETE FROM stats_changes WHERE ctid = ANY (ARRAY(
        SELECT c.place FROM @b(program_id uuid, quarter timestamptz) CROSS JOIN LATERAL (
            SELECT ctid AS place FROM stats_changes
            WHERE program_id = b.program_id AND quarter = b.quarter OFFSET 0) c))
    RETURNING program_id, quarter, partner_id, coupon_id, minted, redeemed
), old AS (
    DELETE FROM stats WHERE ctid = ANY (ARRAY(
        SELECT s.place FROM @b(program_id uuid, quarter timestamptz) CROSS JOIN LATERAL (
            SELECT ctid AS place FROM stats
            WHERE program_id = b.program_id AND slice = ANY ('{0,1,2,3}') AND quarter = b.quarter OFFSET 0) s))
    RETURNING program_id, quarter, slice, partner_id, coupon_id, minted, redeemed
)
INSERT INTO stats (program_id, quarter, slice, partner_id, coupon_id, minted, redeemed)
SELECT program_id, quarter, 3 - GROUPING(partner_id, coupon_id), partner_id, coupon_id, sum(minted), sum(redeemed)
FROM (SELECT program_id, quarter, partner_id, coupon_id, minted, redeemed FROM change
      UNION ALL SELECT program_id, quarter, partner_id, coupon_id, minted, redeemed FROM old WHERE slice = 3) f
GROUP BY program_id, quarter, CUBE (partner_id, coupon_id)
HAVING sum(minted) <> 0 OR sum(redeemed) <> 0
""")
# One of the ways is taken, along an index; the others are not even begun.
READ_STATS = Statement("""
WITH change AS MATERIALIZED (
    SELECT quarter, partner_id, coupon_id, minted, redeemed FROM stats_changes
    WHERE $is_live AND program_id = $program_id AND quarter >= $since AND quarter < $until LIMIT $most_changes + 1
), stored AS MATERIALIZED (
    SELECT quarter, partner_id, coupon_id, minted, redeemed FROM (
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
                    END, '') AS key,
           sum(minted) AS minted, sum(redeemed) AS redeemed
    FROM (SELECT * FROM stored UNION ALL SELECT * FROM change) f
    WHERE ($partner_id::uuid IS NULL OR partner_id = $partner_id)
      AND ($coupon_id::uuid IS NULL OR coupon_id = $coupon_id)
    GROUP BY 1, 2 HAVING sum(minted) <> 0 OR sum(redeemed) <> 0
), ranked AS (
    SELECT key, row_number() OVER (ORDER BY sum(minted) DESC, key) AS place FROM figure GROUP BY key
)
SELECT (SELECT count(*) FROM change) AS changes, (SELECT count(*) FROM stored) AS stored, now() AS now,
       (SELECT added_up_at FROM stats_rounds) AS added_up_at,
       f.step, f.place, f.key, f.is_rest, f.minted, f.redeemed
FROM (SELECT) always LEFT JOIN (
    SELECT step, least(r.place, $groups::bigint + 1) AS place,
           CASE WHEN r.place <= $groups THEN nullif(f.key, '') END AS key, r.place > $groups AS is_rest,
           sum(minted)::bigint AS minted, sum(redeemed)::bigint AS redeemed
    FROM figure f JOIN ranked r USING (key) GROUP BY 1, 2, 3, 4
) f ON true
ORDER BY f.place, f.step
""")
_Place = tuple[uuid.UUID, datetime]


async def lock_round(connection: Connection) -> datetime | None:
    """Become the one process that adds up, and return the database's time; None if another is."""
    if not await connection.fetch(LOCK_ROUND):
        return None
    now: datetime = await connection.fetchval(READ_CLOCK)
    return now


async def note_round(connection: Connection, started_at: datetime) -> None:
    """Note that all that was written before a time is added up."""
    await connection.execute(NOTE_ROUND, started_at)


async def next_changed(connection: Connection, last: _Place, limit: int) -> list[_Place]:
    """Return the next quarters with changes, each once."""
    rows = await connection.fetch(*NEXT_CHANGED(program_id=last[0], quarter=last[1], limit=limit))
    return [(row["program_id"], row["quarter"]) for row in rows]


async def add_up(connection: Connection, places: list[_Place]) -> None:
    """Add the changes of quarters to their figures."""
    columns = {"program_id": [place[0] for place in places], "quarter": [place[1] for place in places]}
    await connection.execute(*ADD_UP(b=columns))


async def read_stats(
    connection: Connection, wanted: StatsFilter, *, is_live: bool
) -> tuple[list[Figure], datetime] | None:
    """Return figures and as of when they are exact. Raises TooMuch.

    With `is_live` the changes are added at once; None where there are too many.
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
            slice=2 * by_partner + by_coupon,
            group_by=wanted.group_by,
            groups=wanted.groups if wanted.group_by is not None else 1,
            is_live=is_live,
            most_changes=MOST_CHANGES,
            most_rows=MOST_ROWS,
        )
    )
    first = rows[0]
    if first["changes"] > MOST_CHANGES:
        return None
    if first["stored"] > MOST_ROWS:
        raise TooMuch
    as_of = first["now"] if is_live else first["added_up_at"]
    return [_figure(row) for row in rows if row["step"] is not None], as_of


_figure: Final = Rows(Figure)
