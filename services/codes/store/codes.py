"""A partner's promotion codes, as the partner sees them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.codes.domain.codes import CodeStatus, IssuedCode
from services.codes.store.pages import MOST_COUPONS
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement
from shared.known_ids import LAST_ID

# A page reads a bounded number of codes, so that a rare status costs no more among ten million codes than among
# a hundred; a page can therefore be short, or even empty, without being the last.
SCANNED_PER_PAGE = 500

# The partner's coupons come first, from one to the next by the index; if there are many, its codes are searched among
# those of its program. `store.promotion_codes` has the reasons, also for bounds instead of equal signs. OFFSET 0 forces
# one lookup at a time.
LIST_CODES = Statement("""
WITH RECURSIVE coupon AS (
    (SELECT coupon_id FROM promotion_codes
     WHERE partner_id >= $partner AND partner_id <= $partner AND archived_at IS NULL
     ORDER BY partner_id, coupon_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.coupon_id FROM promotion_codes c
            WHERE (c.partner_id, c.coupon_id) > ($partner, k.coupon_id) AND c.partner_id <= $partner
              AND c.archived_at IS NULL
            ORDER BY c.partner_id, c.coupon_id LIMIT 1)
    FROM coupon k WHERE k.coupon_id IS NOT NULL
), few AS MATERIALIZED (
    SELECT coupon_id FROM coupon WHERE coupon_id IS NOT NULL LIMIT $most_coupons + 1
), share AS MATERIALIZED (
    SELECT greatest($limit::bigint, $scanned::bigint / greatest(1, count(*))) AS size FROM few
), scanned AS MATERIALIZED (
    SELECT c.id, true AS is_own, c.place = (SELECT size FROM share) AS is_last
    FROM few k CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id FROM promotion_codes
            WHERE (partner_id, coupon_id, id) < ($partner, k.coupon_id, $before)
              AND (partner_id, coupon_id) >= ($partner, k.coupon_id)
              AND partner_id IS NOT NULL AND archived_at IS NULL
            ORDER BY partner_id DESC, coupon_id DESC, id DESC LIMIT (SELECT size FROM share)) n) c
    WHERE (SELECT count(*) FROM few) <= $most_coupons
    UNION ALL
    SELECT id, is_own, place = greatest($limit::bigint, $most_other) FROM (
        SELECT id, is_own, row_number() OVER (ORDER BY id DESC) AS place FROM (
            SELECT id, partner_id IS NOT DISTINCT FROM $partner AS is_own FROM promotion_codes
            WHERE (SELECT count(*) FROM few) > $most_coupons
              AND (program_id, id) < ((SELECT program_id FROM partners WHERE id = $partner), $before)
              AND program_id >= (SELECT program_id FROM partners WHERE id = $partner) AND archived_at IS NULL
            ORDER BY program_id DESC, id DESC LIMIT greatest($limit::bigint, $most_other)) n) c
), mark AS MATERIALIZED (
    SELECT id FROM scanned WHERE is_last ORDER BY id DESC LIMIT 1
), judged AS (
    SELECT c.id, c.code, g.link_url,
           CASE WHEN c.times_redeemed >= coalesce(c.redemption_limit, k.code_redemption_limit) THEN 'redeemed'
                WHEN NOT c.is_active OR NOT k.is_active THEN 'inactive'
                WHEN least(c.expires_at, k.expires_at) <= $now THEN 'expired'
                ELSE 'active' END AS status,
           c.times_redeemed, c.last_redeemed_at, least(c.expires_at, k.expires_at) AS expires_at, c.created_at,
           c.reference
    FROM (SELECT s.id FROM scanned s WHERE s.is_own AND NOT EXISTS (SELECT FROM mark m WHERE s.id < m.id)) s
    CROSS JOIN LATERAL (
        SELECT id, coupon_id, program_id, code, is_active, times_redeemed, redemption_limit, last_redeemed_at,
               expires_at, created_at, reference
        FROM promotion_codes WHERE id = s.id OFFSET 0) c
    CROSS JOIN LATERAL (
        SELECT code_redemption_limit, is_active, expires_at FROM coupons WHERE id = c.coupon_id OFFSET 0) k
    CROSS JOIN LATERAL (SELECT link_url FROM programs WHERE id = c.program_id OFFSET 0) g
), chosen AS (
    SELECT * FROM judged WHERE $status::text IS NULL OR status = $status ORDER BY id DESC LIMIT $limit
)
SELECT id, code, link_url, status, times_redeemed, last_redeemed_at, expires_at, created_at, reference,
       false AS is_mark
FROM chosen
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM mark
""")
FIND_CODE = """
SELECT c.id, c.code, g.link_url,
       CASE WHEN c.times_redeemed >= coalesce(c.redemption_limit, k.code_redemption_limit) THEN 'redeemed'
            WHEN NOT c.is_active OR NOT k.is_active THEN 'inactive'
            WHEN least(c.expires_at, k.expires_at) <= $4 THEN 'expired'
            ELSE 'active' END AS status,
       c.times_redeemed, c.last_redeemed_at, least(c.expires_at, k.expires_at) AS expires_at, c.created_at, c.reference
FROM promotion_codes c JOIN coupons k ON k.id = c.coupon_id JOIN programs g ON g.id = c.program_id
WHERE c.program_id = $1 AND c.canonical = $2 AND c.archived_at IS NULL AND c.partner_id = $3
"""
FIND_CANONICAL = """
SELECT canonical FROM promotion_codes WHERE id = $1 AND partner_id = $2 AND archived_at IS NULL
"""
FIND_REFERENCE = """
SELECT program_id, canonical FROM promotion_codes
WHERE partner_id = $1 AND reference = $2 AND reference IS NOT NULL AND archived_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class CodePage:
    """Codes, newest first, and the id to continue after; None at the end."""

    codes: list[IssuedCode]
    next_after: uuid.UUID | None


async def list_codes(
    connection: Connection,
    partner_id: uuid.UUID,
    after: uuid.UUID | None,
    status: CodeStatus | None,
    limit: int,
    now: datetime,
    scanned: int = SCANNED_PER_PAGE,
) -> CodePage:
    """Read up to `limit` codes of a partner that have the status at `now`, older than `after`."""
    # Without a status, every code that is read is returned.
    bound = limit + 1 if status is None else max(scanned, limit + 1)
    rows = await connection.fetch(
        *LIST_CODES(
            partner=partner_id,
            before=after or LAST_ID,
            status=status,
            now=now,
            limit=limit + 1,
            scanned=bound,
            most_coupons=MOST_COUPONS,
            most_other=scanned,
        )
    )
    codes = sorted((_code(row) for row in rows if not row["is_mark"]), key=lambda code: code.id, reverse=True)
    if len(codes) > limit:
        return CodePage(codes[:limit], codes[limit - 1].id)
    return CodePage(codes, next((row["id"] for row in rows if row["is_mark"]), None))


async def find_code(
    connection: Connection, program_id: uuid.UUID, partner_id: uuid.UUID, canonical: str, now: datetime
) -> IssuedCode | None:
    """Read one live code of a partner by its canonical form."""
    row = await connection.fetchrow(FIND_CODE, program_id, canonical, partner_id, now)
    return _code(row) if row else None


async def find_canonical(connection: Connection, partner_id: uuid.UUID, code_id: uuid.UUID) -> str | None:
    """Return the canonical form of the live code of a partner with this id."""
    found: str | None = await connection.fetchval(FIND_CANONICAL, code_id, partner_id)
    return found


async def find_reference(
    connection: Connection, partner_id: uuid.UUID, reference: str, now: datetime
) -> IssuedCode | None:
    """Read the live code with a partner's reference."""
    row = await connection.fetchrow(FIND_REFERENCE, partner_id, reference)
    return await find_code(connection, row["program_id"], partner_id, row["canonical"], now) if row else None


_code: Final = Rows(IssuedCode)
