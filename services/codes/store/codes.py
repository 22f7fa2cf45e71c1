"""A partner's promotion codes, read as the partner sees them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.codes.domain.codes import CodeStatus, IssuedCode
from shared.database.pool import Connection

# A page looks at a bounded number of codes, so that a rare status costs no more among ten million codes than among
# a hundred; a page can therefore be short, or even empty, without being the last.
SCANNED_PER_PAGE = 1_000
_LAST_ID = uuid.UUID(int=2**128 - 1)

# The partner's coupons come first, from one to the next by the index: few, however many codes there are. Why by bounds
# and not by equal signs is said in `store.promotion_codes`. OFFSET 0 keeps the lookups one by one.
LIST_CODES = """
WITH RECURSIVE coupon AS (
    (SELECT coupon_id FROM promotion_codes
     WHERE partner_id >= $1 AND partner_id <= $1 AND archived_at IS NULL ORDER BY partner_id, coupon_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.coupon_id FROM promotion_codes c
            WHERE (c.partner_id, c.coupon_id) > ($1, k.coupon_id) AND c.partner_id <= $1 AND c.archived_at IS NULL
            ORDER BY c.partner_id, c.coupon_id LIMIT 1)
    FROM coupon k WHERE k.coupon_id IS NOT NULL
), scanned AS (
    SELECT c.id
    FROM coupon k CROSS JOIN LATERAL (
        SELECT id FROM promotion_codes
        WHERE (partner_id, coupon_id, id) < ($1, k.coupon_id, $2) AND (partner_id, coupon_id) >= ($1, k.coupon_id)
          AND partner_id IS NOT NULL AND archived_at IS NULL
        ORDER BY partner_id DESC, coupon_id DESC, id DESC LIMIT $6) c
    ORDER BY c.id DESC LIMIT $6
), judged AS (
    SELECT c.id, c.code, g.link_url,
           CASE WHEN c.times_redeemed >= coalesce(c.redemption_limit, k.code_redemption_limit) THEN 'redeemed'
                WHEN NOT c.is_active OR NOT k.is_active THEN 'inactive'
                WHEN least(c.expires_at, k.expires_at) <= $4 THEN 'expired'
                ELSE 'active' END AS status,
           c.times_redeemed, coalesce(c.redemption_limit, k.code_redemption_limit) AS redemption_limit,
           c.last_redeemed_at, least(c.expires_at, k.expires_at) AS expires_at, c.created_at
    FROM scanned s CROSS JOIN LATERAL (
        SELECT id, coupon_id, program_id, code, is_active, times_redeemed, redemption_limit, last_redeemed_at,
               expires_at, created_at
        FROM promotion_codes WHERE id = s.id OFFSET 0) c
    JOIN coupons k ON k.id = c.coupon_id JOIN programs g ON g.id = c.program_id
), chosen AS (
    SELECT * FROM judged WHERE $3::text IS NULL OR status = $3 ORDER BY id DESC LIMIT $5
)
SELECT id, code, link_url, status, times_redeemed, redemption_limit, last_redeemed_at, expires_at, created_at,
       false AS is_mark
FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
FROM scanned HAVING count(*) = $6
"""
FIND_CODE = """
SELECT c.id, c.code, g.link_url,
       CASE WHEN c.times_redeemed >= coalesce(c.redemption_limit, k.code_redemption_limit) THEN 'redeemed'
            WHEN NOT c.is_active OR NOT k.is_active THEN 'inactive'
            WHEN least(c.expires_at, k.expires_at) <= $4 THEN 'expired'
            ELSE 'active' END AS status,
       c.times_redeemed, coalesce(c.redemption_limit, k.code_redemption_limit) AS redemption_limit,
       c.last_redeemed_at, least(c.expires_at, k.expires_at) AS expires_at, c.created_at
FROM promotion_codes c JOIN coupons k ON k.id = c.coupon_id JOIN programs g ON g.id = c.program_id
WHERE c.program_id = $1 AND c.canonical = $2 AND c.archived_at IS NULL AND c.partner_id = $3
"""


@dataclass(frozen=True, slots=True)
class CodePage:
    """Codes, newest first, and after which id to go on; None at the end."""

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
    # Without a status to look for, what is scanned is what is returned.
    bound = limit + 1 if status is None else max(scanned, limit + 1)
    rows = await connection.fetch(LIST_CODES, partner_id, after or _LAST_ID, status, now, limit + 1, bound)
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


def _code(row: Any) -> IssuedCode:
    return IssuedCode(
        id=row["id"],
        code=row["code"],
        link_url=row["link_url"],
        status=row["status"],
        times_redeemed=row["times_redeemed"],
        limit=row["redemption_limit"],
        last_redeemed_at=row["last_redeemed_at"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
    )
