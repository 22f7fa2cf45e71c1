"""Reads the audit log."""

import uuid
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import AuditFilter
from services.codes.store import audit
from services.codes.store.audit import AuditPage
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadAuditLog:
    """A page of entries: a program's key reads those of its program, the operator all."""

    database: Database

    async def __call__(self, actor: Actor, wanted: AuditFilter, after: uuid.UUID | None, limit: int) -> AuditPage:
        """Return up to `limit` entries that fit, newest first, older than `after`; a page may be short."""
        if actor.program_id is not None:
            wanted = replace(wanted, program_id=actor.program_id)
        async with self.database.connection() as connection:
            return await audit.list_entries(connection, wanted, after, limit)
