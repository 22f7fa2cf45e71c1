"""Reads partners."""

import uuid
from dataclasses import dataclass

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.pages import Page
from services.codes.domain.partners import Partner, PartnerStatus
from services.codes.store import partners
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadPartners:
    """One partner, or a page of a program's partners."""

    database: Database

    async def __call__(
        self,
        program_id: uuid.UUID,
        after: uuid.UUID | None,
        limit: int,
        status: PartnerStatus | None = None,
        email: str | None = None,
    ) -> Page[Partner]:
        """Return up to `limit` partners, newest first, older than `after`; a page by status may be short."""
        async with self.database.connection() as connection:
            return await partners.list_partners(connection, program_id, after, status, email, limit)

    async def one(self, actor: Actor, partner_id: uuid.UUID) -> Partner:
        """Return one partner with its quota; raises Missing."""
        async with self.database.connection() as connection:
            partner = await partners.find_partner(connection, partner_id, actor.program_id)
        if partner is None:
            raise Missing
        return partner
