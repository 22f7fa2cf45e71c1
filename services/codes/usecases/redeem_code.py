"""Has the redemption engine redeem a code for an order, for clients that redeem by changing the code or its coupon.

Nothing is decided or counted here; what the engine did comes back to this service as an event, as every use does.
"""

from dataclasses import dataclass

from services.codes.domain.orders import NotApplied, RedeemOutcome, RedemptionPath
from services.codes.domain.promotion_codes import ShownCoupon
from services.codes.integrations.redemption import RedemptionClient


@dataclass(frozen=True, slots=True)
class RedeemCode:
    """The order is the key: the same order and code again is the same redemption."""

    redemption: RedemptionClient

    async def __call__(
        self, authorization: str, order_ref: str, code: str, traceparent: str | None = None
    ) -> RedeemOutcome:
        """Redeem the code with the caller's own key.

        Raises CheckoutScopeMissing, RedemptionMisdirected or TransientFault.
        """
        return await self.redemption.redeem(authorization, order_ref, code, traceparent)

    async def probe(self, authorization: str) -> RedemptionPath:
        """Say how the engine takes the caller's key, without redeeming anything."""
        return await self.redemption.probe(authorization)

    async def of_coupon(
        self, authorization: str, order_ref: str, shown: ShownCoupon, traceparent: str | None = None
    ) -> RedeemOutcome:
        """Redeem the coupon's code: its only one, or the one that bears its name."""
        codes = [code.code for code in shown.codes]
        if len(codes) != 1:
            codes = [code for code in codes if code.casefold() == shown.coupon.uuid_code.casefold()]
        if len(codes) != 1:
            return NotApplied(
                "code_required", "The coupon has not one code but several or none; redeem the code itself."
            )
        return await self(authorization, order_ref, codes[0], traceparent)
