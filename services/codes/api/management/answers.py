"""Coupons and promotion codes as the coupon API writes them: the members that its clients know first, then our own."""

import uuid
from typing import Any, Literal

from pydantic import Field

from services.codes.api.fields import Money
from services.codes.api.management.redeeming import RedemptionOutcome
from services.codes.domain.coupons import Coupon
from services.codes.domain.minting import code_link
from services.codes.domain.money import in_major_units, in_percent
from services.codes.domain.promotion_codes import PromotionCode, ShownCode, ShownCoupon
from shared.modes import is_test, shown_id
from shared.web import Moment, ResponseModel, TenantId

# Among the members that these clients know, an empty map is written as an empty list, as they expect.
MapOrEmpty = dict[str, Any] | list[Any]


class BriefCode(ResponseModel):
    """A code inside its coupon."""

    code: str
    active: bool
    times_redeemed: int
    created_at: Moment
    id: uuid.UUID
    external_id: str | None
    partner_id: TenantId | None


class BriefCodesMeta(ResponseModel):
    """Whether the coupon has more codes than those shown here."""

    has_more: bool


class BriefCodes(ResponseModel):
    """The newest codes of a coupon; the list of promotion codes has all of them."""

    data: list[BriefCode]
    meta: BriefCodesMeta


class BareCoupon(ResponseModel):
    """A coupon without its codes. Amounts are in major units; a limit is null if there is none."""

    name: str
    uuid_code: str
    active: bool
    coupon_discount_type: str
    coupon_discount_amount: Money
    coupon_duration_type: str
    coupon_duration_value: int | None
    redemption_specific_date_status: bool
    redemption_specific_date_value: Moment | None
    redemption_times_status: bool
    redemption_times_value: int | None
    metadata: MapOrEmpty
    additional_info: MapOrEmpty
    times_redeemed: int
    created_at: Moment
    updated_at: Moment
    deleted_at: Moment | None
    id: uuid.UUID
    external_id: str | None
    coupon_discount_currency: str | None
    coupon_discount_max_amount: Money | None
    coupon_discount_amounts: dict[str, Money]
    starts_at: Moment | None
    redemptions_per_code: int | None
    redemptions_per_customer: int | None
    redemptions_per_day: int | None
    redemptions_per_week: int | None
    redemptions_per_month: int | None
    budget_amount: Money | None
    budget_currency: str | None
    first_time_order: bool
    minimum_order_value: Money | None
    minimum_order_currency: str | None
    minimum_applies_to: str
    product_ids: list[str]
    excluded_product_ids: list[str]
    combination: str
    release_policy: str
    commission_percent: Money | None
    is_partner_coupon: bool = Field(description="Whether partner-generated codes belong to it.")
    is_test: bool


class CouponData(BareCoupon):
    """A coupon with its newest codes."""

    promotion_codes: BriefCodes


class PromotionCodeData(ResponseModel):
    """A code with its coupon."""

    code: str
    active: bool
    first_time_order: bool
    limit_to_specific_partner: bool
    coupon_specific_partners: MapOrEmpty
    limit_to_specific_customer: bool
    coupon_specific_customers: MapOrEmpty
    limit_to_specific_subscriber: bool
    coupon_specific_subscribers: MapOrEmpty
    minimum_order_status: bool
    minimum_order_value: Money | None
    expiration_date_status: bool
    expiration_date_value: Moment | None
    redemption_times_status: bool
    redemption_times_value: int | None
    metadata: MapOrEmpty
    additional_info: MapOrEmpty
    times_redeemed: int
    created_at: Moment
    updated_at: Moment
    deleted_at: Moment | None
    coupon: BareCoupon
    id: uuid.UUID
    coupon_id: uuid.UUID
    partner_id: TenantId | None
    external_id: str | None
    url: str | None = Field(
        description="Link that applies the code at checkout; null if the program has no `link_url`."
    )
    starts_at: Moment | None
    minimum_order_currency: str | None
    partner_only: bool
    commission_percent: Money | None
    is_auto_generated: bool
    reference: str | None = Field(description="The partner's own reference, given when the code was generated.")
    batch_id: uuid.UUID | None
    last_redeemed_at: Moment | None
    created_by_key_id: uuid.UUID | None = Field(
        description="The API key or account that created it or its job; null for the operator's token."
    )
    is_test: bool


class CouponAnswer(ResponseModel):
    """A coupon, and the result of pushing it to a payment provider."""

    data: CouponData
    status: Literal[1] = 1
    message: str
    synchronization_enabled: bool = False
    synchronization_successful: bool = False
    synchronization_message: str = ""


class ChangedCouponAnswer(CouponAnswer):
    """A coupon, and the result of redeeming it; null if that was not requested."""

    redemption: RedemptionOutcome | None


class ShownCouponAnswer(ResponseModel):
    """A coupon."""

    data: CouponData
    status: Literal[1] = 1


class PromotionCodeAnswer(ResponseModel):
    """A code, and what was done to it."""

    data: PromotionCodeData
    status: Literal[1] = 1
    message: str


class ChangedCodeAnswer(PromotionCodeAnswer):
    """A code, and the result of redeeming it; null if that was not requested."""

    redemption: RedemptionOutcome | None


class ShownCodeAnswer(ResponseModel):
    """A code."""

    data: PromotionCodeData
    status: Literal[1] = 1


class Outcome(ResponseModel):
    """What was done."""

    status: Literal[1] = 1
    message: str


class OutcomeAnswer(ResponseModel):
    """What was done, nested as clients of this API expect."""

    data: Outcome


def coupon_data(shown: ShownCoupon, additional_info: MapOrEmpty | None = None) -> CouponData:
    """Return a coupon with its newest codes, in the form of this API."""
    members = _coupon(shown.coupon) | {"additional_info": additional_info or []}
    codes = BriefCodes(data=[_brief(code) for code in shown.codes], meta=BriefCodesMeta(has_more=shown.has_more_codes))
    return CouponData(**members, promotion_codes=codes)


def promotion_code_data(shown: ShownCode, additional_info: MapOrEmpty | None = None) -> PromotionCodeData:
    """Return a code with its coupon, in the form of this API."""
    code, partner = shown.code, shown.partner
    return PromotionCodeData(
        code=code.code,
        active=code.is_active,
        first_time_order=code.is_first_order_only,
        limit_to_specific_partner=partner is not None,
        coupon_specific_partners={"id": shown_id(partner.id), "full_name": partner.name} if partner else [],
        limit_to_specific_customer=code.is_limited_to_customer,
        coupon_specific_customers={"id": code.customer_id, "customer_full_name": code.customer_name}
        if code.customer_id is not None
        else [],
        limit_to_specific_subscriber=False,
        coupon_specific_subscribers=[],
        minimum_order_status=code.minimum_minor is not None,
        minimum_order_value=in_major_units(code.minimum_minor, code.minimum_currency),
        expiration_date_status=code.expires_at is not None,
        expiration_date_value=code.expires_at,
        redemption_times_status=code.redemption_limit is not None,
        redemption_times_value=code.redemption_limit,
        metadata=dict(code.metadata) or [],
        additional_info=additional_info or [],
        times_redeemed=code.times_redeemed,
        created_at=code.created_at,
        updated_at=code.updated_at,
        deleted_at=code.archived_at,
        coupon=BareCoupon(**_coupon(shown.coupon)),
        id=code.id,
        coupon_id=code.coupon_id,
        partner_id=code.partner_id,
        external_id=code.external_id,
        url=code_link(shown.link_url, code.code),
        starts_at=code.starts_at,
        minimum_order_currency=code.minimum_currency,
        partner_only=code.is_limited_to_partner,
        commission_percent=in_percent(code.commission_hundredths),
        is_auto_generated=code.is_auto_generated,
        reference=code.reference,
        batch_id=code.batch_id,
        last_redeemed_at=code.last_redeemed_at,
        created_by_key_id=code.created_by_key_id,
        is_test=is_test(code.program_id),
    )


def _brief(code: PromotionCode) -> BriefCode:
    return BriefCode(
        code=code.code,
        active=code.is_active,
        times_redeemed=code.times_redeemed,
        created_at=code.created_at,
        id=code.id,
        external_id=code.external_id,
        partner_id=code.partner_id,
    )


def _coupon(coupon: Coupon) -> dict[str, Any]:
    discount = in_percent(coupon.percent_hundredths)
    return {
        "name": coupon.name,
        "uuid_code": coupon.uuid_code,
        "active": coupon.is_active,
        "coupon_discount_type": coupon.discount_type,
        "coupon_discount_amount": in_major_units(coupon.amount_minor, coupon.currency)
        if discount is None
        else discount,
        "coupon_duration_type": coupon.duration_type,
        "coupon_duration_value": coupon.duration_value,
        "redemption_specific_date_status": coupon.expires_at is not None,
        "redemption_specific_date_value": coupon.expires_at,
        "redemption_times_status": coupon.redemption_limit is not None,
        "redemption_times_value": coupon.redemption_limit,
        "metadata": dict(coupon.metadata) or [],
        "additional_info": [],
        "times_redeemed": coupon.times_redeemed,
        "created_at": coupon.created_at,
        "updated_at": coupon.updated_at,
        "deleted_at": coupon.archived_at,
        "id": coupon.id,
        "external_id": coupon.external_id,
        "coupon_discount_currency": coupon.currency,
        "coupon_discount_max_amount": in_major_units(coupon.max_discount_minor, coupon.currency),
        "coupon_discount_amounts": {c: in_major_units(m, c) for c, m in coupon.amounts_by_currency.items()},
        "starts_at": coupon.starts_at,
        "redemptions_per_code": coupon.code_redemption_limit,
        "redemptions_per_customer": coupon.customer_redemption_limit,
        "redemptions_per_day": coupon.daily_redemption_limit,
        "redemptions_per_week": coupon.weekly_redemption_limit,
        "redemptions_per_month": coupon.monthly_redemption_limit,
        "budget_amount": in_major_units(coupon.budget_minor, coupon.budget_currency),
        "budget_currency": coupon.budget_currency,
        "first_time_order": coupon.is_first_order_only,
        "minimum_order_value": in_major_units(coupon.minimum_minor, coupon.minimum_currency),
        "minimum_order_currency": coupon.minimum_currency,
        "minimum_applies_to": coupon.minimum_applies_to,
        "product_ids": list(coupon.product_ids),
        "excluded_product_ids": list(coupon.excluded_product_ids),
        "combination": coupon.combination,
        "release_policy": coupon.release_policy,
        "commission_percent": in_percent(coupon.commission_hundredths),
        "is_partner_coupon": coupon.is_partner_coupon,
        "is_test": is_test(coupon.program_id),
    }
