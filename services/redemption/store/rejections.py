"""Refused tries: written in the transaction that refuses them, listed along the narrowest index that fits."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from services.redemption.domain.listing import Place
from services.redemption.domain.reasons import Reason
from services.redemption.domain.rejections import Door, Rejection, RejectionFilter, RejectionPage
from shared.database.pool import Connection

# How many refused tries a page looks at if not all of them are wanted.
SCANNED_PER_PAGE: Final = 2_000
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_FIRST_ID: Final = uuid.UUID(int=0)
_LAST_ID: Final = uuid.UUID(int=2**128 - 1)

# A row is of one order, whose row is locked: two groups never write the same one at the same time.
INSERT_REJECTIONS = """
INSERT INTO rejections AS n (id, program_id, order_ref, door, code, canonical, code_id, partner_id, reason, detail,
                             source, event_id, occurred_at, times, decided_at)
SELECT r.*, $15
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::uuid[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::bigint[]) AS r
ON CONFLICT (id) DO UPDATE
SET times = n.times + excluded.times,
    last_occurred_at = greatest(n.last_occurred_at, n.occurred_at, excluded.occurred_at)
"""
# One of the ways is taken, along an index that gives the order; the others are not even begun. The last row, a mark,
# says from where to go on after a page that looked at all it may. Bounds instead of equal signs, as for redemptions.
LIST_REJECTIONS = """
WITH scanned AS MATERIALIZED (
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $12 = 'order' AND (program_id, order_ref, occurred_at, id) < ($1, $2, $8, $9)
       AND (program_id, order_ref, occurred_at) >= ($1, $2, $7)
     ORDER BY program_id DESC, order_ref DESC, occurred_at DESC, id DESC LIMIT $11)
    UNION ALL
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $12 = 'code' AND (program_id, canonical, occurred_at, id) < ($1, $3, $8, $9)
       AND (program_id, canonical, occurred_at) >= ($1, $3, $7)
     ORDER BY program_id DESC, canonical DESC, occurred_at DESC, id DESC LIMIT $11)
    UNION ALL
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $12 = 'partner' AND (program_id, partner_id, occurred_at, id) < ($1, $4, $8, $9)
       AND (program_id, partner_id, occurred_at) >= ($1, $4, $7) AND partner_id IS NOT NULL
     ORDER BY program_id DESC, partner_id DESC, occurred_at DESC, id DESC LIMIT $11)
    UNION ALL
    (SELECT id, order_ref, door, code, canonical, code_id, partner_id, reason, detail, source, event_id, times,
            occurred_at, last_occurred_at FROM rejections
     WHERE $12 = 'program' AND (program_id, occurred_at, id) < ($1, $8, $9) AND (program_id, occurred_at) >= ($1, $7)
     ORDER BY program_id DESC, occurred_at DESC, id DESC LIMIT $11)
), chosen AS (
    SELECT * FROM scanned
    WHERE ($2::text IS NULL OR order_ref = $2) AND ($3::text IS NULL OR canonical = $3)
      AND ($4::uuid IS NULL OR partner_id = $4) AND ($5::text IS NULL OR reason = $5)
      AND ($6::text IS NULL OR door = $6)
    ORDER BY occurred_at DESC, id DESC LIMIT $10
), mark AS (
    SELECT * FROM scanned ORDER BY occurred_at, id LIMIT 1
)
SELECT id, order_ref, door, code, code_id, partner_id, reason, detail, source, event_id, times, occurred_at,
       coalesce(last_occurred_at, occurred_at) AS last_occurred_at, false AS is_mark
FROM chosen
UNION ALL
SELECT id, order_ref, door, code, code_id, partner_id, reason, detail, source, event_id, times, occurred_at,
       coalesce(last_occurred_at, occurred_at), true
FROM mark WHERE (SELECT count(*) FROM scanned) = $11
"""


class RejectionRow(NamedTuple):
    """Why an order's code was refused, how often at once; the members stand in the order of the statement."""

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
    times: int = 1


async def insert_rejections(connection: Connection, rows: Sequence[RejectionRow], decided_at: datetime) -> None:
    """Write down why orders were refused; what is there already was refused once more."""
    distinct: dict[uuid.UUID, RejectionRow] = {}
    for row in rows:
        known = distinct.setdefault(row.id, row)
        if known is not row:
            distinct[row.id] = known._replace(times=known.times + row.times)
    columns = [list(column) for column in zip(*distinct.values(), strict=True)]
    await connection.execute(INSERT_REJECTIONS, *columns, decided_at)


async def list_rejections(
    connection: Connection, wanted: RejectionFilter, last: Place | None, limit: int, scanned: int = SCANNED_PER_PAGE
) -> RejectionPage:
    """Return up to `limit` refused tries after the last one of the page before, the latest first."""
    way = _way(wanted)
    end = (_LAST, _LAST_ID) if wanted.occurred_before is None else (wanted.occurred_before, _FIRST_ID)
    rows = await connection.fetch(
        LIST_REJECTIONS,
        wanted.program_id,
        wanted.order_ref,
        wanted.canonical,
        wanted.partner_id,
        wanted.reason,
        wanted.door,
        wanted.occurred_from or _FIRST,
        *(end if last is None else min(last, end)),
        limit + 1,
        limit + 1 if _is_all(wanted, way) else max(scanned, limit + 1),
        way,
    )
    found, mark = [], None
    for row in rows:
        members = dict(row)
        if members.pop("is_mark"):
            mark = row["occurred_at"], row["id"]
        else:
            found.append(Rejection(**members))
    found.sort(key=_place, reverse=True)
    if len(found) > limit:
        return RejectionPage(found[:limit], _place(found[limit - 1]))
    return RejectionPage(found, mark)


def _place(rejection: Rejection) -> Place:
    return rejection.occurred_at, rejection.id


def _ways(wanted: RejectionFilter) -> dict[str, object]:
    return {"order": wanted.order_ref, "code": wanted.canonical, "partner": wanted.partner_id}


def _way(wanted: RejectionFilter) -> str:
    """Return what is looked along: the narrowest of what is asked for."""
    return next((way for way, member in _ways(wanted).items() if member is not None), "program")


def _is_all(wanted: RejectionFilter, way: str) -> bool:
    """Whether all that lies along the way is wanted, but for what the time leaves out."""
    if wanted.reason is not None or wanted.door is not None:
        return False
    return all(member is None or name == way for name, member in _ways(wanted).items())
