"""Reads the audit log."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.codes.domain.access import Actor
from services.codes.domain.audit import AuditEntry, AuditFilter
from services.codes.domain.days import as_end, as_start
from services.codes.store import audit, programs
from services.codes.store.audit import AuditPage
from shared.database.pool import Connection, Database

EXPORTED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class ReadAuditLog:
    """A page of entries: a program's key reads those of its program, the operator all."""

    database: Database

    async def __call__(self, actor: Actor, wanted: AuditFilter, after: uuid.UUID | None, limit: int) -> AuditPage:
        """Return up to `limit` matching entries, newest first, older than `after`; a page may be short."""
        async with self.database.connection() as connection:
            wanted = await _resolved(connection, actor, wanted)
            return await audit.list_entries(connection, wanted, after, limit)

    async def pages(self, actor: Actor, wanted: AuditFilter) -> AsyncIterator[Sequence[AuditEntry]]:
        """Yield all matching entries, newest first, page by page; between pages no connection is held."""
        async with self.database.connection() as connection:
            wanted = await _resolved(connection, actor, wanted)
        after: uuid.UUID | None = None
        while True:
            async with self.database.connection() as connection:
                page = await audit.list_entries(connection, wanted, after, EXPORTED_AT_ONCE)
            if page.entries:
                yield page.entries
            after = page.next_after
            if after is None:
                return


async def _resolved(connection: Connection, actor: Actor, wanted: AuditFilter) -> AuditFilter:
    """Return the filter for what an actor may see, with its days as times where the program is."""
    if actor.program_id is not None:
        wanted = replace(wanted, program_id=actor.program_id)
    # The operator may read all programs at once, whose days are those of UTC.
    program_id = wanted.program_id
    program = await programs.find_program(connection, program_id) if program_id else None
    timezone = program.settings.timezone if program else "UTC"
    return replace(wanted, since=as_start(wanted.since, timezone), until=as_end(wanted.until, timezone))
