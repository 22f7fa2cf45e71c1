"""Creates one promotion code of a coupon: with the string that was asked for, or with one made to fit."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation
from services.codes.domain.code_forms import CodeForm, CodeStructure, form_of
from services.codes.domain.code_terms import CodeDraft, changed_code
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
from services.codes.domain.minting import random_part
from services.codes.domain.partners import Partner
from services.codes.domain.programs import Program
from services.codes.domain.promotion_codes import PromotionCode, ShownCode
from services.codes.store import audit, coupons, partners, programs, promotion_codes
from shared.canonical import canonical_code
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once

_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class CreatePromotionCode:
    """A string that was asked for is given or refused; one that is generated is made anew until it is free."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]

    async def __call__(
        self, actor: Actor, program_id: uuid.UUID, ref: CouponRef, draft: CodeDraft, once: Once[ShownCode]
    ) -> Answer:
        """Create the code.

        Raises NoSuchCoupon, InvalidTerms, NoSuchPartner, CodeTaken, ExternalIdTaken or NoFreeCode.
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
    """Writes codes of one coupon in the caller's transaction; nobody may archive the coupon meanwhile."""

    connection: Connection
    actor: Actor
    program: Program
    coupon: Coupon
    new_id: Callable[[], uuid.UUID]
    now: datetime

    async def all(self, drafts: Sequence[CodeDraft]) -> list[ShownCode]:
        """Write codes that are made together; what is raised says which one is at fault.

        Their ids run backwards, so that a list, which has the newest first, has them in the order given.
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
        """Write one code; raises InvalidTerms, NoSuchPartner, CodeTaken, ExternalIdTaken or NoFreeCode."""
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
        code = changed_code(bare, draft.terms, self.program.settings)
        partner = await self._partner(code.partner_id, draft.terms.values.partner_email)
        code = await self._written(replace(code, partner_id=partner.id if partner else None), draft.structure, partner)
        made = creation(code)
        await audit.record(
            self.connection, self.actor, self.program.id, "promotion_code.created", code.id, made, self.now
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
