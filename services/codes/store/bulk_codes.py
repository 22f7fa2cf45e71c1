"""Changes of many codes at once; each statement skips codes that need no change, and returns what it changed."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime

from services.codes.domain.bulk import BulkDraft
from shared.database.pool import Connection, affected

# Locked in the order of their ids, as in every statement that changes many codes.
LOCK_CODES = """
SELECT id FROM promotion_codes
WHERE id = ANY ($1::uuid[]) AND program_id = $2 AND archived_at IS NULL ORDER BY id FOR NO KEY UPDATE
"""
FIND_CODES = """
SELECT id FROM promotion_codes WHERE id = ANY ($1::uuid[]) AND program_id = $2 AND archived_at IS NULL
"""
SET_ACTIVE = """
UPDATE promotion_codes SET is_active = $3, updated_at = $2 WHERE id = ANY ($1::uuid[]) AND is_active <> $3
"""
EXPIRE = """
UPDATE promotion_codes SET expires_at = $2, updated_at = $2
WHERE id = ANY ($1::uuid[]) AND (expires_at IS NULL OR expires_at > $2)
"""
EXTEND_TO = """
UPDATE promotion_codes SET expires_at = $3, updated_at = $2 WHERE id = ANY ($1::uuid[]) AND expires_at < $3
"""
EXTEND_BY = """
UPDATE promotion_codes
SET expires_at = least(expires_at + make_interval(secs => $3), timestamptz '9998-12-31 23:59:59+00'), updated_at = $2
WHERE id = ANY ($1::uuid[]) AND expires_at < timestamptz '9998-12-31 23:59:59+00'
"""
ASSIGN = """
UPDATE promotion_codes SET partner_id = $3, reference = NULL, updated_at = $2
WHERE id = ANY ($1::uuid[]) AND partner_id IS DISTINCT FROM $3
"""
ARCHIVE = "UPDATE promotion_codes SET archived_at = $2, updated_at = $2 WHERE id = ANY ($1::uuid[])"


async def lock_codes(connection: Connection, ids: Sequence[uuid.UUID], program_id: uuid.UUID) -> Sequence[uuid.UUID]:
    """Lock and return those of the codes that are live codes of a program."""
    return [row["id"] for row in await connection.fetch(LOCK_CODES, ids, program_id)]


async def find_codes(
    connection: Connection, ids: Collection[uuid.UUID], program_id: uuid.UUID
) -> Collection[uuid.UUID]:
    """Return those of the ids that are live codes of a program."""
    return {row["id"] for row in await connection.fetch(FIND_CODES, list(ids), program_id)}


async def change_codes(connection: Connection, draft: BulkDraft, ids: Sequence[uuid.UUID], now: datetime) -> int:
    """Do the action to locked codes and return how many it changed."""
    match draft.action:
        case "activate" | "deactivate":
            status = await connection.execute(SET_ACTIVE, ids, now, draft.action == "activate")
        case "expire":
            status = await connection.execute(EXPIRE, ids, now)
        case "extend" if draft.expires_at is not None:
            status = await connection.execute(EXTEND_TO, ids, now, draft.expires_at)
        case "extend":
            status = await connection.execute(EXTEND_BY, ids, now, float(draft.extend_seconds or 0))
        case "assign":
            status = await connection.execute(ASSIGN, ids, now, draft.partner_id)
        case "archive":
            status = await connection.execute(ARCHIVE, ids, now)
    return affected(status)
