"""Lists of a program's live codes: which ids match a filter, page by page, and how many.

A page first finds ids along the index of one filter, and then looks up the rest of a bounded number of codes.

Bounds instead of an equal sign, and an order by every column of the index: otherwise the planner would prefer to walk
the primary key backwards and read each code on its way, which ends soon for a coupon with many codes, and never for one
that has none among ten million. For the same reason a limit is a subquery, whose value the planner does not know: where
it expects fewer rows than the limit, it would read and sort all of them. An id begins with its time, so a span of time
is a span of ids.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from services.codes.domain.codes import CodeStatus
from services.codes.store.pages import MOST_COUPONS, SCANNED_PER_PAGE
from shared.bounded_counts import MOST_COUNTED, MOST_SCANNED, BoundedCount, bounded_count
from shared.database.pool import Connection
from shared.database.rows import Statement, Values
from shared.ids import earliest_id
from shared.known_ids import FIRST_ID, LAST_ID

# One of the branches runs, and the others are not even started. A batch may have archived codes.
SCAN_BY_ID = Statement("""
(SELECT id FROM promotion_codes
 WHERE $way = 'program' AND (program_id, id) < ($program, $before) AND (program_id, id) >= ($program, $first)
   AND archived_at IS NULL
 ORDER BY program_id DESC, id DESC LIMIT (SELECT $scanned::bigint))
UNION ALL
(SELECT id FROM promotion_codes
 WHERE $way = 'coupon' AND (coupon_id, id) < ($coupon, $before) AND (coupon_id, id) >= ($coupon, $first)
   AND archived_at IS NULL
 ORDER BY coupon_id DESC, id DESC LIMIT (SELECT $scanned::bigint))
UNION ALL
(SELECT id FROM promotion_codes
 WHERE $way = 'customer' AND (program_id, customer_id, id) < ($program, $customer, $before)
   AND (program_id, customer_id, id) >= ($program, $customer, $first)
   AND customer_id IS NOT NULL AND archived_at IS NULL
 ORDER BY program_id DESC, customer_id DESC, id DESC LIMIT (SELECT $scanned::bigint))
UNION ALL
(SELECT id FROM promotion_codes
 WHERE $way = 'batch' AND (batch_id, id) < ($batch, $before) AND (batch_id, id) >= ($batch, $first)
   AND batch_id IS NOT NULL
 ORDER BY batch_id DESC, id DESC LIMIT (SELECT $scanned::bigint))
""")
# Codes of a partner: for one coupon, or coupon by coupon along the index; the newest of each, then the newest of all.
# Codes older than the last one read of a coupon with more are left to the next page: a mark says where that begins. For
# a partner with codes of very many coupons the program's codes are searched instead, so that the cost of a page grows
# neither with the number of its coupons nor with that of its codes.
SCAN_OF_PARTNER = Statement("""
WITH RECURSIVE coupon AS (
    (SELECT $coupon::uuid AS coupon_id WHERE $coupon::uuid IS NOT NULL
     UNION ALL
     (SELECT coupon_id FROM promotion_codes
      WHERE $coupon::uuid IS NULL AND partner_id >= $partner AND partner_id <= $partner AND archived_at IS NULL
      ORDER BY partner_id, coupon_id LIMIT 1))
    UNION ALL
    SELECT (SELECT c.coupon_id FROM promotion_codes c
            WHERE (c.partner_id, c.coupon_id) > ($partner, k.coupon_id) AND c.partner_id <= $partner
              AND c.archived_at IS NULL
            ORDER BY c.partner_id, c.coupon_id LIMIT 1)
    FROM coupon k WHERE k.coupon_id IS NOT NULL AND $coupon::uuid IS NULL
), few AS MATERIALIZED (
    SELECT coupon_id FROM coupon WHERE coupon_id IS NOT NULL LIMIT $most_coupons + 1
), share AS MATERIALIZED (
    SELECT greatest($enough::bigint, $scanned::bigint / greatest(1, count(*))) AS size FROM few
), scanned AS MATERIALIZED (
    SELECT c.id, true AS is_own, c.place = (SELECT size FROM share) AS is_last
    FROM few k CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id FROM promotion_codes
            WHERE (partner_id, coupon_id, id) < ($partner, k.coupon_id, $before)
              AND (partner_id, coupon_id, id) >= ($partner, k.coupon_id, $first)
              AND partner_id IS NOT NULL AND archived_at IS NULL
            ORDER BY partner_id DESC, coupon_id DESC, id DESC LIMIT (SELECT size FROM share)) n) c
    WHERE (SELECT count(*) FROM few) <= $most_coupons
    UNION ALL
    SELECT id, is_own, place = greatest($enough::bigint, $most_other) FROM (
        SELECT id, is_own, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, partner_id IS NOT DISTINCT FROM $partner AS is_own FROM promotion_codes
            WHERE (SELECT count(*) FROM few) > $most_coupons AND (program_id, id) < ($program, $before)
              AND (program_id, id) >= ($program, $first)
              AND archived_at IS NULL
            ORDER BY program_id DESC, id DESC LIMIT greatest($enough::bigint, $most_other)) n) c
), mark AS MATERIALIZED (
    SELECT id FROM scanned WHERE is_last ORDER BY id DESC LIMIT 1
)
SELECT s.id, false AS is_mark FROM scanned s WHERE s.is_own AND NOT EXISTS (SELECT FROM mark m WHERE s.id < m.id)
UNION ALL
SELECT id, true FROM mark
""")
# In the order of the strings, byte by byte, as their index has them. The place to continue after is an id all the same:
# it may be that of a code which a partner must not learn.
SCAN_BY_PREFIX = Statement("""
SELECT id FROM promotion_codes
WHERE program_id = $program AND canonical ~>=~ $prefix AND canonical ~<~ $end AND archived_at IS NULL
  AND canonical ~>~ coalesce((SELECT canonical FROM promotion_codes WHERE id = $after AND program_id = $program), '')
ORDER BY program_id, canonical USING ~<~ LIMIT (SELECT $scanned::bigint)
""")
# OFFSET 0 forces one lookup at a time.
FIND_MATCHING = Statement("""
SELECT s.id FROM unnest($ids::uuid[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT program_id, coupon_id, partner_id, customer_id, batch_id, canonical, is_active, times_redeemed,
           redemption_limit, expires_at, created_at, archived_at
    FROM promotion_codes WHERE id = s.id OFFSET 0) c
CROSS JOIN LATERAL (
    SELECT code_redemption_limit, is_active, expires_at FROM coupons WHERE id = c.coupon_id OFFSET 0) k
WHERE c.program_id = $program_id AND c.archived_at IS NULL
  AND ($coupon_id::uuid IS NULL OR c.coupon_id = $coupon_id)
  AND ($partner_id::uuid IS NULL OR c.partner_id = $partner_id)
  AND ($customer_id::text IS NULL OR c.customer_id = $customer_id)
  AND ($batch_id::uuid IS NULL OR c.batch_id = $batch_id)
  AND ($prefix::text IS NULL OR starts_with(c.canonical, $prefix))
  AND ($is_active::boolean IS NULL OR c.is_active = $is_active)
  AND ($created_from::timestamptz IS NULL OR c.created_at >= $created_from)
  AND ($created_before::timestamptz IS NULL OR c.created_at < $created_before)
  AND ($status::text IS NULL OR $status =
       CASE WHEN c.times_redeemed >= coalesce(c.redemption_limit, k.code_redemption_limit) THEN 'redeemed'
            WHEN NOT c.is_active OR NOT k.is_active THEN 'inactive'
            WHEN least(c.expires_at, k.expires_at) <= $now THEN 'expired'
            ELSE 'active' END)
""")

# The last of the strings that begin with a prefix begins with this behind it.
_LAST_CHARACTER: Final = "\U0010ffff"
# An id is made just before or after the time that a code says it was created at.
_TOLERANCE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A filter of a program's live codes, with every name resolved; `prefix` is canonical."""

    program_id: uuid.UUID
    now: datetime
    coupon_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    customer_id: str | None = None
    batch_id: uuid.UUID | None = None
    prefix: str | None = None
    is_active: bool | None = None
    status: CodeStatus | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    @property
    def is_exact(self) -> bool:
        """Whether all codes that the index of a filter finds match, so that no page is short before the end."""
        others = (self.customer_id, self.batch_id, self.is_active, self.status, self.created_from, self.created_before)
        owner = (self.coupon_id, self.partner_id)
        return all(each is None for each in (*others, *(owner if self.prefix is not None else ())))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list: after an id, without the first `offset`, at most `limit`."""

    after: uuid.UUID | None
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class IdsPage:
    """The ids of a part, in the order of the list, and the one to continue after; None at the end."""

    ids: Sequence[uuid.UUID]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class _Scan:
    """Ids in the order of the list, and the one after which more may follow."""

    ids: Sequence[uuid.UUID]
    mark: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How many ids a scan reads: as many as are enough, or more if some may not match, or may be another partner's."""

    enough: int
    scanned: int
    most_other: int


async def list_ids(connection: Connection, wanted: Wanted, part: Part, scanned: int = SCANNED_PER_PAGE) -> IdsPage:
    """Find the codes of one part of a list: the newest first, or by prefix in the order of the strings."""
    end = part.offset + part.limit
    scan = await _scan(connection, wanted, part.after, _Bounds(end + 1, max(scanned, end + 1), scanned))
    ids = await _matching(connection, wanted, scan.ids)
    shown = ids[part.offset : end]
    return IdsPage(shown, scan.mark if len(ids) <= end else shown[-1])


async def count_ids(connection: Connection, wanted: Wanted) -> BoundedCount:
    """Count the codes that match among a bounded number of codes."""
    scan = await _scan(connection, wanted, None, _Bounds(MOST_COUNTED + 1, MOST_SCANNED + 1, MOST_SCANNED))
    read = scan.ids[: MOST_SCANNED + 1]
    matching = await _matching(connection, wanted, read)
    return bounded_count(len(matching), is_whole=scan.mark is None and len(read) == len(scan.ids))


async def _scan(connection: Connection, wanted: Wanted, after: uuid.UUID | None, bounds: _Bounds) -> _Scan:
    """Read ids along an index; where all of them match, no more than are enough."""
    bound = bounds.enough if wanted.is_exact else bounds.scanned
    if wanted.prefix is not None:
        return await _by_prefix(connection, wanted, after, bound)
    if wanted.partner_id is not None and wanted.customer_id is None and wanted.batch_id is None:
        return await _of_partner(connection, wanted, after, _Bounds(bounds.enough, bound, bounds.most_other))
    return await _by_id(connection, wanted, after, bound)


async def _by_id(connection: Connection, wanted: Wanted, after: uuid.UUID | None, bound: int) -> _Scan:
    values = {"customer": wanted.customer_id, "batch": wanted.batch_id, "way": _way(wanted), "scanned": bound}
    owner = {"program": wanted.program_id, "coupon": wanted.coupon_id}
    rows = await connection.fetch(*SCAN_BY_ID(**owner, **_span(wanted, after), **values))
    return _scan_of(rows, bound)


async def _of_partner(connection: Connection, wanted: Wanted, after: uuid.UUID | None, bounds: _Bounds) -> _Scan:
    owner = {"program": wanted.program_id, "partner": wanted.partner_id, "coupon": wanted.coupon_id}
    sizes = {**asdict(bounds), "most_coupons": MOST_COUPONS}
    rows = await connection.fetch(*SCAN_OF_PARTNER(**owner, **_span(wanted, after), **sizes))
    ids = sorted((row["id"] for row in rows if not row["is_mark"]), reverse=True)
    return _Scan(ids, next((row["id"] for row in rows if row["is_mark"]), None))


async def _by_prefix(connection: Connection, wanted: Wanted, after: uuid.UUID | None, bound: int) -> _Scan:
    prefix = wanted.prefix or ""
    span = {"prefix": prefix, "end": prefix + _LAST_CHARACTER, "after": after, "scanned": bound}
    return _scan_of(await connection.fetch(*SCAN_BY_PREFIX(program=wanted.program_id, **span)), bound)


def _scan_of(rows: Sequence[Any], bound: int) -> _Scan:
    ids = [row["id"] for row in rows]
    return _Scan(ids, ids[-1] if len(ids) == bound else None)


async def find_matching(connection: Connection, wanted: Wanted, ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Return those of the ids whose live codes match."""
    rows = await connection.fetch(*FIND_MATCHING(**_WANTED.of(wanted), ids=ids))
    matching = {row["id"] for row in rows}
    return [code_id for code_id in ids if code_id in matching]


async def _matching(connection: Connection, wanted: Wanted, ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    return ids if wanted.is_exact or not ids else await find_matching(connection, wanted, ids)


def _span(wanted: Wanted, after: uuid.UUID | None) -> dict[str, Any]:
    """Return the bounds of ids: older than `after`, and made within the span of time."""
    first, before = FIRST_ID, after or LAST_ID
    if wanted.created_from is not None:
        first = earliest_id(wanted.created_from - _TOLERANCE)
    if wanted.created_before is not None:
        before = min(before, earliest_id(wanted.created_before + _TOLERANCE))
    return {"first": first, "before": before}


def _way(wanted: Wanted) -> str:
    if wanted.customer_id is not None:
        return "customer"
    if wanted.batch_id is not None:
        return "batch"
    return "program" if wanted.coupon_id is None else "coupon"


_WANTED: Final = Values(FIND_MATCHING.names, Wanted, "ids")
