"""Changes a coupon: what is said about it at any time, its terms until a redemption is known."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.coupon_terms import CouponTerms, changed_coupon
from services.codes.domain.coupons import CouponRef, check_terms
from services.codes.domain.errors import Missing, ProviderNotConnected
from services.codes.domain.given import Given
from services.codes.domain.promotion_codes import ShownCoupon
from services.codes.store import audit, coupons, programs
from services.codes.usecases.announcements import coupon_updated
from services.codes.usecases.read_coupons import with_codes
from shared.clock import Clock
from shared.database.outbox import insert_events
from shared.database.pool import Database
from shared.events.envelope import OutboxEvent


@dataclass(frozen=True, slots=True)
class ChangeCoupon:
    """Redemptions keep the terms that they were made under; the next one is judged by the new ones."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        ref: CouponRef,
        changes: Given[CouponTerms],
        provider: str | None = None,
    ) -> ShownCoupon:
        """Apply the changes to a live coupon.

        Raises Missing, ProviderNotConnected, InvalidTerms, TermsFrozen or ExternalIdTaken.
        """
        now = self.clock()
        events: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            program = await programs.find_program(connection, program_id)
            coupon = await coupons.lock_coupon(connection, program_id, ref)
            if program is None or coupon is None or coupon.archived_at is not None:
                raise Missing
            if provider is not None:
                raise ProviderNotConnected(provider)
            after = changed_coupon(coupon, changes, program.settings)
            check_terms(coupon, after)
            if told := difference(coupon, after):
                after = replace(after, updated_at=now)
                await coupons.update_coupon(connection, after)
                await audit.record(connection, actor, program_id, "coupon.updated", coupon.id, told, now)
                events.append(coupon_updated(after, told, now))
                await insert_events(connection, events)
            (shown,) = await with_codes(connection, program_id, [after])
        self.hand_over(events)
        return shown
