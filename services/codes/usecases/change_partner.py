"""Changes what is said about a partner."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.partners import Partner
from services.codes.store import partners
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ChangePartner:
    """A new prefix is for new codes; those that exist keep theirs."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, partner_id: uuid.UUID, changes: Mapping[str, Any]) -> Partner:
        """Replace the members named in `changes`; raises Missing, EmailTaken or PrefixTaken."""
        now = self.clock()
        async with self.database.transaction() as connection:
            partner = await partners.lock_partner(connection, partner_id, actor.program_id)
            if partner is None:
                raise Missing
            changed = replace(partner, **changes)
            if changed == partner:
                return partner
            changed = replace(changed, updated_at=now)
            await partners.update_partner(connection, changed)
        return changed
