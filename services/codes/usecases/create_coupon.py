"""Creates a coupon, with codes of it if asked."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.audit import creation
from services.codes.domain.code_terms import CodeDraft
from services.codes.domain.coupon_terms import CouponDraft, changed_coupon
from services.codes.domain.coupons import Coupon
from services.codes.domain.errors import Missing, ProviderNotConnected
from services.codes.domain.promotion_codes import ShownCoupon
from services.codes.store import audit, coupons, programs
from services.codes.usecases.announcements import coupon_created
from services.codes.usecases.create_promotion_code import CodeMaker
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import insert_events
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class CreateCoupon:
    """The coupon and all of its codes, or nothing."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        draft: CouponDraft,
        codes: Sequence[CodeDraft],
        once: Once[ShownCoupon],
    ) -> Answer:
        """Create the coupon.

        Raises ProviderNotConnected, InvalidTerms, UUIDCodeTaken, ExternalIdTaken, CodeTaken, NoSuchPartner or
        NoFreeCode.
        """
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> ShownCoupon:
            if draft.provider is not None:
                raise ProviderNotConnected(draft.provider)
            program = await programs.find_program(connection, program_id)
            if program is None:
                raise Missing
            coupon_id = self.new_id()
            uuid_code = draft.uuid_code or str(coupon_id)
            bare = Coupon(
                id=coupon_id,
                program_id=program_id,
                uuid_code=uuid_code,
                name=uuid_code,
                opening_uses=draft.opening_uses,
                times_redeemed=draft.opening_uses,
                created_at=now,
                updated_at=now,
            )
            coupon = changed_coupon(bare, draft.terms, program.settings)
            await coupons.insert_coupon(connection, coupon)
            await audit.record(connection, actor, program_id, "coupon.created", coupon.id, creation(coupon), now)
            maker = CodeMaker(connection, actor, program, coupon, self.new_id, now)
            made = [shown.code for shown in await maker.all(codes)]
            event = coupon_created(coupon, made, now)
            await insert_events(connection, [event])
            events.append(event)
            return ShownCoupon(coupon, made)

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        return answer
