"""Reads the audit log."""

import uuid
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import AuditFilter
from services.codes.domain.days import as_end, as_start
from services.codes.store import audit, programs
from services.codes.store.audit import AuditPage
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadAuditLog:
    """A page of entries: a program's key reads those of its program, the operator all."""

    database: Database

    async def __call__(self, actor: Actor, wanted: AuditFilter, after: uuid.UUID | None, limit: int) -> AuditPage:
        """Return up to `limit` matching entries, newest first, older than `after`; a page may be short."""
        if actor.program_id is not None:
            wanted = replace(wanted, program_id=actor.program_id)
        async with self.database.connection() as connection:
            # The operator may read all programs at once, whose days are those of UTC.
            program_id = wanted.program_id
            program = await programs.find_program(connection, program_id) if program_id else None
            timezone = program.settings.timezone if program else "UTC"
            wanted = replace(wanted, since=as_start(wanted.since, timezone), until=as_end(wanted.until, timezone))
            return await audit.list_entries(connection, wanted, after, limit)
