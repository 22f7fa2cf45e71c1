"""Creates a partner of a program."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation
from services.codes.domain.errors import PrefixTaken
from services.codes.domain.partners import Partner, PartnerDraft, derived_prefixes
from services.codes.domain.quota import Quota
from services.codes.store import audit, partners
from shared.canonical import canonical_code
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.faults import TransientFault
from shared.idempotency import Answer, Once

# Each lost to another one that was made meanwhile.
_ATTEMPTS = 30


@dataclass(frozen=True, slots=True)
class CreatePartner:
    """A prefix that was asked for is given or refused; one that is derived from the name is made to fit."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, actor: Actor, program_id: uuid.UUID, draft: PartnerDraft, once: Once[Partner]) -> Answer:
        """Create the partner; raises EmailTaken or PrefixTaken."""

        async def work(connection: Connection, now: datetime) -> Partner:
            if draft.prefix is not None:
                partner = self._partner(program_id, draft, draft.prefix, now)
                if await partners.is_prefix_taken(connection, partner):
                    raise PrefixTaken
                if not await partners.insert_partner(connection, partner):
                    raise PrefixTaken
            else:
                partner = await self._with_free_prefix(connection, program_id, draft, now)
            await audit.record(connection, actor, program_id, "partner.created", partner.id, creation(partner), now)
            return partner

        return await self.answer_once(once, work)

    async def _with_free_prefix(
        self, connection: Connection, program_id: uuid.UUID, draft: PartnerDraft, now: datetime
    ) -> Partner:
        derived = {canonical_code(prefix): prefix for prefix in derived_prefixes(draft.name)}
        for _ in range(_ATTEMPTS):
            taken = await partners.taken_prefixes(connection, program_id, derived.keys())
            prefix = next((prefix for canonical, prefix in derived.items() if canonical not in taken), None)
            if prefix is None:
                raise PrefixTaken
            partner = self._partner(program_id, draft, prefix, now)
            if await partners.insert_partner(connection, partner):
                return partner
        raise TransientFault("others took every prefix that was found free")

    def _partner(self, program_id: uuid.UUID, draft: PartnerDraft, prefix: str, now: datetime) -> Partner:
        return Partner(
            id=self.new_id(),
            program_id=program_id,
            name=draft.name,
            first_name=draft.first_name,
            last_name=draft.last_name,
            email=draft.email,
            status=draft.status,
            prefix=prefix,
            support_email=draft.support_email,
            metadata=draft.metadata,
            quota=Quota(),
            quota_low_threshold=draft.quota_low_threshold,
            created_at=now,
            updated_at=now,
        )
