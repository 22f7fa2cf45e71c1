"""A partner's promotion codes, as the partner sees them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from services.codes.domain.codes import IssuedCode
from shared.database.pool import Connection
from shared.database.rows import Rows

READ_ISSUED = """
SELECT c.id, c.code, g.link_url,
       CASE WHEN c.times_redeemed >= coalesce(c.redemption_limit, k.code_redemption_limit) THEN 'redeemed'
            WHEN NOT c.is_active OR NOT k.is_active THEN 'inactive'
            WHEN least(c.expires_at, k.expires_at) <= $3 THEN 'expired'
            ELSE 'active' END AS status,
       c.times_redeemed, c.last_redeemed_at, least(c.expires_at, k.expires_at) AS expires_at, c.created_at, c.reference
FROM promotion_codes c JOIN coupons k ON k.id = c.coupon_id JOIN programs g ON g.id = c.program_id
WHERE c.id = ANY ($2::uuid[]) AND c.partner_id = $1 AND c.archived_at IS NULL
"""
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
SELECT id FROM promotion_codes
WHERE partner_id = $1 AND reference = $2 AND reference IS NOT NULL AND archived_at IS NULL
"""


async def read_issued(
    connection: Connection, partner_id: uuid.UUID, ids: Sequence[uuid.UUID], now: datetime
) -> list[IssuedCode]:
    """Read those of a partner's live codes that have these ids, in this order."""
    if not ids:
        return []
    found = {row["id"]: _code(row) for row in await connection.fetch(READ_ISSUED, partner_id, ids, now)}
    return [found[code_id] for code_id in ids if code_id in found]


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


async def find_reference(connection: Connection, partner_id: uuid.UUID, reference: str) -> uuid.UUID | None:
    """Find the live code with a partner's reference."""
    found: uuid.UUID | None = await connection.fetchval(FIND_REFERENCE, partner_id, reference)
    return found


_code: Final = Rows(IssuedCode)
