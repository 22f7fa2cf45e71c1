"""Codes by their partners' references. `promotion_codes_reference` allows one live code per partner and reference."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from shared.database.pool import Connection

# OFFSET 0 forces one lookup at a time by the index of references. An inactive partner finds nothing: the mint refuses
# it by the locked row, and a later lookup finds the existing code.
FIND_REFERENCED = """
SELECT r.partner_id, r.reference, c.code, g.link_url, c.expires_at,
       p.quota_granted + p.quota_adjusted - p.quota_minted + p.quota_refunded AS remaining
FROM unnest($1::uuid[], $2::text[]) AS r (partner_id, reference)
CROSS JOIN LATERAL (
    SELECT code, program_id, expires_at FROM promotion_codes
    WHERE partner_id = r.partner_id AND reference = r.reference AND reference IS NOT NULL AND archived_at IS NULL
    OFFSET 0) c
JOIN partners p ON p.id = r.partner_id AND p.status = 'active' JOIN programs g ON g.id = c.program_id
"""
FIND_ACTIVE = "SELECT id FROM partners WHERE id = ANY ($1::uuid[]) AND status = 'active'"


class ReferencedCode(NamedTuple):
    """A live code with its partner's reference, and the partner's remaining quota."""

    code: str
    link_url: str
    expires_at: datetime | None
    remaining: int


async def find_referenced(
    connection: Connection, wanted: Collection[tuple[uuid.UUID, str]]
) -> dict[tuple[uuid.UUID, str], ReferencedCode]:
    """Return the codes of active partners, by (partner, reference)."""
    rows = await connection.fetch(FIND_REFERENCED, [pair[0] for pair in wanted], [pair[1] for pair in wanted])
    return {
        (row["partner_id"], row["reference"]): ReferencedCode(
            row["code"], row["link_url"], row["expires_at"], row["remaining"]
        )
        for row in rows
    }


async def find_active(connection: Connection, partner_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return the partners that may receive codes now."""
    return {row["id"] for row in await connection.fetch(FIND_ACTIVE, list(partner_ids))}
