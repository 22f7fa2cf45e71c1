"""Events of the redemption service: a code was redeemed, refused, voided, or used up."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.events.checkout import Attributes, Customer, EventUUID, Order
from shared.events.envelope import EventTime, ServiceEvent, ShortText
from shared.reasons import RejectionReason, SkipReason

SOURCE = "/mintwire/redemption"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Discount(_Part):
    """The discount of the code: `applied_minor` in the order's currency, null if the order has too little information.

    A percentage (in hundredths of a percent) applies to the order's subtotal, or to the lines that the coupon is for,
    before other codes, rounded half up; a static amount applies if it is in the order's currency. The discounts of an
    order together never exceed its subtotal, nor those of a line its price.
    """

    type: Literal["percent", "static"]
    percent_hundredths: int | None
    amount_minor: int | None
    currency: str | None
    applied_minor: int | None


class Commission(_Part):
    """The partner's commission: a rate in hundredths of a percent of the payment after discounts, rounded half up.

    The program caps the sum of the commissions of one order.
    """

    percent_hundredths: int
    amount_minor: int | None
    currency: str | None


class Terms(_Part):
    """The terms at the time of the redemption."""

    coupon_uuid_code: str
    coupon_name: str
    duration_type: str
    duration_value: int | None
    starts_at: EventTime | None
    expires_at: EventTime | None
    redemption_limit: int | None
    coupon_starts_at: EventTime | None
    coupon_expires_at: EventTime | None
    coupon_redemption_limit: int | None


class CodeRedeemedV1(ServiceEvent):
    """An order redeemed a code; the event has the count of its uses and its terms at that time.

    Each count includes this use and has a version; the newer version wins. Uses of a coupon are counted only once it
    has had a limit; until then its two members are null, and the sum over its codes is its count. Repeat purchases get
    the discount until `discount_ends_at`: a coupon for `once` ends with the order, one for a `lifetime` never (null).
    `commission` is null without a partner or a rate.
    """

    type: ClassVar[str] = "code.redeemed"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    redemption_id: EventUUID
    program_id: EventUUID
    partner_id: EventUUID | None
    code: ShortText
    code_id: EventUUID
    coupon_id: EventUUID
    order_ref: ShortText
    customer: Customer | None
    discount: Discount
    discount_ends_at: EventTime | None
    commission: Commission | None
    order: Order | None
    attributes: Attributes
    is_self_referral: bool = Field(False, description="Whether the code's own partner is the buyer.")
    attributes_left_out: list[str] = Field(
        [], description="Names of the checkout's attributes that could not be stored."
    )
    details_left_out: list[str] = Field(
        [], description="Names of the checkout's other details that could not be read, such as `customer.email`."
    )
    attribute_names: list[str]
    occurred_at: EventTime
    codes_remaining: int | None
    times_redeemed: int
    times_redeemed_version: int
    coupon_times_redeemed: int | None
    coupon_times_redeemed_version: int | None
    terms: Terms


class CodeRedemptionRejectedV1(ServiceEvent):
    """All codes of an order were refused; `code` is the first at fault and `reason` says why."""

    type: ClassVar[str] = "code.redemption_rejected"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    order_ref: ShortText
    code: ShortText
    code_id: EventUUID | None
    codes: list[ShortText]
    reason: RejectionReason
    detail: str
    occurred_at: EventTime


class CodeRedemptionSkippedV1(ServiceEvent):
    """A code of a paid order stays unused only because of the order's other codes, which count.

    The codes may not be combined, leave nothing to discount, or have used up a limit. `blocked_by` is the code that
    prevented this one; null if there was nothing to discount in the first place.
    """

    type: ClassVar[str] = "code.redemption_skipped"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    order_ref: ShortText
    code: ShortText
    code_id: EventUUID
    coupon_id: EventUUID
    reason: SkipReason
    detail: str
    blocked_by: str | None
    occurred_at: EventTime


class CodeCommissionChangedV1(ServiceEvent):
    """The partner's commission for a redemption changed; the newer version wins.

    A part of the payment was refunded, or another code of the same order was redeemed or voided later.
    """

    type: ClassVar[str] = "code.commission_changed"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    redemption_id: EventUUID
    program_id: EventUUID
    partner_id: EventUUID | None
    code: ShortText
    code_id: EventUUID
    coupon_id: EventUUID
    order_ref: ShortText
    commission: Commission
    previous_amount_minor: int | None
    commission_version: int
    occurred_at: EventTime


class CodeRedemptionVoidedV1(ServiceEvent):
    """A redemption was voided: its order was cancelled or refunded.

    With `is_released` the use is free again; the counts are those after the void. `was_counted` is false if there is no
    `code.redeemed` to reverse: the cancellation was known before the purchase, or the void was already emitted and
    only `is_released` has changed. Discount and commission are the amounts to reverse.
    """

    type: ClassVar[str] = "code.redemption_voided"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    redemption_id: EventUUID
    program_id: EventUUID
    partner_id: EventUUID | None
    code: ShortText
    code_id: EventUUID
    coupon_id: EventUUID
    order_ref: ShortText
    customer_id: str | None
    discount: Discount
    commission: Commission | None
    reason: str | None
    is_released: bool
    was_counted: bool
    redeemed_at: EventTime
    occurred_at: EventTime
    times_redeemed: int
    times_redeemed_version: int
    coupon_times_redeemed: int | None
    coupon_times_redeemed_version: int | None


class CodeExhaustedV1(ServiceEvent):
    """A code with more than one use was used for the last time, unless a use is released."""

    type: ClassVar[str] = "code.exhausted"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    code: ShortText
    code_id: EventUUID
    coupon_id: EventUUID
    redemption_id: EventUUID
    redemption_limit: int
    times_redeemed: int
    times_redeemed_version: int
    occurred_at: EventTime


class CouponExhaustedV1(ServiceEvent):
    """A coupon was used for the last time, unless a use is released."""

    type: ClassVar[str] = "coupon.exhausted"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    coupon_id: EventUUID
    coupon_uuid_code: str
    coupon_name: str
    redemption_id: EventUUID
    redemption_limit: int
    times_redeemed: int
    times_redeemed_version: int
    occurred_at: EventTime
