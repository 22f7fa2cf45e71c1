"""Coupons and promotion codes as the coupon API writes them: the members that its clients know first, then our own."""

from typing import Any, Literal

from pydantic import Field

from services.codes.api.management.redeeming import RedemptionOutcome
from services.codes.domain.coupons import Coupon
from services.codes.domain.minting import code_link
from services.codes.domain.money import major_units, percent
from services.codes.domain.promotion_codes import PromotionCode, ShownCode, ShownCoupon
from shared.clock import format_microseconds
from shared.modes import is_test, shown_id, shown_id_or_none
from shared.web import ResponseModel

# Of their own members an empty map is written as an empty list, which is what these clients expect.
MapOrEmpty = dict[str, Any] | list[Any]


class BriefCode(ResponseModel):
    """A code as it is shown inside its coupon."""

    code: str
    active: bool
    times_redeemed: int
    created_at: str
    id: str
    external_id: str | None
    partner_id: str | None


class BriefCodesMeta(ResponseModel):
    """Whether the coupon has more codes than are shown here."""

    has_more: bool


class BriefCodes(ResponseModel):
    """The newest of a coupon's codes; the list of promotion codes has all."""

    data: list[BriefCode]
    meta: BriefCodesMeta


class BareCoupon(ResponseModel):
    """A coupon without its codes. Amounts are in major units, limits null where there is none."""

    name: str
    uuid_code: str
    active: bool
    coupon_discount_type: str
    coupon_discount_amount: int | float
    coupon_duration_type: str
    coupon_duration_value: int | None
    redemption_specific_date_status: bool
    redemption_specific_date_value: str | None
    redemption_times_status: bool
    redemption_times_value: int | None
    metadata: MapOrEmpty
    additional_info: MapOrEmpty
    times_redeemed: int
    created_at: str
    updated_at: str
    deleted_at: str | None
    id: str
    external_id: str | None
    coupon_discount_currency: str | None
    coupon_discount_max_amount: int | float | None
    coupon_discount_amounts: dict[str, int | float]
    starts_at: str | None
    redemptions_per_code: int | None
    redemptions_per_customer: int | None
    redemptions_per_day: int | None
    redemptions_per_week: int | None
    redemptions_per_month: int | None
    budget_amount: int | float | None
    budget_currency: str | None
    first_time_order: bool
    minimum_order_value: int | float | None
    minimum_order_currency: str | None
    minimum_applies_to: str
    product_ids: list[str]
    excluded_product_ids: list[str]
    combination: str
    release_policy: str
    commission_percent: int | float | None
    is_partner_coupon: bool = Field(description="Whether the codes that partners generate belong to it.")
    is_test: bool


class CouponData(BareCoupon):
    """A coupon with the newest of its codes."""

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
    minimum_order_value: int | float | None
    expiration_date_status: bool
    expiration_date_value: str | None
    redemption_times_status: bool
    redemption_times_value: int | None
    metadata: MapOrEmpty
    additional_info: MapOrEmpty
    times_redeemed: int
    created_at: str
    updated_at: str
    deleted_at: str | None
    coupon: BareCoupon
    id: str
    coupon_id: str
    partner_id: str | None
    external_id: str | None
    url: str | None = Field(description="Link that applies the code at checkout; null without a program's `link_url`.")
    starts_at: str | None
    minimum_order_currency: str | None
    partner_only: bool
    commission_percent: int | float | None
    is_auto_generated: bool
    reference: str | None = Field(description="What its partner called it when it was generated.")
    batch_id: str | None
    last_redeemed_at: str | None
    created_by_key_id: str | None = Field(
        description="The API key that made it, or that asked for the job; null for the operator."
    )
    is_test: bool


class CouponAnswer(ResponseModel):
    """A coupon, and what came of pushing it to a payment provider."""

    data: CouponData
    status: Literal[1] = 1
    message: str
    synchronization_enabled: bool = False
    synchronization_successful: bool = False
    synchronization_message: str = ""


class ChangedCouponAnswer(CouponAnswer):
    """A coupon, and what came of redeeming it, null if that was not asked for."""

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
    """A code, and what came of redeeming it, null if that was not asked for."""

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
    """What was done, nested as the clients of this API know it."""

    data: Outcome


def coupon_data(shown: ShownCoupon, additional_info: MapOrEmpty | None = None) -> CouponData:
    """Return a coupon with its newest codes, as this API writes it."""
    members = _coupon(shown.coupon) | {"additional_info": additional_info or []}
    codes = BriefCodes(data=[_brief(code) for code in shown.codes], meta=BriefCodesMeta(has_more=shown.has_more_codes))
    return CouponData(**members, promotion_codes=codes)


def promotion_code_data(shown: ShownCode, additional_info: MapOrEmpty | None = None) -> PromotionCodeData:
    """Return a code with its coupon, as this API writes it."""
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
        minimum_order_value=_amount(code.minimum_minor, code.minimum_currency),
        expiration_date_status=code.expires_at is not None,
        expiration_date_value=time_text(code.expires_at),
        redemption_times_status=code.redemption_limit is not None,
        redemption_times_value=code.redemption_limit,
        metadata=dict(code.metadata) or [],
        additional_info=additional_info or [],
        times_redeemed=code.times_redeemed,
        created_at=format_microseconds(code.created_at),
        updated_at=format_microseconds(code.updated_at),
        deleted_at=time_text(code.archived_at),
        coupon=BareCoupon(**_coupon(shown.coupon)),
        id=str(code.id),
        coupon_id=str(code.coupon_id),
        partner_id=shown_id_or_none(code.partner_id),
        external_id=code.external_id,
        url=code_link(shown.link_url, code.code),
        starts_at=time_text(code.starts_at),
        minimum_order_currency=code.minimum_currency,
        partner_only=code.is_limited_to_partner,
        commission_percent=_percent(code.commission_hundredths),
        is_auto_generated=code.is_auto_generated,
        reference=code.reference,
        batch_id=str(code.batch_id) if code.batch_id else None,
        last_redeemed_at=time_text(code.last_redeemed_at),
        created_by_key_id=str(code.created_by_key_id) if code.created_by_key_id else None,
        is_test=is_test(code.program_id),
    )


def time_text(moment: Any) -> str | None:
    """Return a time as this API writes it; None for None."""
    return None if moment is None else format_microseconds(moment)


def _brief(code: PromotionCode) -> BriefCode:
    return BriefCode(
        code=code.code,
        active=code.is_active,
        times_redeemed=code.times_redeemed,
        created_at=format_microseconds(code.created_at),
        id=str(code.id),
        external_id=code.external_id,
        partner_id=shown_id_or_none(code.partner_id),
    )


def _coupon(coupon: Coupon) -> dict[str, Any]:
    discount = _percent(coupon.percent_hundredths)
    return {
        "name": coupon.name,
        "uuid_code": coupon.uuid_code,
        "active": coupon.is_active,
        "coupon_discount_type": coupon.discount_type,
        "coupon_discount_amount": _amount(coupon.amount_minor, coupon.currency) if discount is None else discount,
        "coupon_duration_type": coupon.duration_type,
        "coupon_duration_value": coupon.duration_value,
        "redemption_specific_date_status": coupon.expires_at is not None,
        "redemption_specific_date_value": time_text(coupon.expires_at),
        "redemption_times_status": coupon.redemption_limit is not None,
        "redemption_times_value": coupon.redemption_limit,
        "metadata": dict(coupon.metadata) or [],
        "additional_info": [],
        "times_redeemed": coupon.times_redeemed,
        "created_at": format_microseconds(coupon.created_at),
        "updated_at": format_microseconds(coupon.updated_at),
        "deleted_at": time_text(coupon.archived_at),
        "id": str(coupon.id),
        "external_id": coupon.external_id,
        "coupon_discount_currency": coupon.currency,
        "coupon_discount_max_amount": _amount(coupon.max_discount_minor, coupon.currency),
        "coupon_discount_amounts": {c: major_units(m, c) for c, m in coupon.amounts_by_currency.items()},
        "starts_at": time_text(coupon.starts_at),
        "redemptions_per_code": coupon.code_redemption_limit,
        "redemptions_per_customer": coupon.customer_redemption_limit,
        "redemptions_per_day": coupon.daily_redemption_limit,
        "redemptions_per_week": coupon.weekly_redemption_limit,
        "redemptions_per_month": coupon.monthly_redemption_limit,
        "budget_amount": _amount(coupon.budget_minor, coupon.budget_currency),
        "budget_currency": coupon.budget_currency,
        "first_time_order": coupon.is_first_order_only,
        "minimum_order_value": _amount(coupon.minimum_minor, coupon.minimum_currency),
        "minimum_order_currency": coupon.minimum_currency,
        "minimum_applies_to": coupon.minimum_applies_to,
        "product_ids": list(coupon.product_ids),
        "excluded_product_ids": list(coupon.excluded_product_ids),
        "combination": coupon.combination,
        "release_policy": coupon.release_policy,
        "commission_percent": _percent(coupon.commission_hundredths),
        "is_partner_coupon": coupon.is_partner_coupon,
        "is_test": is_test(coupon.program_id),
    }


def _amount(minor: int | None, currency: str | None) -> int | float | None:
    return None if minor is None or currency is None else major_units(minor, currency)


def _percent(in_hundredths: int | None) -> int | float | None:
    return None if in_hundredths is None else percent(in_hundredths)
