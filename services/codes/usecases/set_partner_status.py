"""Approves and suspends partners."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.errors import Missing
from services.codes.domain.partners import Partner, PartnerStatus
from services.codes.store import audit, partners
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class SetPartnerStatus:
    """Mints obey at once, for they read the row; keys held in caches know within five seconds."""

    answer_once: AnswerOnce

    async def __call__(self, actor: Actor, partner_id: uuid.UUID, status: PartnerStatus, once: Once[Partner]) -> Answer:
        """Set the status, whatever it was; raises Missing."""

        async def work(connection: Connection, now: datetime) -> Partner:
            partner = await partners.lock_partner(connection, partner_id, actor.program_id)
            if partner is None:
                raise Missing
            if partner.status == status:
                return partner
            changed = replace(partner, status=status, updated_at=now)
            await partners.update_partner(connection, changed)
            told = difference(partner, changed)
            await audit.record(connection, actor, partner.program_id, "partner.updated", partner.id, told, now)
            return changed

        return await self.answer_once(once, work)
