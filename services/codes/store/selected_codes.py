"""The order of reading many codes: one coupon's codes by id, page by page, then the next coupon's.

A page reads a bounded number of codes, whatever the filter and however few match: no statement grows with the table.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.codes.domain.code_selection import CodeSelection, SelectedCode
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.known_ids import FIRST_ID

# Unused branches and null parameters drop out of a plan made for these parameters; a generic plan would have to keep
# them all.
PLAN_FOR_THESE = "SET LOCAL plan_cache_mode = 'force_custom_plan'"
# For the reason of bounds instead of equal signs see `store.code_lists`.
NEXT_COUPON = """
(SELECT id, uuid_code FROM coupons WHERE $3::uuid IS NOT NULL AND id = $3 AND program_id = $1 AND id >= $2)
UNION ALL
(SELECT id, uuid_code FROM coupons
 WHERE $3::uuid IS NULL AND (program_id, id) >= ($1, $2) AND program_id <= $1 ORDER BY program_id, id LIMIT 1)
"""
# One of the branches runs, that of the narrowest given filter. For the reason of bounds instead of equal signs see
# `store.code_lists`; a string or an external id has at most one live code.
PAGE_OF_IDS = Statement("""
WITH scanned AS MATERIALIZED (
    (SELECT id FROM promotion_codes
     WHERE $way = 'canonical' AND program_id = $program AND canonical = $canonical AND archived_at IS NULL
       AND id > $after LIMIT $scanned)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $way = 'external_id' AND program_id = $program AND external_id = $external_id AND external_id IS NOT NULL
       AND archived_at IS NULL AND id > $after LIMIT $scanned)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $way = 'customer' AND (program_id, customer_id, id) > ($program, $customer_id, $after)
       AND (program_id, customer_id) <= ($program, $customer_id)
       AND customer_id IS NOT NULL AND archived_at IS NULL
     ORDER BY program_id, customer_id, id LIMIT $scanned)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $way = 'batch' AND (batch_id, id) > ($batch_id, $after) AND batch_id <= $batch_id AND batch_id IS NOT NULL
     ORDER BY batch_id, id LIMIT $scanned)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $way = 'partner' AND (partner_id, coupon_id, id) > ($partner_id, $coupon, $after)
       AND (partner_id, coupon_id) <= ($partner_id, $coupon)
       AND partner_id IS NOT NULL AND archived_at IS NULL
     ORDER BY partner_id, coupon_id, id LIMIT $scanned)
    UNION ALL
    (SELECT id FROM promotion_codes
     WHERE $way = 'coupon' AND (coupon_id, id) > ($coupon, $after) AND coupon_id <= $coupon AND archived_at IS NULL
     ORDER BY coupon_id, id LIMIT $scanned)
)
SELECT s.id, false AS is_mark
FROM scanned s
CROSS JOIN LATERAL (
    SELECT coupon_id, partner_id, customer_id, batch_id, external_id, canonical, is_active, created_at, expires_at,
           archived_at
    FROM promotion_codes WHERE id = s.id OFFSET 0) c
WHERE c.coupon_id = $coupon AND c.archived_at IS NULL AND ($partner_id::uuid IS NULL OR c.partner_id = $partner_id)
  AND ($customer_id::text IS NULL OR c.customer_id = $customer_id)
  AND ($batch_id::uuid IS NULL OR c.batch_id = $batch_id)
  AND ($external_id::text IS NULL OR c.external_id = $external_id)
  AND ($canonical::text IS NULL OR c.canonical = $canonical)
  AND ($is_active::boolean IS NULL OR c.is_active = $is_active)
  AND ($created_from::timestamptz IS NULL OR c.created_at >= $created_from)
  AND ($created_until::timestamptz IS NULL OR c.created_at <= $created_until)
  AND ($expires_from::timestamptz IS NULL OR c.expires_at >= $expires_from)
  AND ($expires_before::timestamptz IS NULL OR c.expires_at < $expires_before)
UNION ALL
SELECT (array_agg(id ORDER BY id DESC))[1], true FROM scanned HAVING count(*) = $scanned
""")
COUPON_OF_BATCH = """
SELECT program_id, coupon_id FROM promotion_codes WHERE batch_id >= $1 AND batch_id <= $1 ORDER BY batch_id, id LIMIT 1
"""
READ_CODES = """
SELECT id, code, external_id, is_active, starts_at, expires_at, redemption_limit, is_first_order_only, minimum_minor,
       minimum_currency, customer_id, customer_name, partner_id, is_limited_to_partner, commission_hundredths,
       metadata, times_redeemed, batch_id, created_at, updated_at, opening_uses
FROM promotion_codes WHERE id = ANY ($1::uuid[]) ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class IdPage:
    """Ids of matching codes, in order, and the id to continue after; None at the end of the coupon."""

    ids: Sequence[uuid.UUID]
    next_after: uuid.UUID | None


async def plan_for_these(connection: Connection) -> None:
    """Have the statements of this transaction planned for their parameters."""
    await connection.execute(PLAN_FOR_THESE)


async def coupon_of_batch(connection: Connection, program_id: uuid.UUID, batch_id: uuid.UUID) -> uuid.UUID | None:
    """Return the coupon of a batch's codes; None if there are none."""
    row = await connection.fetchrow(COUPON_OF_BATCH, batch_id)
    return row["coupon_id"] if row and row["program_id"] == program_id else None


async def next_coupon(
    connection: Connection, program_id: uuid.UUID, start: uuid.UUID | None, only: uuid.UUID | None
) -> tuple[uuid.UUID, str] | None:
    """Return id and `uuid_code` of the first coupon from an id on, archived or not; None after the last."""
    row = await connection.fetchrow(NEXT_COUPON, program_id, start or FIRST_ID, only)
    return (row["id"], row["uuid_code"]) if row else None


async def page_of_ids(
    connection: Connection,
    program_id: uuid.UUID,
    coupon_id: uuid.UUID,
    after: uuid.UUID,
    wanted: CodeSelection,
    scanned: int,
) -> IdPage:
    """Read `scanned` codes of a coupon after an id and return those that match."""
    rows = await connection.fetch(
        *PAGE_OF_IDS(
            **_WANTED.of(wanted),
            program=program_id,
            coupon=coupon_id,
            after=after,
            scanned=scanned,
            way=_way(wanted),
        )
    )
    ids = [row["id"] for row in rows if not row["is_mark"]]
    return IdPage(sorted(ids), next((row["id"] for row in rows if row["is_mark"]), None))


async def read_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[SelectedCode]:
    """Read codes in order of their ids."""
    rows: list[Any] = await connection.fetch(READ_CODES, ids)
    return [_selected(row) for row in rows]


def _way(wanted: CodeSelection) -> str:
    if wanted.canonical is not None:
        return "canonical"
    if wanted.external_id is not None:
        return "external_id"
    if wanted.customer_id is not None:
        return "customer"
    if wanted.batch_id is not None:
        return "batch"
    return "partner" if wanted.partner_id is not None else "coupon"


_WANTED: Final = Values(PAGE_OF_IDS.names, CodeSelection, *("program", "coupon", "after", "scanned", "way"))
_selected: Final = Rows(SelectedCode)
