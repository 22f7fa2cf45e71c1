"""What the redemption service says: a code was redeemed, or was refused and why."""

from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.events.checkout import Attributes, Customer, EventUUID, Order
from shared.events.envelope import EventData, ShortText

SOURCE = "/mintwire/redemption"
EventTime = Annotated[AwareDatetime, Field(strict=False)]

RejectionReason = Literal[
    "code_unknown",
    "code_inactive",
    "code_expired",
    "code_not_started",
    "code_used",
    "coupon_inactive",
    "coupon_exhausted",
    "partner_not_active",
    "program_unknown",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Discount(_Part):
    """What the code took off: `applied_minor` in the order's currency, null when the order does not tell enough.

    A percentage (in hundredths of a percent) is taken of the order's subtotal and rounded half to even; a static amount
    counts where its currency is the order's. An order's codes together never take off more than its subtotal.
    """

    type: Literal["percent", "static"]
    percent_hundredths: int | None
    amount_minor: int | None
    currency: str | None
    applied_minor: int | None


class Terms(_Part):
    """The terms under which the code was redeemed, as they were."""

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


class CodeRedeemedV1(EventData):
    """A code was redeemed by an order, with the count of its uses and the terms as they were.

    The counts after this use each carry a version; the newer version wins. Uses of a coupon are counted only where a
    limit was set on it; otherwise its two members are null, and the sum over its codes is its count.
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
    order: Order | None
    attributes: Attributes
    attribute_names: list[str]
    occurred_at: EventTime
    codes_remaining: int | None
    times_redeemed: int
    times_redeemed_version: int
    coupon_times_redeemed: int | None
    coupon_times_redeemed_version: int | None
    terms: Terms


class CodeRedemptionRejectedV1(EventData):
    """An order's codes were understood and refused, all of them; `code` is the first at fault and `reason` says why."""

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
