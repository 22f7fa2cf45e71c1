"""Archives a promotion code; its string is free again."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.codes.domain.access import Actor
from services.codes.domain.audit import difference
from services.codes.domain.coupons import CouponRef
from services.codes.domain.errors import Missing
from services.codes.domain.promotion_codes import CodeRef, PromotionCode
from services.codes.store import audit, coupons, promotion_codes
from services.codes.usecases.announcements import code_updated
from services.codes.usecases.change_promotion_code import lock_code
from shared.clock import Clock
from shared.database.outbox import insert_events
from shared.database.pool import Database
from shared.events.envelope import OutboxEvent


@dataclass(frozen=True, slots=True)
class ArchivePromotionCode:
    """Nothing is deleted that a redemption refers to."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]

    async def __call__(
        self, actor: Actor, program_id: uuid.UUID, ref: CodeRef, coupon_ref: CouponRef | None = None
    ) -> PromotionCode:
        """Archive the code; again, by its id, changes nothing. Raises Missing, also for a code of another coupon."""
        now = self.clock()
        async with self.database.transaction() as connection:
            code = await lock_code(connection, program_id, ref)
            if coupon_ref is not None:
                coupon = await coupons.find_coupon(connection, program_id, coupon_ref)
                if coupon is None or coupon.id != code.coupon_id:
                    raise Missing
            if code.archived_at is not None:
                return code
            archived = replace(code, archived_at=now, updated_at=now)
            await promotion_codes.archive_code(connection, code.id, now)
            told = difference(code, archived)
            await audit.record(connection, actor, program_id, "promotion_code.archived", code.id, told, now)
            event = code_updated(archived, told, now)
            await insert_events(connection, [event])
        self.hand_over([event])
        return archived
