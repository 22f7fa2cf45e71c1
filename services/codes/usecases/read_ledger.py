"""Reads the movements of a partner's quota."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.quota import LedgerEntry
from services.codes.store import partners, quota
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadLedger:
    """A page of the ledger; a mint's row names its codes."""

    database: Database

    async def __call__(
        self, actor: Actor, partner_id: uuid.UUID, after: uuid.UUID | None, limit: int
    ) -> Sequence[LedgerEntry]:
        """Return up to `limit` movements, newest first, older than `after`; raises Missing."""
        async with self.database.connection() as connection:
            if await partners.find_partner(connection, partner_id, actor.program_id) is None:
                raise Missing
            return await quota.list_ledger(connection, partner_id, after, limit)
