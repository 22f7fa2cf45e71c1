"""What accounts did at the dashboard, and refused tries: rows that nobody changes."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from services.dashboard.domain.accounts import Owner
from shared.accounts import Role
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who did what; `thing` is what it was done to, never a secret."""

    id: uuid.UUID
    at: datetime
    action: str
    result: Literal["done", "refused"] = "done"
    account_id: uuid.UUID | None = None
    actor: str
    role: Role | None = None
    program_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    thing: str = ""
    request_id: str
    network: str


INSERT_ENTRY = Statement("""
INSERT INTO activity (id, at, action, result, account_id, actor, role, program_id, partner_id, thing, request_id,
    network)
VALUES ($id, $at, $action, $result, $account_id, $actor, $role, $program_id, $partner_id, $thing, $request_id, $network)
""")
LIST_ENTRIES = """
SELECT id, at, action, result, account_id, actor, role, program_id, partner_id, thing, request_id, network
FROM activity WHERE (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3
"""
LIST_ENTRIES_OF = """
SELECT id, at, action, result, account_id, actor, role, program_id, partner_id, thing, request_id, network
FROM activity
WHERE program_id = $4 AND partner_id IS NOT DISTINCT FROM $5 AND (at, id) < ($1, $2)
ORDER BY at DESC, id DESC LIMIT $3
"""
PURGE_ACTIVITY = """
DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE at < $1 ORDER BY at LIMIT $2)
"""
_VALUES: Final = Values(INSERT_ENTRY.names, Entry)
_ENTRY: Final = Rows(Entry)


async def insert_entry(connection: Connection, entry: Entry) -> None:
    """Record an act."""
    await connection.execute(*INSERT_ENTRY(**_VALUES.of(entry)))


async def list_entries(
    connection: Connection, before: tuple[datetime, uuid.UUID], limit: int, owner: Owner | None = None
) -> list[Entry]:
    """Return entries, the newest first: everybody's, or those of one owner."""
    if owner is None:
        found = await connection.fetch(LIST_ENTRIES, *before, limit)
    else:
        found = await connection.fetch(LIST_ENTRIES_OF, *before, limit, owner.program_id, owner.partner_id)
    return [_ENTRY(row) for row in found]


async def purge_activity(connection: Connection, before: datetime, limit: int) -> int:
    """Remove old entries."""
    return affected(await connection.execute(PURGE_ACTIVITY, before, limit))
