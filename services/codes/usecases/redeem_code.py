"""Has the redemption engine redeem a code for an order, for clients that redeem by changing the code or its coupon.

Nothing is decided or counted here. As for every use, an event reports the engine's redemption to this service; the
answer has the engine's current counts.
"""

import uuid
from dataclasses import dataclass, replace

from services.codes.domain.coupons import Coupon, CouponRef
from services.codes.domain.errors import Missing, NotOfCoupon
from services.codes.domain.orders import NotApplied, RedeemOutcome, RedemptionPath, Uses
from services.codes.domain.promotion_codes import CodeRef, PromotionCode, ShownCode, ShownCoupon
from services.codes.integrations.redemption import RedemptionClient
from services.codes.store import coupons, promotion_codes
from services.codes.usecases.find_codes import find_code
from shared.database.pool import Connection, Database
from shared.times import parse_time


@dataclass(frozen=True, slots=True)
class RedeemCode:
    """The order is the key: a repeat with the same order and code is the same redemption."""

    database: Database
    redemption: RedemptionClient

    async def __call__(
        self, authorization: str, order_ref: str, shown: ShownCode, traceparent: str | None = None
    ) -> tuple[RedeemOutcome, ShownCode, Uses | None]:
        """Redeem the code with the caller's own key and return it with its uses after that.

        Raises CheckoutScopeMissing, RedemptionMisdirected or TransientFault.
        """
        outcome = await self.redemption.redeem(authorization, order_ref, shown.code.code, traceparent)
        uses = await self.redemption.uses(authorization, code=shown.code.code)
        return (
            outcome,
            replace(shown, code=_used(shown.code, uses), coupon=_known(shown.coupon, shown.code, uses)),
            uses,
        )

    async def probe(self, authorization: str) -> RedemptionPath:
        """Return whether the engine accepts the caller's key, without redeeming anything."""
        return await self.redemption.probe(authorization)

    async def code_of(self, program_id: uuid.UUID, ref: CouponRef, named: str | None) -> PromotionCode | None:
        """Return the coupon's code to redeem: the one named, its only one, or the one with the coupon's name.

        None if it is not clear which; raises Missing or NotOfCoupon.
        """
        async with self.database.connection() as connection:
            coupon = await coupons.find_coupon(connection, program_id, ref)
            if coupon is None:
                raise Missing(str(ref))
            if named is not None:
                code = await _code_of(connection, coupon, named)
                if code is None:
                    raise NotOfCoupon
                return code
            newest = await promotion_codes.newest_of_coupons(connection, program_id, [coupon.id], 2)
            if len(newest[coupon.id]) == 1:
                return newest[coupon.id][0]
            return await _code_of(connection, coupon, coupon.uuid_code)

    async def of_coupon(
        self,
        authorization: str,
        order_ref: str,
        shown: ShownCoupon,
        code: PromotionCode | None,
        traceparent: str | None = None,
    ) -> tuple[RedeemOutcome, ShownCoupon, Uses | None]:
        """Redeem a code of the coupon as above; without one, nothing is redeemed."""
        if code is None:
            outcome: RedeemOutcome = NotApplied(
                "code_required",
                "The coupon has several codes; name the one to redeem in `code`."
                if shown.codes
                else "The coupon has no redeemable code.",
            )
        else:
            outcome = await self.redemption.redeem(authorization, order_ref, code.code, traceparent)
        uses = await self.redemption.uses(authorization, coupon_id=str(shown.coupon.id))
        coupon = _known(shown.coupon, code, uses)
        return outcome, replace(shown, coupon=coupon, codes=[_used(each, uses) for each in shown.codes]), uses


async def _code_of(connection: Connection, coupon: Coupon, text: str) -> PromotionCode | None:
    code_id = await find_code(connection, coupon.program_id, CodeRef(text, is_code=True))
    found = await promotion_codes.read_codes(connection, coupon.program_id, [code_id] if code_id else [])
    return found[0] if found and found[0].coupon_id == coupon.id else None


def _used(code: PromotionCode, uses: Uses | None) -> PromotionCode:
    if uses is None or uses.code_id != str(code.id):
        return code
    last = parse_time(uses.orders[-1].redeemed_at) if uses.orders else code.last_redeemed_at
    return replace(code, times_redeemed=uses.times_redeemed, last_redeemed_at=last)


def _known(coupon: Coupon, code: PromotionCode | None, uses: Uses | None) -> Coupon:
    """Return the coupon with its count; if the engine keeps none, it is the sum over its codes."""
    if uses is None:
        return coupon
    if (count := uses.coupon_times_redeemed) is None:
        risen = uses.times_redeemed - code.times_redeemed if code and uses.code_id == str(code.id) else 0
        count = coupon.times_redeemed + risen
    return replace(coupon, times_redeemed=count)
