"""`/v1/validations/drafts`: the discount that a coupon would give if it existed; nothing is read or changed."""

from dataclasses import fields
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import Field, model_validator

from services.redemption.api.context import use_cases
from services.redemption.api.shapes import CustomerBody, DiscountData, OrderBody, customer_of, discount_data, order_of
from services.redemption.api.validations import OrderTotals, order_totals
from services.redemption.domain.drafts import DRAFT, appraise_draft
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.reasons import Reason
from services.redemption.usecases.purchases import purchase_of
from shared.draft_coupons import DraftCoupon
from shared.events.checkout import Currency, MinorUnits
from shared.web import Data, Instant, Int, Request, RequestModel, ResponseModel, Route, Text, data_response, field_error

Hundredths = Annotated[Int, Field(ge=0, le=10_000)]
Limit = Annotated[Int, Field(ge=1, le=2**31 - 1)]
Products = Annotated[list[Text], Field(max_length=1_000)]


class DraftCouponBody(RequestModel):
    """The terms of a coupon: `terms` of a coupon API's dry run. Amounts are integers in minor units."""

    discount_type: Literal["percent", "static"]
    percent_hundredths: Hundredths | None = Field(None, description="In hundredths of a percent: 1250 is 12.5 %.")
    amount_minor: MinorUnits | None = None
    currency: Currency | None = None
    amounts_by_currency: Annotated[dict[Currency, MinorUnits], Field(max_length=50)] = Field(default_factory=dict)
    max_discount_minor: MinorUnits | None = None
    duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"] = "once"
    duration_value: Limit | None = None
    coupon_is_active: bool = True
    coupon_starts_at: Instant | None = None
    coupon_expires_at: Instant | None = None
    coupon_redemption_limit: Limit | None = None
    code_redemption_limit: Limit | None = None
    customer_redemption_limit: Limit | None = None
    daily_redemption_limit: Limit | None = None
    weekly_redemption_limit: Limit | None = None
    monthly_redemption_limit: Limit | None = None
    budget_minor: MinorUnits | None = None
    budget_currency: Currency | None = None
    coupon_is_first_order_only: bool = False
    coupon_minimum_minor: MinorUnits | None = None
    coupon_minimum_currency: Currency | None = None
    minimum_applies_to: Literal["eligible", "order"] = "eligible"
    product_ids: Products = Field(default_factory=list)
    excluded_product_ids: Products = Field(default_factory=list)
    combination: Literal["any", "other_coupons", "none"] = "other_coupons"
    release_policy: Literal["always", "until_expiry", "never"] = "always"
    coupon_commission_hundredths: Hundredths | None = None
    coupon_opening_uses: Annotated[Int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="after")
    def _hangs_together(self) -> "DraftCouponBody":
        is_percent = self.discount_type == "percent"
        needed = ("percent_hundredths",) if is_percent else ("amount_minor", "currency")
        for name in needed:
            if getattr(self, name) is None:
                raise field_error(name, f"is required for a {self.discount_type} discount")
        others = ("amount_minor", "amounts_by_currency") if is_percent else ("percent_hundredths", "max_discount_minor")
        for name in others:
            if getattr(self, name):
                raise field_error(name, f"must be absent for a {self.discount_type} discount")
        for amount, currency in (
            ("max_discount_minor", "currency"),
            ("budget_minor", "budget_currency"),
            ("coupon_minimum_minor", "coupon_minimum_currency"),
        ):
            if getattr(self, amount) is not None and getattr(self, currency) is None:
                raise field_error(currency, f"is required with {amount}")
        return self

    def draft(self) -> DraftCoupon:
        """Return the draft."""
        members: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(DraftCoupon)}
        return DraftCoupon(**members)


class DraftValidationBody(RequestModel):
    """A draft of a coupon, and an order to try it on."""

    coupon: DraftCouponBody
    customer: CustomerBody | None = None
    order: OrderBody | None = None


class DraftVerdict(ResponseModel):
    """Whether a code of the coupon would be good for the order, its discount, and the totals."""

    valid: bool
    reason: Reason | None
    detail: str | None
    discount: DiscountData | None
    order: OrderTotals = Field(description="Amounts are integers in minor units.")


async def validate(request: Request) -> web.StreamResponse:
    """Judge a draft."""
    body = request.body(DraftValidationBody)
    purchase = purchase_of(
        request.program_id,
        "",
        event_id="",
        order_ref="",
        codes=[DRAFT],
        occurred_at=use_cases(request).clock(),
        customer=customer_of(body.customer),
        order=order_of(body.order),
        clock=OWN_CLOCK,
    )
    appraisal = appraise_draft(body.coupon.draft(), purchase)
    terms, fault, taken = appraisal.terms, appraisal.fault, appraisal.taken
    return data_response(
        DraftVerdict(
            valid=fault is None,
            reason=fault.reason if fault else None,
            detail=fault.detail if fault else None,
            discount=discount_data(terms, purchase.currency, taken) if terms and taken else None,
            order=order_totals(body.order, [appraisal]),
        )
    )


ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/validations/drafts",
        grade="look",
        handler=validate,
        summary="Return the discount that a draft of a coupon would give on an order",
        description="The coupon need not exist: a dry run of the coupon API returns its `terms`. The order is judged "
        "by the rules of redeeming, as if a code of the coupon had been created now and nobody had used it. Nothing is "
        "stored.",
        tag="checkout",
        security="bearer",
        scope="manage",
        family="management",
        body=DraftValidationBody,
        responses={200: Data[DraftVerdict]},
        examples={
            "request": {
                "coupon": {"discount_type": "percent", "percent_hundredths": 2500},
                "order": {"currency": "EUR", "subtotal": 4900},
            }
        },
    ),
)
