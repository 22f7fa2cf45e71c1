"""Promotion codes one by one: created, changed, archived."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation, difference
from services.codes.domain.code_forms import CodeForm, CodeStructure, form_of
from services.codes.domain.code_terms import CodeDraft, CodeTerms, changed_code
from services.codes.domain.coupons import Coupon, CouponRef
from services.codes.domain.errors import (
    CodesError,
    CodeTaken,
    Missing,
    NoFreeCode,
    NoSuchCoupon,
    NoSuchPartner,
    NoSuchPartnerEmail,
)
from services.codes.domain.given import Given
from services.codes.domain.minting import random_part
from services.codes.domain.partners import Partner
from services.codes.domain.programs import Program
from services.codes.domain.promotion_codes import CodeRef, PromotionCode, ShownCode, check_code_terms, check_window
from services.codes.store import audit, coupons, partners, programs, promotion_codes
from services.codes.usecases.announcements import code_updated
from services.codes.usecases.find_codes import find_code
from services.codes.usecases.read_promotion_codes import with_owners
from shared.canonical import canonical_code
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import insert_events
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once

_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class CreatePromotionCode:
    """A requested string is granted or refused; a generated one is drawn again until it is available."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(
        self, actor: Actor, program_id: uuid.UUID, ref: CouponRef, draft: CodeDraft, once: Once[ShownCode]
    ) -> Answer:
        """Create the code.

        Raises NoSuchCoupon, InvalidTerms, NoSuchPartner, CodeTaken, ExternalIDTaken or NoFreeCode.
        """

        async def work(connection: Connection, now: datetime) -> ShownCode:
            program = await programs.find_program(connection, program_id)
            if program is None:
                raise Missing
            coupon = await coupons.share_coupon(connection, program_id, ref)
            if coupon is None:
                raise NoSuchCoupon
            return await CodeMaker(connection, actor, program, coupon, self.new_id, now)(draft)

        return await self.answer_once(once, work)


@dataclass(frozen=True, slots=True)
class CodeMaker:
    """Writes codes of one coupon in the caller's transaction; the coupon must be locked against archiving."""

    connection: Connection
    actor: Actor
    program: Program
    coupon: Coupon
    new_id: Callable[[], uuid.UUID]
    now: datetime

    async def all(self, drafts: Sequence[CodeDraft]) -> list[ShownCode]:
        """Write codes that are created together; an error names the faulty one.

        Their ids run backwards, so that a list, newest first, has them in the given order.
        """
        ids = sorted((self.new_id() for _ in drafts), reverse=True)
        made = []
        for place, (draft, code_id) in enumerate(zip(drafts, ids, strict=True)):
            try:
                made.append(await self(draft, code_id))
            except CodesError as error:
                error.place = place
                raise
        return made

    async def __call__(self, draft: CodeDraft, code_id: uuid.UUID | None = None) -> ShownCode:
        """Write one code; raises InvalidTerms, NoSuchPartner, CodeTaken, ExternalIDTaken or NoFreeCode."""
        bare = PromotionCode(
            id=code_id or self.new_id(),
            program_id=self.program.id,
            coupon_id=self.coupon.id,
            code="",
            canonical="",
            created_by_key_id=self.actor.key_id,
            created_at=self.now,
            updated_at=self.now,
        )
        code = changed_code(bare, draft.terms, self.coupon, self.program.settings)
        check_window(code, self.coupon)
        partner = await self._partner(code.partner_id, draft.terms.values.partner_email)
        code = await self._written(replace(code, partner_id=partner.id if partner else None), draft.structure, partner)
        made = creation(code)
        await audit.record(
            self.connection, self.actor, self.program.id, "promotion_code.created", code.id, made, now=self.now
        )
        return ShownCode(code, self.coupon, partner, self.program.settings.link_url)

    async def _partner(self, partner_id: uuid.UUID | None, email: str | None) -> Partner | None:
        if email is not None:
            by_email = await partners.find_by_email(self.connection, self.program.id, email)
            if by_email is None or partner_id not in (None, by_email):
                raise NoSuchPartnerEmail
            partner_id = by_email
        if partner_id is None:
            return None
        partner = await partners.find_partner(self.connection, partner_id, self.program.id)
        if partner is None:
            raise NoSuchPartner
        return partner

    async def _written(self, code: PromotionCode, structure: CodeStructure, partner: Partner | None) -> PromotionCode:
        if code.code:
            if not await promotion_codes.insert_code(self.connection, code):
                raise CodeTaken(code.code)
            return code
        for text in self._texts(form_of(structure, self.program.settings, self.coupon, partner)):
            code = replace(code, code=text, canonical=canonical_code(text), is_auto_generated=True)
            if await promotion_codes.insert_code(self.connection, code):
                return code
        raise NoFreeCode

    def _texts(self, form: CodeForm) -> Iterator[str]:
        if not form.random_length:
            yield form.text
            yield from (f"{form.text}{number}" for number in range(2, _ATTEMPTS + 2))
            return
        for _ in range(_ATTEMPTS):
            part = self._random(form.random_length)
            yield form.text + (part.lower() if form.is_lower_case else part)

    def _random(self, length: int) -> str:
        alphabet = self.program.settings.code_alphabet
        while True:
            part = random_part(os.urandom(2 * length), alphabet, length)
            if part is not None:
                return part


@dataclass(frozen=True, slots=True)
class ChangePromotionCode:
    """Existing redemptions keep their terms."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(self, actor: Actor, program_id: uuid.UUID, ref: CodeRef, changes: Given[CodeTerms]) -> ShownCode:
        """Apply the changes to a live code.

        Raises Missing, InvalidTerms, TermsFrozen, CodeTaken, ExternalIDTaken or NoSuchPartner.
        """
        now = self.clock()
        events: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            program = await programs.find_program(connection, program_id)
            code = await lock_code(connection, program_id, ref)
            if program is None or code.archived_at is not None:
                raise Missing(str(ref))
            (coupon,) = await coupons.read_coupons(connection, program_id, [code.coupon_id])
            after = changed_code(code, changes, coupon, program.settings)
            check_code_terms(code, after)
            if (code.starts_at, code.expires_at) != (after.starts_at, after.expires_at):
                check_window(after, coupon)
            if delta := difference(code, after):
                await _check_partner(connection, code, after)
                # A partner's reference means nothing to another partner.
                reference = code.reference if after.partner_id == code.partner_id else None
                after = replace(after, updated_at=now, reference=reference)
                await promotion_codes.update_code(connection, after)
                await audit.record(connection, actor, program_id, "promotion_code.updated", code.id, delta, now=now)
                events.append(code_updated(after, delta, now))
                await insert_events(connection, events)
            (shown,) = await with_owners(connection, program_id, [after])
        self.hand_over(events)
        return shown


async def lock_code(connection: Connection, program_id: uuid.UUID, ref: CodeRef) -> PromotionCode:
    """Read and lock the named code, archived or not; raises Missing."""
    code_id = await find_code(connection, program_id, ref)
    code = code_id and await promotion_codes.lock_code(connection, program_id, code_id)
    # Its string may have passed to another code during the wait for the lock.
    if not code or (ref.as_id is None and code.archived_at is not None):
        raise Missing(str(ref))
    return code


async def _check_partner(connection: Connection, before: PromotionCode, after: PromotionCode) -> None:
    if after.partner_id in (None, before.partner_id):
        return
    if await partners.find_partner(connection, after.partner_id, after.program_id) is None:
        raise NoSuchPartner


@dataclass(frozen=True, slots=True)
class ArchivePromotionCode:
    """Deletes nothing that a redemption refers to."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self, actor: Actor, program_id: uuid.UUID, ref: CodeRef, coupon_ref: CouponRef | None = None
    ) -> PromotionCode:
        """Archive the code; a repeat by its id changes nothing. Raises Missing, also for a code of another coupon."""
        now = self.clock()
        async with self.database.transaction() as connection:
            code = await lock_code(connection, program_id, ref)
            if coupon_ref is not None:
                coupon = await coupons.find_coupon(connection, program_id, coupon_ref)
                if coupon is None or coupon.id != code.coupon_id:
                    raise Missing(f"{ref} of the {coupon_ref}")
            if code.archived_at is not None:
                return code
            archived = replace(code, archived_at=now, updated_at=now)
            await promotion_codes.archive_code(connection, code.id, now)
            delta = difference(code, archived)
            await audit.record(connection, actor, program_id, "promotion_code.archived", code.id, delta, now=now)
            event = code_updated(archived, delta, now)
            await insert_events(connection, [event])
        self.hand_over([event])
        return archived
