"""Reads a partner's own codes."""

import uuid
from dataclasses import dataclass

from services.codes.domain.codes import CodeStatus, IssuedCode
from services.codes.domain.coupons import id_in
from services.codes.domain.errors import Missing
from services.codes.store import codes
from services.codes.store.codes import CodePage
from shared.canonical import canonical_code
from shared.clock import Clock
from shared.database.pool import Connection, Database


@dataclass(frozen=True, slots=True)
class ReadCodes:
    """One code by its id or in any spelling, or a page of codes."""

    database: Database
    clock: Clock

    async def __call__(
        self, partner_id: uuid.UUID, after: uuid.UUID | None, limit: int, status: CodeStatus | None = None
    ) -> CodePage:
        """Return up to `limit` codes, newest first, older than `after`; a page by status may be short."""
        async with self.database.connection() as connection:
            return await codes.list_codes(connection, partner_id, after, status, limit, self.clock())

    async def by_reference(
        self, partner_id: uuid.UUID, reference: str, status: CodeStatus | None = None, after: uuid.UUID | None = None
    ) -> list[IssuedCode]:
        """Return the code with the partner's reference, if it has the status and is older than `after`."""
        async with self.database.connection() as connection:
            code = await codes.find_reference(connection, partner_id, reference, self.clock())
        if code is None or (status is not None and code.status != status) or (after is not None and code.id >= after):
            return []
        return [code]

    async def one(self, program_id: uuid.UUID, partner_id: uuid.UUID, text: str) -> IssuedCode:
        """Return the code that a text names; raises Missing, also for a code of another partner."""
        async with self.database.connection() as connection:
            canonical = await _named(connection, partner_id, text)
            if canonical is None:
                raise Missing
            code = await codes.find_code(connection, program_id, partner_id, canonical, self.clock())
        if code is None:
            raise Missing
        return code


async def _named(connection: Connection, partner_id: uuid.UUID, text: str) -> str | None:
    """Return the canonical form of the code with this id, or else of the text."""
    code_id = id_in(text)
    if code_id is not None and (found := await codes.find_canonical(connection, partner_id, code_id)) is not None:
        return found
    try:
        return canonical_code(text)
    except ValueError:
        return None
