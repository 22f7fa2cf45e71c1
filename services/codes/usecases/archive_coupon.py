"""Archives a coupon together with its codes."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.coupons import Coupon, CouponRef
from services.codes.domain.errors import Missing, PartnerCouponNeeded, TooManyCodes
from services.codes.store import audit, coupons
from services.codes.usecases.announcements import coupon_updated
from shared.clock import Clock
from shared.database.outbox import insert_events
from shared.database.pool import Database
from shared.events.envelope import OutboxEvent

# What one transaction archives well within the statement timeout.
MAX_CODES: Final = 10_000


@dataclass(frozen=True, slots=True)
class ArchiveCoupon:
    """Nothing is deleted that a redemption refers to; the strings of coupon and codes are free again."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(self, actor: Actor, program_id: uuid.UUID, ref: CouponRef) -> Coupon:
        """Archive the coupon; again, by its id, changes nothing. Raises Missing, PartnerCouponNeeded, TooManyCodes."""
        now = self.clock()
        async with self.database.transaction() as connection:
            coupon = await coupons.lock_with_codes(connection, program_id, ref, MAX_CODES)
            if coupon is None:
                raise Missing
            if coupon.archived_at is not None:
                return coupon
            if coupon.is_partner_coupon:
                raise PartnerCouponNeeded
            if not await coupons.archive_coupon(connection, coupon, now, MAX_CODES):
                raise TooManyCodes(MAX_CODES)
            archived = replace(coupon, archived_at=now, updated_at=now)
            told = difference(coupon, archived)
            await audit.record(connection, actor, program_id, "coupon.archived", coupon.id, told, now)
            event = coupon_updated(archived, told, now)
            await insert_events(connection, [event])
        self.hand_over([event])
        return archived
