"""Changes what is said about a partner."""

import uuid
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.errors import Missing, PrefixTaken
from services.codes.domain.given import Given
from services.codes.domain.partners import Partner, PartnerDraft
from services.codes.store import audit, partners
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ChangePartner:
    """A new prefix is for new codes; those that exist keep theirs."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, partner_id: uuid.UUID, changes: Given[PartnerDraft]) -> Partner:
        """Replace the members that are given; raises Missing, EmailTaken or PrefixTaken."""
        now = self.clock()
        async with self.database.transaction() as connection:
            partner = await partners.lock_partner(connection, partner_id, actor.program_id)
            if partner is None:
                raise Missing
            changed = changes.over(partner)
            if changed == partner:
                return partner
            if changed.prefix != partner.prefix and await partners.is_prefix_taken(connection, changed):
                raise PrefixTaken
            changed = replace(changed, updated_at=now)
            await partners.update_partner(connection, changed)
            told = difference(partner, changed)
            await audit.record(connection, actor, partner.program_id, "partner.updated", partner.id, told, now)
        return changed
