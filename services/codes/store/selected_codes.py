"""The way through many codes: page after page of one coupon's codes by id, then the next coupon's.

A page looks at a bounded number of codes, whatever is asked for and however few fit: no statement grows with the table.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.codes.domain.code_selection import CodeSelection, SelectedCode
from shared.database.pool import Connection

# The parameters that are null drop out of a plan made for them, and the index that is left decides; a plan for any
# parameters could use none.
PLAN_FOR_THESE = "SET LOCAL plan_cache_mode = 'force_custom_plan'"
NEXT_COUPON = """
SELECT id, uuid_code FROM coupons
WHERE program_id = $1 AND ($2::uuid IS NULL OR id >= $2) AND ($3::uuid IS NULL OR id = $3)
ORDER BY id LIMIT 1
"""
PAGE_OF_IDS = """
WITH scanned AS MATERIALIZED (
    SELECT id, is_active, created_at, expires_at FROM promotion_codes
    WHERE coupon_id = $1 AND id > $2 AND archived_at IS NULL AND ($3::uuid IS NULL OR partner_id = $3)
      AND ($4::text IS NULL OR program_id = $14 AND customer_id = $4) AND ($5::uuid IS NULL OR batch_id = $5)
      AND ($12::text IS NULL OR program_id = $14 AND external_id = $12)
      AND ($13::text IS NULL OR program_id = $14 AND canonical = $13)
    ORDER BY id LIMIT $11)
SELECT id, false AS is_mark FROM scanned
WHERE ($6::boolean IS NULL OR is_active = $6)
  AND ($7::timestamptz IS NULL OR created_at >= $7) AND ($8::timestamptz IS NULL OR created_at <= $8)
  AND ($9::timestamptz IS NULL OR expires_at >= $9) AND ($10::timestamptz IS NULL OR expires_at < $10)
UNION ALL
SELECT (array_agg(id ORDER BY id DESC))[1], true FROM scanned HAVING count(*) = $11
"""
READ_CODES = """
SELECT id, code, external_id, is_active, starts_at, expires_at, redemption_limit, is_first_order_only, minimum_minor,
       minimum_currency, customer_id, customer_name, partner_id, is_limited_to_partner, commission_hundredths,
       metadata, times_redeemed, batch_id, created_at, updated_at
FROM promotion_codes WHERE id = ANY ($1::uuid[]) ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class IdPage:
    """Ids of codes that fit, in order, and after which id to go on; None at the end of the coupon."""

    ids: Sequence[uuid.UUID]
    next_after: uuid.UUID | None


async def plan_for_these(connection: Connection) -> None:
    """Let the statements of this transaction be planned for their parameters."""
    await connection.execute(PLAN_FOR_THESE)


async def next_coupon(
    connection: Connection, program_id: uuid.UUID, start: uuid.UUID | None, only: uuid.UUID | None
) -> tuple[uuid.UUID, str] | None:
    """Return id and `uuid_code` of the first coupon from an id on, archived ones too; None behind the last."""
    row = await connection.fetchrow(NEXT_COUPON, program_id, start, only)
    return (row["id"], row["uuid_code"]) if row else None


async def page_of_ids(
    connection: Connection,
    program_id: uuid.UUID,
    coupon_id: uuid.UUID,
    after: uuid.UUID,
    wanted: CodeSelection,
    scanned: int,
) -> IdPage:
    """Look at `scanned` codes of a coupon behind an id and return those that fit."""
    rows = await connection.fetch(
        PAGE_OF_IDS,
        coupon_id,
        after,
        wanted.partner_id,
        wanted.customer_id,
        wanted.batch_id,
        wanted.is_active,
        wanted.created_from,
        wanted.created_until,
        wanted.expires_from,
        wanted.expires_before,
        scanned,
        wanted.external_id,
        wanted.canonical,
        program_id,
    )
    ids = [row["id"] for row in rows if not row["is_mark"]]
    return IdPage(sorted(ids), next((row["id"] for row in rows if row["is_mark"]), None))


async def read_codes(connection: Connection, ids: Sequence[uuid.UUID]) -> list[SelectedCode]:
    """Read codes in order of their ids."""
    rows: list[Any] = await connection.fetch(READ_CODES, ids)
    return [SelectedCode(*row) for row in rows]
