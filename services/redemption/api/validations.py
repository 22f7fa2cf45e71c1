"""`/v1/validations`: the discounts that codes would give; nothing changes."""

import uuid
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import use_cases
from services.redemption.api.shapes import (
    UNKNOWN_REFUSED,
    Codes,
    CustomerBody,
    DiscountData,
    OrderBody,
    Reference,
    customer_of,
    discount_data,
    order_of,
)
from services.redemption.domain.judgement import Appraisal
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import Purchase
from services.redemption.domain.reasons import Reason
from services.redemption.usecases.purchases import purchase_of
from services.redemption.usecases.validate_publicly import Asker
from shared.events.envelope import trusted
from shared.web import Data, Request, RequestModel, ResponseModel, Route, TenantId, data_response


class ValidationBody(RequestModel):
    """An order that is about to be paid; with its reference, its own reservation is not in its way."""

    codes: Codes
    order_ref: Reference | None = Field(None, description="Ignored with a publishable key.")
    customer: CustomerBody | None = None
    order: OrderBody | None = None


class CodeVerdict(ResponseModel):
    """One code, judged together with the valid codes before it. `reason` and `detail` explain a refusal."""

    code: str
    valid: bool
    reason: Reason | None
    detail: str | None
    blocked_by: str | None = Field(description="The code of the same order that prevents it.")
    code_id: uuid.UUID | None
    coupon_id: uuid.UUID | None
    partner_id: TenantId | None
    discount: DiscountData | None


class OrderTotals(ResponseModel):
    """The totals of the valid codes; null if the order has too little information."""

    currency: str | None
    subtotal: int | None
    discount: int | None
    total: int | None


class ValidationData(ResponseModel):
    """Whether all codes may be redeemed together, each code's verdict, and the totals."""

    valid: bool
    codes: list[CodeVerdict]
    order: OrderTotals = Field(description="Amounts are integers in minor units.")
    are_histories_counted: bool = Field(
        description="False with a publishable key: earlier purchases of the order and the customer are ignored, so a "
        "limit per customer may still refuse the code."
    )


_REFUSED: Final = ValidationData(
    valid=False,
    codes=[],
    order=OrderTotals(currency=None, subtotal=None, discount=None, total=None),
    are_histories_counted=False,
)


async def validate(request: Request) -> web.StreamResponse:
    """Judge codes; for a publishable key without the reason of a refusal, and without anyone's history."""
    body = request.body(ValidationBody)
    purchase = purchase_of(
        request.program_id,
        "",
        event_id="",
        order_ref=body.order_ref or "",
        codes=body.codes,
        occurred_at=use_cases(request).clock(),
        customer=customer_of(body.customer),
        order=order_of(body.order),
        clock=OWN_CLOCK,
    )
    if request.credential.kind == "publishable":
        return await _validate_publicly(request, body, purchase)
    appraisals = await use_cases(request).validate_codes.outcome(purchase)
    return data_response(_data(body, appraisals))


async def _validate_publicly(request: Request, body: ValidationBody, purchase: Purchase) -> web.Response:
    http = request.http
    forwarded_for = ",".join(http.headers.getall("X-Forwarded-For", ()))
    asker = Asker(request.credential.key_id, http.remote, forwarded_for)
    appraisals = await use_cases(request).validate_publicly(asker, purchase)
    if appraisals is None:
        return data_response(_REFUSED)
    return data_response(_data(body, appraisals, is_public=True))


def _data(body: ValidationBody, appraisals: Sequence[Appraisal], *, is_public: bool = False) -> ValidationData:
    currency = body.order.currency if body.order else None
    return trusted(
        ValidationData,
        valid=all(appraisal.fault is None for appraisal in appraisals),
        codes=[_verdict(appraisal, currency, is_public=is_public) for appraisal in appraisals],
        order=order_totals(body.order, appraisals),
        are_histories_counted=not is_public,
    )


def order_totals(order: OrderBody | None, appraisals: Sequence[Appraisal]) -> OrderTotals:
    """Return the totals of an order with its valid codes."""
    subtotal = order.subtotal if order else None
    discounts = [appraisal.discount_minor for appraisal in appraisals if appraisal.fault is None]
    known = [discount for discount in discounts if discount is not None]
    discount = sum(known) if subtotal is not None and len(known) == len(discounts) else None
    return trusted(
        OrderTotals,
        currency=order.currency if order else None,
        subtotal=subtotal,
        discount=discount,
        total=None if subtotal is None or discount is None else subtotal - discount,
    )


def _verdict(appraisal: Appraisal, currency: str | None, *, is_public: bool) -> CodeVerdict:
    terms, fault, taken = appraisal.terms, appraisal.fault, appraisal.taken
    # Ids are internal to the merchant.
    ids = None if is_public else terms
    return trusted(
        CodeVerdict,
        code=appraisal.code,
        valid=fault is None,
        reason=fault.reason if fault else None,
        detail=fault.detail if fault else None,
        blocked_by=fault.blocked_by if fault else None,
        code_id=ids.code_id if ids else None,
        coupon_id=ids.coupon_id if ids else None,
        partner_id=ids.partner_id if ids else None,
        discount=discount_data(terms, currency, taken) if terms and taken else None,
    )


ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/validations",
        grade="look",
        handler=validate,
        summary="Return the discounts that codes would give on an order",
        tag="checkout",
        security="bearer",
        scope=("checkout", "validate"),
        family="management",
        body=ValidationBody,
        is_open_to_browsers=True,
        responses={200: Data[ValidationData], 429: "With a publishable key: too many codes were refused recently"},
        description="A refused code is not an error: its verdict has the reason. Only redemptions and reservations "
        "are promises.\n\nFor a publishable key, which may be in a web page, the response is whether all codes are "
        "good, and their discounts if so; every refusal is the same, without verdicts. After 20 refusals within 10 "
        "minutes an address has to wait until these are over. Earlier purchases of orders and customers are ignored: "
        "the order's reference changes nothing, and limits per customer refuse nobody. Codes that lack only a "
        "customer get the verdict `customer_required`, and do not count as refusals.\n\n" + UNKNOWN_REFUSED,
        examples={"request": {"codes": ["PREFIX-1A0A48C0"], "order": {"currency": "EUR", "subtotal": 4900}}},
    ),
)
