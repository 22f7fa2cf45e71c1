"""The audit log: written in the transaction of each change, read page by page, never changed; old ones are removed."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from services.codes.domain.access import Actor
from services.codes.domain.audit import AuditEntry, AuditFilter
from shared.database.pool import Connection
from shared.database.rows import Rows, Statement, Values
from shared.ids import new_id
from shared.known_ids import LAST_ID
from shared.modes import in_mode

# As in the lists of codes, a page reads a bounded number of entries and can be short before the end.
SCANNED_PER_PAGE = 5_000

INSERT_ENTRY = Statement("""
INSERT INTO audit_log (id, program_id, actor, action, object_type, object_id, changes, created_at)
VALUES ($id, $program_id, $actor, $action, $object_type, $object_id, $changes, $created_at)
""")
# One of the four branches runs, that of the narrowest given filter; the others are not even started. For the reason
# of bounds instead of equal signs see `store.code_lists`.
LIST_ENTRIES = Statement("""
WITH scanned AS (
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $way = 'object' AND (object_id, id) < ($object_id, $before) AND object_id >= $object_id
     ORDER BY object_id DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $way = 'actor' AND (actor, id) < ($actor, $before) AND actor >= $actor
     ORDER BY actor DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $way = 'program' AND (program_id, id) < ($program_id, $before) AND program_id >= $program_id
     ORDER BY program_id DESC, id DESC LIMIT $scanned)
    UNION ALL
    (SELECT id, program_id, actor, action, object_type, object_id, changes, created_at FROM audit_log
     WHERE $way = 'all' AND id < $before ORDER BY id DESC LIMIT $scanned)
), chosen AS (
    SELECT * FROM scanned
    WHERE ($program_id::uuid IS NULL OR program_id = $program_id)
      AND ($object_id::uuid IS NULL OR object_id = $object_id)
      AND ($actor::text IS NULL OR actor = $actor) AND ($object_type::text IS NULL OR object_type = $object_type)
      AND ($action::text IS NULL OR action = $action) AND ($since::timestamptz IS NULL OR created_at >= $since)
      AND ($until::timestamptz IS NULL OR created_at < $until)
    ORDER BY id DESC LIMIT $limit
)
SELECT id, program_id, actor, action, object_type, object_id, changes, created_at, false AS is_mark FROM chosen
UNION ALL
SELECT (array_agg(id ORDER BY id))[1], NULL, NULL, NULL, NULL, NULL, NULL, NULL, true
FROM scanned HAVING count(*) = $scanned
""")

PURGE_ENTRIES = "SELECT purge_audit_log($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first, and the id to continue after; None at the end."""

    entries: list[AuditEntry]
    next_after: uuid.UUID | None


async def record(
    connection: Connection,
    actor: Actor,
    program_id: uuid.UUID,
    action: str,
    object_id: uuid.UUID,
    changes: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """Write one entry, inside the transaction of the change; an action begins with the kind of its object."""
    await connection.execute(
        *INSERT_ENTRY(
            id=new_id(),
            program_id=program_id,
            actor=actor.name,
            action=action,
            object_type=action.partition(".")[0],
            # A partner has the id that callers know; the tenant of the program gives the mode.
            object_id=in_mode(object_id, test=False),
            changes=orjson.dumps(changes).decode(),
            created_at=now,
        )
    )


async def list_entries(connection: Connection, wanted: AuditFilter, after: uuid.UUID | None, limit: int) -> AuditPage:
    """Read up to `limit` matching entries, older than `after`."""
    members = _WANTED.of(wanted)
    is_exact = not any(value is not None for name, value in members.items() if name != "program_id")
    rows = await connection.fetch(
        *LIST_ENTRIES(
            **members,
            way=_way(wanted),
            before=after or LAST_ID,
            limit=limit + 1,
            scanned=limit + 1 if is_exact else max(SCANNED_PER_PAGE, limit + 1),
        )
    )
    entries = sorted((_entry(row) for row in rows if not row["is_mark"]), key=lambda entry: entry.id, reverse=True)
    if len(entries) > limit:
        return AuditPage(entries[:limit], entries[limit - 1].id)
    return AuditPage(entries, next((row["id"] for row in rows if row["is_mark"]), None))


async def purge_entries(connection: Connection, bound: uuid.UUID, before: datetime, limit: int) -> int:
    """Remove up to `limit` entries from before a time; `bound` is the earliest id of that time."""
    removed: int = await connection.fetchval(PURGE_ENTRIES, bound, before, limit)
    return removed


def _way(wanted: AuditFilter) -> str:
    if wanted.object_id is not None:
        return "object"
    if wanted.actor is not None:
        return "actor"
    return "program" if wanted.program_id is not None else "all"


_entry: Final = Rows(AuditEntry, changes=orjson.loads)
_WANTED: Final = Values(LIST_ENTRIES.names, AuditFilter, "way", "before", "limit", "scanned")
