"""The audit log: written in the transaction of each change, read page by page, never changed; the old end goes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.codes.domain.access import Actor
from services.codes.domain.audit import AuditEntry, AuditFilter
from services.codes.store.pages import LAST_ID
from shared.database.pool import Connection
from shared.ids import new_id
from shared.modes import in_mode

# As in the lists of codes, a page looks at a bounded number of entries and can be short before the end.
SCANNED_PER_PAGE = 5_000

INSERT_ENTRY = """
INSERT INTO audit_log (id, program_id, actor, action, object_type, object_id, changes, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
# One of the four ways is taken, by the narrowest of what is asked for; the others are not even begun. Why by bounds
# and not by equal signs is said in `store.promotion_codes`.
LIST_ENTRIES = """
WITH scanned AS (
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $1 = 'object' AND (object_id, id) < ($2, $9) AND object_id >= $2
     ORDER BY object_id DESC, id DESC LIMIT $11)
    UNION ALL
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $1 = 'actor' AND (actor, id) < ($3, $9) AND actor >= $3 ORDER BY actor DESC, id DESC LIMIT $11)
    UNION ALL
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $1 = 'program' AND (program_id, id) < ($4, $9) AND program_id >= $4
     ORDER BY program_id DESC, id DESC LIMIT $11)
    UNION ALL
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $1 = 'all' AND id < $9 ORDER BY id DESC LIMIT $11)
), chosen AS (
    SELECT * FROM scanned
    WHERE ($4::uuid IS NULL OR program_id = $4) AND ($2::uuid IS NULL OR object_id = $2)
      AND ($3::text IS NULL OR actor = $3) AND ($5::text IS NULL OR object_type = $5)
      AND ($6::text IS NULL OR action = $6) AND ($7::timestamptz IS NULL OR created_at >= $7)
      AND ($8::timestamptz IS NULL OR created_at < $8)
    ORDER BY id DESC LIMIT $10
)
SELECT id, program_id, actor, action, object_type, object_id, changes, created_at, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
FROM scanned HAVING count(*) = $11
"""

PURGE_ENTRIES = "SELECT purge_audit_log($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first, and after which id to go on; None at the end."""

    entries: list[AuditEntry]
    next_after: uuid.UUID | None


async def record(
    connection: Connection,
    actor: Actor,
    program_id: uuid.UUID,
    action: str,
    object_id: uuid.UUID,
    changes: Mapping[str, Any],
    now: datetime,
) -> None:
    """Write one entry, inside the transaction of the change; an action begins with the kind of its object."""
    await connection.execute(
        INSERT_ENTRY,
        new_id(),
        program_id,
        actor.name,
        action,
        action.partition(".")[0],
        # A partner goes by the id that callers know; the tenant of the program says in which mode.
        in_mode(object_id, test=False),
        orjson.dumps(changes).decode(),
        now,
    )


async def list_entries(connection: Connection, wanted: AuditFilter, after: uuid.UUID | None, limit: int) -> AuditPage:
    """Read up to `limit` entries that fit, older than `after`."""
    rest = (wanted.object_type, wanted.action, wanted.since, wanted.until)
    is_exact = not any(member is not None for member in (*rest, wanted.object_id, wanted.actor))
    rows = await connection.fetch(
        LIST_ENTRIES,
        _way(wanted),
        wanted.object_id,
        wanted.actor,
        wanted.program_id,
        *rest,
        after or LAST_ID,
        limit + 1,
        limit + 1 if is_exact else max(SCANNED_PER_PAGE, limit + 1),
    )
    entries = sorted((_entry(row) for row in rows if not row["is_mark"]), key=lambda entry: entry.id, reverse=True)
    if len(entries) > limit:
        return AuditPage(entries[:limit], entries[limit - 1].id)
    return AuditPage(entries, next((row["id"] for row in rows if row["is_mark"]), None))


async def purge_entries(connection: Connection, bound: uuid.UUID, before: datetime, limit: int) -> int:
    """Remove up to `limit` entries made before a time; `bound` is the earliest id of that time."""
    removed: int = await connection.fetchval(PURGE_ENTRIES, bound, before, limit)
    return removed


def _way(wanted: AuditFilter) -> str:
    if wanted.object_id is not None:
        return "object"
    if wanted.actor is not None:
        return "actor"
    return "program" if wanted.program_id is not None else "all"


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        id=row["id"],
        program_id=row["program_id"],
        actor=row["actor"],
        action=row["action"],
        object_type=row["object_type"],
        object_id=row["object_id"],
        changes=orjson.loads(row["changes"]),
        created_at=row["created_at"],
    )
