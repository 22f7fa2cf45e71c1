"""Events of the codes service."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from shared.events.checkout import EventUUID
from shared.events.envelope import EventTime, ServiceEvent, ShortText

SOURCE = "/mintwire/codes"


class CodesGeneratedV1(ServiceEvent):
    """A partner's key minted codes; one event per grouped statement and partner."""

    type: ClassVar[str] = "codes.generated"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID
    coupon_id: EventUUID
    codes: list[ShortText]
    code_ids: list[EventUUID]
    expires_at: EventTime
    codes_remaining: int


class CodesBatchCompletedV1(ServiceEvent):
    """A batch of codes is complete; the job returns its codes."""

    type: ClassVar[str] = "codes.batch_completed"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    coupon_id: EventUUID
    job_id: EventUUID
    count: int
    expires_at: EventTime | None


class _CouponState(ServiceEvent):
    """A coupon as it is after the event: money in minor units, null for no limit."""

    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    coupon_id: EventUUID
    uuid_code: ShortText
    external_id: str | None
    name: str
    is_active: bool
    discount_type: Literal["percent", "static"]
    percent_hundredths: int | None
    amount_minor: int | None
    currency: str | None
    amounts_by_currency: dict[str, int]
    max_discount_minor: int | None
    duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"]
    duration_value: int | None
    starts_at: EventTime | None
    expires_at: EventTime | None
    redemption_limit: int | None
    code_redemption_limit: int | None
    customer_redemption_limit: int | None
    daily_redemption_limit: int | None
    weekly_redemption_limit: int | None
    monthly_redemption_limit: int | None
    budget_minor: int | None
    budget_currency: str | None
    is_first_order_only: bool
    minimum_minor: int | None
    minimum_currency: str | None
    product_ids: list[str]
    release_policy: Literal["always", "until_expiry", "never"]
    commission_hundredths: int | None
    metadata: dict[str, Any]
    archived_at: EventTime | None
    occurred_at: EventTime
    minimum_applies_to: Literal["eligible", "order"] = "eligible"
    excluded_product_ids: list[str] = Field(default_factory=list)
    combination: Literal["any", "other_coupons", "none"] = "any"


class CouponCreatedV1(_CouponState):
    """A coupon was created, perhaps with codes."""

    type: ClassVar[str] = "coupon.created"
    version: ClassVar[int] = 1

    codes: list[ShortText]


class CouponUpdatedV1(_CouponState):
    """A coupon was changed or archived; `changed` names the members that differ."""

    type: ClassVar[str] = "coupon.updated"
    version: ClassVar[int] = 1

    changed: list[str]


class CodeUpdatedV1(ServiceEvent):
    """A promotion code was changed or archived; `changed` names the members that differ.

    Its partner receives the event too, so it contains neither the code's customer nor the program's metadata.
    """

    type: ClassVar[str] = "code.updated"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    coupon_id: EventUUID
    code_id: EventUUID
    code: ShortText
    external_id: str | None
    is_active: bool
    starts_at: EventTime | None
    expires_at: EventTime | None
    redemption_limit: int | None
    is_first_order_only: bool
    minimum_minor: int | None
    minimum_currency: str | None
    is_limited_to_customer: bool
    is_limited_to_partner: bool
    commission_hundredths: int | None
    archived_at: EventTime | None
    changed: list[str]
    occurred_at: EventTime


class QuotaLowV1(ServiceEvent):
    """A mint left a partner with no more codes than its threshold; emitted once until the quota is above it again."""

    type: ClassVar[str] = "quota.low"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID
    codes_remaining: int
    threshold: int


class QuotaExhaustedV1(ServiceEvent):
    """A mint took the last code of a partner's quota."""

    type: ClassVar[str] = "quota.exhausted"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID


class _CodeOrderEvent(ServiceEvent):
    """An order of codes after the event."""

    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID
    code_order_id: EventUUID
    count: int
    reference: str | None
    note: str | None
    occurred_at: EventTime


class CodeOrderCreatedV1(_CodeOrderEvent):
    """A partner ordered codes; its program approves or refuses the order."""

    type: ClassVar[str] = "code_order.created"
    version: ClassVar[int] = 1


class CodeOrderGrantedV1(_CodeOrderEvent):
    """The codes of an order were added to the partner's quota; emitted once per order."""

    type: ClassVar[str] = "code_order.granted"
    version: ClassVar[int] = 1

    is_paid: bool = Field(description="Whether a payment granted it, and not the program's approval.")
    codes_remaining: int


class CodeOrderRefusedV1(_CodeOrderEvent):
    """The program refused an order of codes; `reason` is what it told the partner."""

    type: ClassVar[str] = "code_order.refused"
    version: ClassVar[int] = 1

    reason: str


class CodeOrderCancelledV1(_CodeOrderEvent):
    """The partner cancelled its pending order of codes."""

    type: ClassVar[str] = "code_order.cancelled"
    version: ClassVar[int] = 1
