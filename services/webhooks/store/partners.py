"""What the view published by the codes service says about partners, and what they own here."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.webhooks.domain.endpoints import Owned
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement

FIND_STATUS = """
SELECT status FROM codes.partner_v1 WHERE partner_id = $1 AND program_id = $2 AND archived_at IS NULL
"""
FIND_LIVE = Statement("""
SELECT program_id, partner_id FROM codes.partner_v1
WHERE (program_id, partner_id) IN (SELECT * FROM @r(program_id uuid, partner_id uuid)) AND archived_at IS NULL
""")
LIST_ARCHIVED = """
SELECT archived_at, partner_id FROM codes.partner_v1
WHERE archived_at IS NOT NULL AND (archived_at, partner_id) > ($1, $2)
ORDER BY archived_at, partner_id LIMIT $3
"""
LIST_OWNED = """
SELECT id, program_id, partner_id, listens_until IS NOT NULL AS is_listener
FROM endpoints WHERE owner_id = ANY($1::uuid[]) AND archived_at IS NULL
ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class ArchivedPartner:
    """An archived partner; partners are read in the order of these two members."""

    archived_at: datetime
    partner_id: uuid.UUID


_ARCHIVED: Final = Rows(ArchivedPartner)
_OWNED: Final = Rows(Owned)


async def status(connection: Connection, program_id: uuid.UUID, partner_id: uuid.UUID) -> str | None:
    """Return a partner's status; None if the program has no such partner, or has archived it."""
    found: str | None = await connection.fetchval(FIND_STATUS, partner_id, program_id)
    return found


async def find_live(
    connection: Connection, wanted: Collection[tuple[uuid.UUID, uuid.UUID]]
) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Return those pairs of program and partner that exist and are not archived."""
    pairs = {"program_id": [pair[0] for pair in wanted], "partner_id": [pair[1] for pair in wanted]}
    return {(row["program_id"], row["partner_id"]) for row in await connection.fetch(*FIND_LIVE(r=pairs))}


async def list_archived(connection: Connection, after: ArchivedPartner, limit: int) -> list[ArchivedPartner]:
    """Return the partners that were archived after another one, in that order."""
    rows = await connection.fetch(LIST_ARCHIVED, after.archived_at, after.partner_id, limit)
    return [_ARCHIVED(row) for row in rows]


async def list_owned(connection: Connection, partner_ids: Sequence[uuid.UUID]) -> list[Owned]:
    """Return the live endpoints and listeners of partners."""
    return [_OWNED(row) for row in await connection.fetch(LIST_OWNED, partner_ids)]
