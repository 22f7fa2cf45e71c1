"""Reads a partner's own codes."""

import uuid
from dataclasses import dataclass

from services.codes.domain.codes import IssuedCode, IssuedPage
from services.codes.domain.coupons import id_in
from services.codes.domain.errors import Missing
from services.codes.domain.promotion_codes import CodeFilter
from services.codes.store import codes
from services.codes.store.code_lists import Part
from services.codes.usecases.find_codes import count_codes, find_page
from shared.bounded_counts import BoundedCount
from shared.canonical import canonical_code
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.known_ids import NOBODY


@dataclass(frozen=True, slots=True)
class ReadCodes:
    """One code by its id or in any spelling, or a page of codes."""

    database: Database
    clock: Clock

    async def __call__(
        self, program_id: uuid.UUID, wanted: CodeFilter, after: uuid.UUID | None, limit: int
    ) -> IssuedPage:
        """Return up to `limit` codes of the filter's partner after an id; a page may be short."""
        now = self.clock()
        async with self.database.connection() as connection:
            page = await find_page(connection, program_id, wanted, Part(after, 0, limit), now)
            found = await codes.read_issued(connection, wanted.partner_id or NOBODY, page.ids, now)
        return IssuedPage(found, page.next_after)

    async def count(self, program_id: uuid.UUID, wanted: CodeFilter) -> BoundedCount:
        """Count the codes of the filter's partner."""
        async with self.database.connection() as connection:
            return await count_codes(connection, program_id, wanted, self.clock())

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
