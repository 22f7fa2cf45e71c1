"""`redeem` and `transaction_key`, the members with which the coupon API redeems, and their results."""

from typing import Annotated, Any, Final

from aiohttp import hdrs
from pydantic import Field, WithJsonSchema, model_validator

from services.codes.api.fields import Flag, FlaggedRequest, Reference
from services.codes.domain.orders import Applied, RedeemOutcome, Uses
from shared.web import Request, ResponseModel, api_key_required, field_error

REDEEMING: Final = (
    "With `redeem` and `transaction_key`, it is redeemed for that order after the change. `redemption` has the "
    "result, or the reason why nothing was redeemed, as has `message`. `times_redeemed` includes that use, and "
    "`additional_info` has the latest uses, oldest first, with `meta.has_more` if there are older ones. The API key "
    "needs the scope `checkout` as well; accounts cannot redeem this way (`api_key_required`). After a 503 it may or "
    "may not have been redeemed: send the same request again. This form has no place for the order's items, so codes "
    "of coupons for some products are refused (`order_items_required`)."
)
MISDIRECTED: Final = "The redemption service found there belongs to another installation: its address must be corrected"


class Redeeming(FlaggedRequest):
    """The members of a change that also redeems."""

    redeem: Flag = Field(default_factory=bool, description="Redeem it for the order that `transaction_key` names.")
    transaction_key: Reference | None = Field(
        None, description="The order's reference. An order redeems a code only once, however often this is sent."
    )

    @model_validator(mode="after")
    def _has_a_key(self) -> "Redeeming":
        if self.redeem and self.transaction_key is None:
            raise field_error("transaction_key", "is required if the redeem field is true")
        return self


# The redemption service's own texts, passed on unchanged.
_IdText = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
_MomentText = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class RedemptionOutcome(ResponseModel):
    """The result of `redeem`: applied, now or by an earlier request (`is_repeat`), or the reason why not."""

    applied: bool
    transaction_key: str
    redemption_id: _IdText | None = None
    redeemed_at: _MomentText | None = None
    is_repeat: bool = False
    reason: str | None = None
    message: str | None = None


def outcome_data(order_ref: str, outcome: RedeemOutcome) -> RedemptionOutcome:
    """Return an outcome in the form of this API."""
    if isinstance(outcome, Applied):
        return RedemptionOutcome(
            applied=True,
            transaction_key=order_ref,
            redemption_id=outcome.redemption_id,
            redeemed_at=outcome.redeemed_at,
            is_repeat=outcome.is_repeat,
        )
    return RedemptionOutcome(applied=False, transaction_key=order_ref, reason=outcome.reason, message=outcome.detail)


def message_of(outcome: RedeemOutcome, updated: str) -> str:
    """Return the message: success, or that nothing was redeemed and why."""
    return updated if isinstance(outcome, Applied) else f"Nothing was redeemed: {outcome.detail}"


def uses_data(uses: Uses | None) -> dict[str, Any] | list[Any]:
    """Return uses in the form of `additional_info`."""
    if uses is None:
        return []
    return {
        "redemptions": [
            {"redeemed_at": use.redeemed_at, "transaction_key": use.transaction_key} for use in uses.orders
        ],
        "meta": {"has_more": not uses.is_whole},
    }


def authorization(request: Request) -> str:
    """Return the caller's Authorization header, to forward.

    An account's token is valid for one service only, so it is refused before anything changes.
    """
    if request.account is not None:
        raise api_key_required()
    return request.http.headers[hdrs.AUTHORIZATION]
