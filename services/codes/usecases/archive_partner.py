"""Archives a partner: suspended for good, its keys revoked, its e-mail address and prefix free again."""

import uuid
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.errors import Missing
from services.codes.domain.partners import Partner
from services.codes.store import audit, partners
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ArchivePartner:
    """Its codes stay assigned to it, for redemptions refer to them, and are refused from now on."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, partner_id: uuid.UUID) -> Partner:
        """Archive the partner; raises Missing."""
        now = self.clock()
        async with self.database.transaction() as connection:
            partner = await partners.lock_partner(connection, partner_id, actor.program_id)
            if partner is None:
                raise Missing
            archived = replace(partner, status="suspended", archived_at=now, updated_at=now)
            await partners.update_partner(connection, archived)
            await partners.revoke_keys(connection, archived, now)
            told = difference(partner, archived)
            await audit.record(connection, actor, partner.program_id, "partner.archived", partner.id, told, now)
        return archived
