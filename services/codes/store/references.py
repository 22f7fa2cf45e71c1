"""Codes by what their partners call them. `promotion_codes_reference` keeps a name to one live code of its partner."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from shared.database.pool import Connection

# OFFSET 0 keeps the lookups one by one, down the index of references. A partner that is not active finds nothing: the
# mint refuses it by the row that it locks, and leaves what is there to the next look.
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
    """A live code that its partner has named, and what the partner has left of its quota."""

    code: str
    link_url: str
    expires_at: datetime | None
    remaining: int


async def find_referenced(
    connection: Connection, wanted: Collection[tuple[uuid.UUID, str]]
) -> dict[tuple[uuid.UUID, str], ReferencedCode]:
    """Return the codes that active partners have named so, by (partner, reference)."""
    rows = await connection.fetch(FIND_REFERENCED, [pair[0] for pair in wanted], [pair[1] for pair in wanted])
    return {
        (row["partner_id"], row["reference"]): ReferencedCode(
            row["code"], row["link_url"], row["expires_at"], row["remaining"]
        )
        for row in rows
    }


async def find_active(connection: Connection, partner_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return which partners may be given codes now."""
    return {row["id"] for row in await connection.fetch(FIND_ACTIVE, list(partner_ids))}
