"""Coupons and promotional codes in the form of the query API: camel case, every member always present."""

import uuid
from datetime import datetime
from typing import Final

from pydantic import Field, RootModel

from services.codes.api.fields import Money
from services.codes.api.query.pages import CamelResponse
from services.codes.domain.coupons import Coupon
from services.codes.domain.money import in_major_units, in_percent
from services.codes.domain.promotion_codes import PromotionCode, ShownCode, ShownCoupon
from shared.web import MillisecondMoment, TenantId

_DURATIONS: Final = {"once": "once", "lifetime": "forever"}


class Affiliate(CamelResponse):
    """The partner that a code belongs to."""

    id: TenantId
    first_name: str | None
    last_name: str | None
    email: str | None


class BareQueryCoupon(CamelResponse):
    """A coupon without its codes; amounts are in major units."""

    id: uuid.UUID
    name: str
    external_id: str | None
    coupon_type: str
    percent_off: Money | None
    amount_off: Money | None
    currency: str | None
    duration: str
    duration_in_months: int | None
    max_redemptions: int | None
    limit_to_products: bool
    product_ids: list[str]
    valid: bool
    redeem_by: MillisecondMoment | None
    integration_type: str | None
    affiliate_program_id: TenantId
    created_at: MillisecondMoment
    updated_at: MillisecondMoment


class BarePromotionalCode(CamelResponse):
    """A code without its coupon and its affiliate."""

    id: uuid.UUID
    code: str
    coupon_id: uuid.UUID
    affiliate_id: TenantId | None
    external_id: str | None
    active: bool
    expires_at: MillisecondMoment | None
    max_redemptions: int | None
    times_redeemed: int
    first_time_order: bool
    minimum_amount: Money | None
    minimum_amount_currency: str | None
    limit_to_customers: bool
    customer_id: str | None
    limit_to_affiliate: bool
    is_auto_generated: bool
    created_at: MillisecondMoment
    updated_at: MillisecondMoment


class PromotionalCode(BarePromotionalCode):
    """A code with its coupon and its affiliate."""

    coupon: BareQueryCoupon
    affiliate: Affiliate | None


class QueryCoupon(BareQueryCoupon):
    """A coupon with its newest codes, at most 15."""

    promotional_codes: list[BarePromotionalCode]
    has_more_promotional_codes: bool = Field(
        description="Whether it has more codes; the query of codes returns all of them."
    )


class PromotionalCodes(RootModel[PromotionalCode | list[PromotionalCode]]):
    """One code if `id`, `code` or `externalId` is given, otherwise an array of codes."""


class QueryCoupons(RootModel[QueryCoupon | list[QueryCoupon]]):
    """One coupon if `id` or `externalId` is given, otherwise an array of coupons."""


def promotional_code(shown: ShownCode, now: datetime) -> PromotionalCode:
    """Return a code in the form of this API."""
    partner = shown.partner
    affiliate = None
    if partner is not None:
        affiliate = Affiliate(
            id=partner.id, first_name=partner.first_name, last_name=partner.last_name, email=partner.email
        )
    return PromotionalCode(
        **dict(_code(shown.code)), coupon=BareQueryCoupon(**_coupon(shown.coupon, now)), affiliate=affiliate
    )


def query_coupon(shown: ShownCoupon, now: datetime) -> QueryCoupon:
    """Return a coupon with its newest codes in the form of this API."""
    return QueryCoupon(
        **_coupon(shown.coupon, now),
        promotional_codes=[_code(code) for code in shown.codes],
        has_more_promotional_codes=shown.has_more_codes,
    )


def months_of(coupon: Coupon) -> int | None:
    """Return a duration in months; None if it is not a number of months."""
    if coupon.duration_value is None or coupon.duration_type not in ("months", "years"):
        return None
    return coupon.duration_value * (12 if coupon.duration_type == "years" else 1)


def _code(code: PromotionCode) -> BarePromotionalCode:
    return BarePromotionalCode(
        id=code.id,
        code=code.code,
        coupon_id=code.coupon_id,
        affiliate_id=code.partner_id,
        external_id=code.external_id,
        active=code.is_active,
        expires_at=code.expires_at,
        max_redemptions=code.redemption_limit,
        times_redeemed=code.times_redeemed,
        first_time_order=code.is_first_order_only,
        minimum_amount=in_major_units(code.minimum_minor, code.minimum_currency),
        minimum_amount_currency=code.minimum_currency,
        limit_to_customers=code.is_limited_to_customer,
        customer_id=code.customer_id,
        limit_to_affiliate=code.is_limited_to_partner,
        is_auto_generated=code.is_auto_generated,
        created_at=code.created_at,
        updated_at=code.updated_at,
    )


def _coupon(coupon: Coupon, now: datetime) -> dict[str, object]:
    return {
        "id": coupon.id,
        "name": coupon.name,
        "external_id": coupon.external_id,
        "coupon_type": "PERCENTAGE" if coupon.discount_type == "percent" else "FIXED",
        "percent_off": in_percent(coupon.percent_hundredths),
        "amount_off": in_major_units(coupon.amount_minor, coupon.currency),
        "currency": coupon.currency,
        "duration": _DURATIONS.get(coupon.duration_type, "repeating"),
        "duration_in_months": months_of(coupon),
        "max_redemptions": coupon.redemption_limit,
        "limit_to_products": bool(coupon.product_ids),
        "product_ids": list(coupon.product_ids),
        "valid": coupon.is_valid(now),
        "redeem_by": coupon.expires_at,
        "integration_type": None,
        "affiliate_program_id": coupon.program_id,
        "created_at": coupon.created_at,
        "updated_at": coupon.updated_at,
    }
