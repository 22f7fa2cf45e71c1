"""What requests of the coupon API say about coupons."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.codes.api.exchange import given
from services.codes.api.fields import (
    Amount,
    AmountsByCurrency,
    Count,
    Currency,
    ExternalId,
    Hundredths,
    Metadata,
    Name,
    ProductIds,
    UUIDCode,
)
from services.codes.api.promotion_code_fields import NewCode
from services.codes.api.redeeming import Redeeming
from services.codes.api.words import COUPON_MEMBERS
from services.codes.domain.coupon_terms import CouponDraft, CouponTerms
from services.codes.domain.coupons import MAX_COUNT
from services.codes.domain.given import Given
from shared.web import InstantOrDate, Int, RequestModel, Text, field_error


class Sync(RequestModel):
    """Where to push the coupon."""

    provider: Literal["stripe", "shopify", "woocommerce", "paddle"] = Field(
        description="Must be connected to the program."
    )


class _CouponFields(RequestModel):
    name: Name | None = Field(None, description="Customer-facing; the `uuid_code` if absent.")
    active: bool = Field(default_factory=bool)
    redemption_specific_date_status: bool = Field(default_factory=bool, description="Whether it expires.")
    redemption_specific_date_value: InstantOrDate | None = None
    redemption_times_status: bool = Field(default_factory=bool, description="Whether its uses are limited.")
    redemption_times_value: Count | None = None
    metadata: Metadata = Field(default_factory=dict)
    sync: Sync | None = None
    external_id: ExternalId | None = Field(None, description="What others call it; unique within the program.")
    coupon_discount_currency: Currency | None = Field(
        None, description="Of the static amount and of the greatest discount; the program's if absent."
    )
    coupon_discount_max_amount: Amount | None = Field(None, description="What a percentage takes off at most.")
    coupon_discount_amounts: AmountsByCurrency = Field(
        default_factory=dict, description="A static amount in further currencies."
    )
    starts_at: InstantOrDate | None = None
    redemptions_per_code: Count | None = Field(None, description="Uses of each code that has no limit of its own.")
    redemptions_per_customer: Count | None = None
    redemptions_per_day: Count | None = Field(None, description="In the program's time zone, as the next two.")
    redemptions_per_week: Count | None = Field(None, description="Weeks begin on Monday.")
    redemptions_per_month: Count | None = None
    budget_amount: Amount | None = Field(None, description="What all uses together take off at most.")
    budget_currency: Currency | None = Field(None, description="The program's if absent.")
    first_time_order: bool = Field(default_factory=bool, description="Only for a customer's first order.")
    minimum_order_value: Amount | None = None
    minimum_order_currency: Currency | None = Field(None, description="The program's if absent.")
    minimum_applies_to: Literal["eligible", "order"] = Field(
        default_factory=lambda: "eligible",
        description="What the minimum of a coupon for some products counts: these products, or the whole order.",
    )
    product_ids: ProductIds = Field(
        default_factory=list,
        description="Only for these products; empty for all. The order must name its items with their amounts.",
    )
    excluded_product_ids: ProductIds = Field(
        default_factory=list, description="Not for these products, which are taken out of `product_ids`."
    )
    combination: Literal["any", "other_coupons", "none"] = Field(
        default_factory=lambda: "other_coupons",
        description="Which other codes an order may have beside one of this coupon: any, those of other coupons, none.",
    )
    release_policy: Literal["always", "until_expiry", "never"] = Field(
        default_factory=lambda: "always", description="Whether a voided redemption gives its use back."
    )
    commission_percent: Hundredths | None = Field(None, description="The partner's share, where its code has no other.")

    @property
    def provider(self) -> str | None:
        """Where to push the coupon."""
        return self.sync.provider if self.sync else None


class CouponCreation(_CouponFields):
    """A coupon to be made."""

    active: bool = True
    uuid_code: UUIDCode | None = Field(None, description="Its unique name; generated if absent.")
    coupon_discount_type: Literal["percent", "static"]
    coupon_discount_amount: Amount = Field(description="0 to 100 for percent, else an amount.")
    coupon_duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"]
    coupon_duration_value: Count | None = Field(None, description="Required for hours, days, months and years.")
    opening_uses: Annotated[Int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="Uses elsewhere before: it begins with this count, for its limit too."
    )
    promotion_codes: list[NewCode] = Field(
        default_factory=list, max_length=500, description="Codes to be made with it."
    )


class CouponChange(_CouponFields):
    """Members to be changed; the others stay. Terms are frozen once a redemption is known."""

    coupon_discount_type: Literal["percent", "static"] = Field(default_factory=lambda: "percent")
    coupon_discount_amount: Amount = Field(default_factory=Decimal)
    coupon_duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"] = Field(
        default_factory=lambda: "once"
    )
    coupon_duration_value: Count | None = None


class NamedCouponChange(CouponChange, Redeeming):
    """Members to be changed of the coupon that `uuid_code` names."""

    uuid_code: UUIDCode
    code: Annotated[Text, Field(min_length=1)] | None = Field(
        None, description="Which of its codes to redeem, in any spelling; needed if it has several."
    )

    @model_validator(mode="after")
    def _names_a_code_to_redeem(self) -> "NamedCouponChange":
        if self.code is not None and not self.redeem:
            raise field_error("code", "is for redeem only")
        return self


def new_coupon(body: CouponCreation) -> CouponDraft:
    """Return the coupon that a request asks for."""
    return CouponDraft(
        terms=given(CouponTerms, body, COUPON_MEMBERS),
        uuid_code=body.uuid_code,
        opening_uses=body.opening_uses,
        provider=body.provider,
    )


def coupon_changes(body: CouponChange) -> Given[CouponTerms]:
    """Return what a request changes of a coupon."""
    return given(CouponTerms, body, COUPON_MEMBERS)
