"""Coupons and promotional codes as the query API writes them: camel case, every member always there."""

from datetime import datetime
from typing import Final

from pydantic import Field, RootModel

from services.codes.api.query.pages import CamelResponse, time_text
from services.codes.domain.coupons import Coupon
from services.codes.domain.money import major_units, percent
from services.codes.domain.promotion_codes import PromotionCode, ShownCode, ShownCoupon
from shared.clock import format_milliseconds
from shared.modes import shown_id, shown_id_or_none

_DURATIONS: Final = {"once": "once", "lifetime": "forever"}


class Affiliate(CamelResponse):
    """The partner that a code belongs to."""

    id: str
    first_name: str | None
    last_name: str | None
    email: str | None


class BareQueryCoupon(CamelResponse):
    """A coupon without its codes; amounts are in major units."""

    id: str
    name: str
    external_id: str | None
    coupon_type: str
    percent_off: int | float | None
    amount_off: int | float | None
    currency: str | None
    duration: str
    duration_in_months: int | None
    max_redemptions: int | None
    limit_to_products: bool
    product_ids: list[str]
    valid: bool
    redeem_by: str | None
    integration_type: str | None
    affiliate_program_id: str
    created_at: str
    updated_at: str


class BarePromotionalCode(CamelResponse):
    """A code without its coupon and its affiliate."""

    id: str
    code: str
    coupon_id: str
    affiliate_id: str | None
    external_id: str | None
    active: bool
    expires_at: str | None
    max_redemptions: int | None
    times_redeemed: int
    first_time_order: bool
    minimum_amount: int | float | None
    minimum_amount_currency: str | None
    limit_to_customers: bool
    customer_id: str | None
    limit_to_affiliate: bool
    is_auto_generated: bool
    created_at: str
    updated_at: str


class PromotionalCode(BarePromotionalCode):
    """A code with its coupon and its affiliate."""

    coupon: BareQueryCoupon
    affiliate: Affiliate | None


class QueryCoupon(BareQueryCoupon):
    """A coupon with the newest of its codes, 15 at most."""

    promotional_codes: list[BarePromotionalCode]
    has_more_promotional_codes: bool = Field(description="Whether it has more codes; the query of codes has them all.")


class PromotionalCodes(RootModel[PromotionalCode | list[PromotionalCode]]):
    """One code where `id`, `code` or `externalId` was given, else an array of codes."""


class QueryCoupons(RootModel[QueryCoupon | list[QueryCoupon]]):
    """One coupon where `id` or `externalId` was given, else an array of coupons."""


def promotional_code(shown: ShownCode, now: datetime) -> PromotionalCode:
    """Return a code as this API writes it."""
    partner = shown.partner
    affiliate = None
    if partner is not None:
        affiliate = Affiliate(
            id=shown_id(partner.id), first_name=partner.first_name, last_name=partner.last_name, email=partner.email
        )
    return PromotionalCode(
        **_code(shown.code).model_dump(), coupon=BareQueryCoupon(**_coupon(shown.coupon, now)), affiliate=affiliate
    )


def query_coupon(shown: ShownCoupon, now: datetime) -> QueryCoupon:
    """Return a coupon with its newest codes as this API writes it."""
    return QueryCoupon(
        **_coupon(shown.coupon, now),
        promotional_codes=[_code(code) for code in shown.codes],
        has_more_promotional_codes=shown.has_more_codes,
    )


def months_of(coupon: Coupon) -> int | None:
    """Return a duration in months; None for what is no number of months."""
    if coupon.duration_value is None or coupon.duration_type not in ("months", "years"):
        return None
    return coupon.duration_value * (12 if coupon.duration_type == "years" else 1)


def _code(code: PromotionCode) -> BarePromotionalCode:
    minimum = None
    if code.minimum_minor is not None and code.minimum_currency is not None:
        minimum = major_units(code.minimum_minor, code.minimum_currency)
    return BarePromotionalCode(
        id=str(code.id),
        code=code.code,
        coupon_id=str(code.coupon_id),
        affiliate_id=shown_id_or_none(code.partner_id),
        external_id=code.external_id,
        active=code.is_active,
        expires_at=time_text(code.expires_at),
        max_redemptions=code.redemption_limit,
        times_redeemed=code.times_redeemed,
        first_time_order=code.is_first_order_only,
        minimum_amount=minimum,
        minimum_amount_currency=code.minimum_currency,
        limit_to_customers=code.is_limited_to_customer,
        customer_id=code.customer_id,
        limit_to_affiliate=code.is_limited_to_partner,
        is_auto_generated=code.is_auto_generated,
        created_at=format_milliseconds(code.created_at),
        updated_at=format_milliseconds(code.updated_at),
    )


def _coupon(coupon: Coupon, now: datetime) -> dict[str, object]:
    amount = None
    if coupon.amount_minor is not None and coupon.currency is not None:
        amount = major_units(coupon.amount_minor, coupon.currency)
    return {
        "id": str(coupon.id),
        "name": coupon.name,
        "external_id": coupon.external_id,
        "coupon_type": "PERCENTAGE" if coupon.discount_type == "percent" else "FIXED",
        "percent_off": None if coupon.percent_hundredths is None else percent(coupon.percent_hundredths),
        "amount_off": amount,
        "currency": coupon.currency,
        "duration": _DURATIONS.get(coupon.duration_type, "repeating"),
        "duration_in_months": months_of(coupon),
        "max_redemptions": coupon.redemption_limit,
        "limit_to_products": bool(coupon.product_ids),
        "product_ids": list(coupon.product_ids),
        "valid": coupon.is_valid(now),
        "redeem_by": time_text(coupon.expires_at),
        "integration_type": None,
        "affiliate_program_id": shown_id(coupon.program_id),
        "created_at": format_milliseconds(coupon.created_at),
        "updated_at": format_milliseconds(coupon.updated_at),
    }
