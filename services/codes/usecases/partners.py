"""A program's partners: created, read, changed, approved, suspended, archived."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation, difference
from services.codes.domain.errors import Missing, PrefixTaken
from services.codes.domain.given import Given
from services.codes.domain.pages import Page
from services.codes.domain.partners import Partner, PartnerDraft, PartnerStatus, derived_prefixes
from services.codes.domain.quota import Quota
from services.codes.store import audit, partners
from shared.bounded_counts import BoundedCount
from shared.canonical import canonical_code
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.faults import TransientFault
from shared.idempotency import Answer, Once

# Each attempt lost its prefix to another new partner.
_ATTEMPTS = 30


@dataclass(frozen=True, slots=True)
class CreatePartner:
    """A requested prefix is granted or refused; one derived from the name is adapted until it is available."""

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
            await audit.record(connection, actor, program_id, "partner.created", partner.id, creation(partner), now=now)
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
        raise TransientFault("others took every available prefix")

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

    async def count(self, program_id: uuid.UUID, status: PartnerStatus | None, email: str | None) -> BoundedCount:
        """Count the partners of a list."""
        async with self.database.connection() as connection:
            return await partners.count_partners(connection, program_id, status, email)

    async def one(self, actor: Actor, partner_id: uuid.UUID) -> Partner:
        """Return one partner with its quota; raises Missing."""
        async with self.database.connection() as connection:
            partner = await partners.find_partner(connection, partner_id, actor.program_id)
        if partner is None:
            raise Missing
        return partner


@dataclass(frozen=True, slots=True)
class ChangePartner:
    """A new prefix applies to new codes; existing ones keep theirs."""

    database: Database
    clock: Clock

    async def __call__(self, actor: Actor, partner_id: uuid.UUID, changes: Given[PartnerDraft]) -> Partner:
        """Replace the given members; raises Missing, EmailTaken or PrefixTaken."""
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
            delta = difference(partner, changed)
            await audit.record(connection, actor, partner.program_id, "partner.updated", partner.id, delta, now=now)
        return changed


@dataclass(frozen=True, slots=True)
class SetPartnerStatus:
    """Takes effect at once for mints, which read the row, and within five seconds for cached keys."""

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
            delta = difference(partner, changed)
            await audit.record(connection, actor, partner.program_id, "partner.updated", partner.id, delta, now=now)
            return changed

        return await self.answer_once(once, work)


@dataclass(frozen=True, slots=True)
class ArchivePartner:
    """Its codes stay assigned to it, because redemptions refer to them, and are refused from now on."""

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
            delta = difference(partner, archived)
            await audit.record(connection, actor, partner.program_id, "partner.archived", partner.id, delta, now=now)
        return archived
