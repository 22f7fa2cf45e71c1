"""Approves and suspends partners."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.partners import Partner, PartnerStatus
from services.codes.store import partners
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
            partner = await partners.set_status(connection, partner_id, actor.program_id, status, now)
            if partner is None:
                raise Missing
            return partner

        return await self.answer_once(once, work)
