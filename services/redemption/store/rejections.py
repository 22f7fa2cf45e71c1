"""Refused tries: written in the transaction that refuses them, listed by the narrowest suitable index."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from services.redemption.domain.listing import Place
from services.redemption.domain.reasons import Reason
from services.redemption.domain.rejections import Door, Rejection, RejectionFilter, RejectionPage
from shared.bounded_counts import MOST_COUNTED, MOST_SCANNED, BoundedCount
from shared.database.bounded_counts import count_of_rows
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import FIRST_ID, LAST_ID

# How many refused tries a filtered page reads.
SCANNED_PER_PAGE: Final = 2_000
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)

# A row belongs to one order, whose row is locked: two groups never write the same one concurrently.
INSERT_REJECTIONS = Statement("""
INSERT INTO rejections AS n (id, program_id, order_ref, door, code, canonical, code_id, partner_id, reason, detail,
                             source, event_id, occurred_at, times, coupon_id, decided_at)
SELECT r.*, $decided_at
FROM @r(id uuid, program_id uuid, order_ref text, door text, code text, canonical text, code_id uuid,
        partner_id uuid, reason text, detail text, source text, event_id text, occurred_at timestamptz,
        times bigint, coupon_id uuid)
ON CONFLICT (id) DO UPDATE
SET times = n.times + excluded.times,
    last_occurred_at = greatest(n.last_occurred_at, n.occurred_at, excluded.occurred_at)
""")
# One of the branches runs, along an index in the right order; the others are not even started. The last row, a mark,
# tells where to continue after a page that read all it may. Bounds instead of equal signs, as for redemptions.
LIST_REJECTIONS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $way = 'order' AND (program_id, order_ref, occurred_at, id) < ($program_id, $order_ref, $before, $before_id)
       AND (program_id, order_ref, occurred_at) >= ($program_id, $order_ref, $since)
     ORDER BY program_id DESC, order_ref DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $way = 'code' AND (program_id, canonical, occurred_at, id) < ($program_id, $canonical, $before, $before_id)
       AND (program_id, canonical, occurred_at) >= ($program_id, $canonical, $since)
     ORDER BY program_id DESC, canonical DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $way = 'partner'
       AND (program_id, partner_id, occurred_at, id) < ($program_id, $partner_id, $before, $before_id)
       AND (program_id, partner_id, occurred_at) >= ($program_id, $partner_id, $since) AND partner_id IS NOT NULL
     ORDER BY program_id DESC, partner_id DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
    UNION ALL
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $way = 'program' AND (program_id, occurred_at, id) < ($program_id, $before, $before_id)
       AND (program_id, occurred_at) >= ($program_id, $since)
     ORDER BY program_id DESC, occurred_at DESC, id DESC LIMIT (SELECT $scanned::bigint))
), chosen AS (
    SELECT * FROM scanned
    WHERE ($order_ref::text IS NULL OR order_ref = $order_ref) AND ($canonical::text IS NULL OR canonical = $canonical)
      AND ($partner_id::uuid IS NULL OR partner_id = $partner_id) AND ($reason::text IS NULL OR reason = $reason)
      AND ($door::text IS NULL OR door = $door)
    ORDER BY occurred_at DESC, id DESC LIMIT $limit
), mark AS (
    SELECT * FROM scanned ORDER BY occurred_at, id LIMIT 1
)
SELECT id, order_ref, door, code, code_id, partner_id, reason, detail, source, event_id, times, occurred_at,
       coalesce(last_occurred_at, occurred_at) AS last_occurred_at, false AS is_mark
FROM chosen
UNION ALL
SELECT id, order_ref, door, code, code_id, partner_id, reason, detail, source, event_id, times, occurred_at,
       coalesce(last_occurred_at, occurred_at), true
FROM mark WHERE (SELECT count(*) FROM scanned) = $scanned
""")


@dataclass(slots=True, kw_only=True)
class RejectionRow:
    """Why an order's code was refused, and how often in this batch."""

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    door: Door
    code: str
    canonical: str
    code_id: uuid.UUID | None
    partner_id: uuid.UUID | None
    reason: Reason
    detail: str
    source: str
    event_id: str
    occurred_at: datetime
    coupon_id: uuid.UUID | None = None
    times: int = 1


async def insert_rejections(connection: Connection, rows: Sequence[RejectionRow], decided_at: datetime) -> None:
    """Write why orders were refused; an existing row was refused once more."""
    distinct: dict[uuid.UUID, RejectionRow] = {}
    for row in rows:
        known = distinct.setdefault(row.id, row)
        if known is not row:
            distinct[row.id] = replace(known, times=known.times + row.times)
    columns = _ROWS.columns(distinct.values())
    await connection.execute(*INSERT_REJECTIONS(r=columns, decided_at=decided_at))


async def list_rejections(
    connection: Connection, wanted: RejectionFilter, last: Place | None, limit: int, scanned: int = SCANNED_PER_PAGE
) -> RejectionPage:
    """Return up to `limit` refused tries after the last one of the previous page, latest first."""
    rows = await _listed(connection, wanted, last, limit + 1, scanned)
    found = [_rejection(row) for row in rows if not row["is_mark"]]
    mark = next(((row["occurred_at"], row["id"]) for row in rows if row["is_mark"]), None)
    found.sort(key=_place, reverse=True)
    if len(found) > limit:
        return RejectionPage(found[:limit], _place(found[limit - 1]))
    return RejectionPage(found, mark)


async def count_rejections(connection: Connection, wanted: RejectionFilter) -> BoundedCount:
    """Count the refused tries of a list."""
    return count_of_rows(await _listed(connection, wanted, None, MOST_COUNTED + 1, MOST_SCANNED))


async def _listed(
    connection: Connection, wanted: RejectionFilter, last: Place | None, limit: int, scanned: int
) -> list[Any]:
    way = _way(wanted)
    end = (_LAST, LAST_ID) if wanted.occurred_before is None else (wanted.occurred_before, FIRST_ID)
    before, before_id = end if last is None else min(last, end)
    return await connection.fetch(
        *LIST_REJECTIONS(
            program_id=wanted.program_id,
            order_ref=wanted.order_ref,
            canonical=wanted.canonical,
            partner_id=wanted.partner_id,
            reason=wanted.reason,
            door=wanted.door,
            since=wanted.occurred_from or _FIRST,
            before=before,
            before_id=before_id,
            limit=limit,
            scanned=limit if _is_all(wanted, way) else max(scanned, limit),
            way=way,
        )
    )


def _place(rejection: Rejection) -> Place:
    return rejection.occurred_at, rejection.id


def _ways(wanted: RejectionFilter) -> dict[str, object]:
    return {"order": wanted.order_ref, "code": wanted.canonical, "partner": wanted.partner_id}


def _way(wanted: RejectionFilter) -> str:
    """Return the branch to use: that of the narrowest given filter."""
    return next((way for way, member in _ways(wanted).items() if member is not None), "program")


def _is_all(wanted: RejectionFilter, way: str) -> bool:
    """Whether every row of the branch matches, apart from the bounds in time."""
    if wanted.reason is not None or wanted.door is not None:
        return False
    return all(member is None or name == way for name, member in _ways(wanted).items())


_ROWS: Final = Values(INSERT_REJECTIONS.tables["r"], RejectionRow)
_rejection: Final = Rows(Rejection)
