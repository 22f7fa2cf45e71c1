"""Creates one promotion code of a coupon: with the string that was asked for, or with one made to fit."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation
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
from services.codes.domain.promotion_codes import CodeDraft, CodeForm, PromotionCode, ShownCode
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
        """Create the code; raises NoSuchCoupon, NoSuchPartner, CodeTaken, ExternalIdTaken or NoFreeCode."""

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
        """Write one code; raises NoSuchPartner, CodeTaken, ExternalIdTaken or NoFreeCode."""
        members = draft.members(self.program.settings)
        partner = await self._partner(draft)
        code = await self._written(draft, code_id or self.new_id(), members, partner)
        await audit.record(
            self.connection,
            self.actor,
            self.program.id,
            "promotion_code.created",
            code.id,
            creation(code),
            self.now,
        )
        return ShownCode(code, self.coupon, partner, self.program.settings.link_url)

    async def _partner(self, draft: CodeDraft) -> Partner | None:
        if draft.partner_id is None and draft.partner_email is None:
            return None
        partner_id = draft.partner_id
        if draft.partner_email is not None:
            by_email = await partners.find_by_email(self.connection, self.program.id, draft.partner_email)
            if by_email is None or partner_id not in (None, by_email):
                raise NoSuchPartnerEmail
            partner_id = by_email
        partner = partner_id and await partners.find_partner(self.connection, partner_id, self.program.id)
        if not partner:
            raise NoSuchPartner
        return partner

    async def _written(
        self, draft: CodeDraft, code_id: uuid.UUID, members: Mapping[str, Any], partner: Partner | None
    ) -> PromotionCode:
        if draft.code is not None:
            code = self._code(code_id, draft.code, members, partner, is_auto_generated=False)
            if not await promotion_codes.insert_code(self.connection, code):
                raise CodeTaken(draft.code)
            return code
        form = draft.form(self.program.settings, self.coupon, partner)
        for text in self._texts(form):
            code = self._code(code_id, text, members, partner, is_auto_generated=True)
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

    def _code(
        self,
        code_id: uuid.UUID,
        text: str,
        members: Mapping[str, Any],
        partner: Partner | None,
        *,
        is_auto_generated: bool,
    ) -> PromotionCode:
        return PromotionCode(
            id=code_id,
            program_id=self.program.id,
            coupon_id=self.coupon.id,
            partner_id=partner.id if partner else None,
            code=text,
            canonical=canonical_code(text),
            created_by_key_id=self.actor.key_id,
            created_at=self.now,
            updated_at=self.now,
            **{"is_auto_generated": is_auto_generated, **members},
        )
