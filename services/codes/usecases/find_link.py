"""Finds the link of a code: what a QR code of it says."""

import uuid
from dataclasses import dataclass

from services.codes.domain.errors import Missing
from services.codes.domain.minting import code_link
from services.codes.store import selected_codes
from shared.canonical import canonical_code
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class FindLink:
    """A live code is named by its id or by its string in any spelling."""

    database: Database

    async def __call__(self, program_id: uuid.UUID, ref: str) -> str:
        """Return the link; raises Missing."""
        async with self.database.connection() as connection:
            found = await selected_codes.find_link(connection, program_id, _id_in(ref), _canonical_in(ref))
        if found is None:
            raise Missing
        code, link_url = found
        return code_link(link_url, code)


def _id_in(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _canonical_in(text: str) -> str | None:
    try:
        return canonical_code(text)
    except ValueError:
        return None
