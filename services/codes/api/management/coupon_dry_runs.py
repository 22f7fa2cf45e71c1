"""Dry runs of coupons: how one is asked for, and what a request would create or change."""

from datetime import datetime
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field, PlainSerializer, RootModel, WithJsonSchema

from services.codes.api.fields import QueryBool, is_true
from services.codes.api.management.answers import ChangedCouponAnswer, CouponAnswer, coupon_data
from services.codes.domain.coupons import Coupon
from services.codes.domain.promotion_codes import TriedCoupon
from shared.draft_coupons import DraftCoupon
from shared.times import zone_named
from shared.web import QueryModel, ResponseModel, json_response

_TRIED: Final = "Nothing was changed: this was a dry run."

LocalMoment = Annotated[
    datetime,
    PlainSerializer(lambda moment: moment.isoformat(timespec="microseconds"), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class DryRunQuery(QueryModel):
    """Whether to do it."""

    dry_run: QueryBool | None = Field(
        None,
        description="`true` checks the request in full, against what exists too, and responds with the coupon as it "
        "would be (200). Nothing is created, changed, audited, emitted or stored under the `Idempotency-Key`.",
    )

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is to be done."""
        return bool(is_true(self.dry_run))


def draft_terms(coupon: Coupon) -> DraftCoupon:
    """Return a coupon's terms under the names of the view that decisions read."""
    return DraftCoupon(
        discount_type=coupon.discount_type,
        percent_hundredths=coupon.percent_hundredths,
        amount_minor=coupon.amount_minor,
        currency=coupon.currency,
        amounts_by_currency=coupon.amounts_by_currency,
        max_discount_minor=coupon.max_discount_minor,
        duration_type=coupon.duration_type,
        duration_value=coupon.duration_value,
        coupon_is_active=coupon.is_active,
        coupon_starts_at=coupon.starts_at,
        coupon_expires_at=coupon.expires_at,
        coupon_redemption_limit=coupon.redemption_limit,
        code_redemption_limit=coupon.code_redemption_limit,
        customer_redemption_limit=coupon.customer_redemption_limit,
        daily_redemption_limit=coupon.daily_redemption_limit,
        weekly_redemption_limit=coupon.weekly_redemption_limit,
        monthly_redemption_limit=coupon.monthly_redemption_limit,
        budget_minor=coupon.budget_minor,
        budget_currency=coupon.budget_currency,
        coupon_is_first_order_only=coupon.is_first_order_only,
        coupon_minimum_minor=coupon.minimum_minor,
        coupon_minimum_currency=coupon.minimum_currency,
        minimum_applies_to=coupon.minimum_applies_to,
        product_ids=coupon.product_ids,
        excluded_product_ids=coupon.excluded_product_ids,
        combination=coupon.combination,
        release_policy=coupon.release_policy,
        coupon_commission_hundredths=coupon.commission_hundredths,
        coupon_opening_uses=coupon.opening_uses,
    )


class TriedCode(ResponseModel):
    """A code that would be created, and its own limits in time."""

    code: str
    starts_at: LocalMoment | None
    ends_at: LocalMoment | None


class TriedCouponAnswer(CouponAnswer):
    """A coupon as it would be. New ids, and names and codes that are generated, are examples; the request gets others.

    Times here have the offset of the program's time zone.
    """

    dry_run: Literal[True] = True
    timezone: str
    starts_at: LocalMoment | None
    ends_at: LocalMoment | None = Field(description="A bare date is the last moment of that day.")
    terms: DraftCoupon = Field(
        description="To send to `POST /v1/validations/drafts` of the redemption service, which returns the discount."
    )
    codes: list[TriedCode] = Field(description="Those that would be created, or the newest of those that there are.")


class ChangedOrTriedCoupon(RootModel[ChangedCouponAnswer | TriedCouponAnswer]):
    """The changed coupon and the result of redeeming it, or with `dry_run=true` the coupon as it would be."""


class CouponOrTriedCoupon(RootModel[CouponAnswer | TriedCouponAnswer]):
    """The changed coupon, or with `dry_run=true` the coupon as it would be."""


def tried_response(tried: TriedCoupon) -> web.Response:
    """Answer with a coupon as it would be."""
    coupon, zone = tried.shown.coupon, zone_named(tried.timezone)

    def local(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment.astimezone(zone)

    return json_response(
        TriedCouponAnswer(
            data=coupon_data(tried.shown),
            message=_TRIED,
            timezone=tried.timezone,
            starts_at=local(coupon.starts_at),
            ends_at=local(coupon.expires_at),
            terms=draft_terms(coupon),
            codes=[
                TriedCode(code=code.code, starts_at=local(code.starts_at), ends_at=local(code.expires_at))
                for code in tried.shown.codes
            ],
        )
    )
