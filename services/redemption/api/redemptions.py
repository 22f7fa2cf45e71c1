"""`/v1/redemptions`: redeem codes, and look redemptions up."""

from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import once, use_cases
from services.redemption.api.errors import LISTED, order_cancelled, refused
from services.redemption.api.shapes import (
    UNKNOWN_REFUSED,
    Attributes,
    Codes,
    CustomerBody,
    OrderBody,
    RedeemedData,
    RedemptionData,
    Reference,
    RequiredText,
    customer_of,
    order_of,
    redemption_data,
)
from services.redemption.domain.decision import Redeemed, RedeemedLate
from services.redemption.domain.details import keep_attributes
from services.redemption.domain.judgement import Refused
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import effective_time
from services.redemption.usecases.decide_batch import Outcome
from services.redemption.usecases.purchases import CompletedCheckout, purchase_of
from shared.events.envelope import trusted
from shared.idempotency import Answer, Once
from shared.web import (
    Data,
    Instant,
    Request,
    RequestModel,
    Route,
    data_answer,
    data_response,
    respond,
)


class RedemptionBody(RequestModel):
    """An order that was paid with codes."""

    details = ("attributes",)
    codes: Codes
    order_ref: Reference
    customer: CustomerBody | None = None
    order: OrderBody | None = None
    reservation_id: RequiredText | None = Field(
        None, description="The reservation to use; required only if it was made with another `order_ref`."
    )
    occurred_at: Instant | None = Field(
        None, description="When the order was paid, within the last 24 hours; by default now."
    )
    attributes: Attributes | None = Field(
        None,
        description="Passed on in `code.redeemed`: up to 50 texts of at most 500 characters, numbers, true, false and "
        "null. `attributes_left_out` there names those that cannot be stored.",
    )


class CountedRedemption(RedemptionData):
    """A redemption, and the present uses of its code and its coupon."""

    times_redeemed: int
    coupon_times_redeemed: int | None = Field(description="Null if the coupon never had a limit.")


async def redeem(request: Request) -> web.StreamResponse:
    """Redeem an order's codes."""
    body = request.body(RedemptionBody)
    cases = use_cases(request)
    now = cases.clock()
    customer, order = customer_of(body.customer), order_of(body.order)
    purchase = purchase_of(
        request.program_id,
        OWN_CLOCK,
        event_id=str(cases.new_id()),
        order_ref=body.order_ref,
        codes=body.codes,
        occurred_at=effective_time(body.occurred_at or now, now),
        customer=customer,
        order=order,
        reservation_id=body.reservation_id,
        traceparent=request.traceparent,
        claimed_at=body.occurred_at,
        clock=OWN_CLOCK if body.occurred_at is None else f"{OWN_CLOCK}#{request.program_id}",
    )
    made: Once[Outcome] = once(
        request, _rendering_redeemed(request, body), acted=lambda outcome: isinstance(outcome, RedeemedLate)
    )
    ask = CompletedCheckout(purchase, customer, order, keep_attributes(body.attributes), is_answered=True)
    return respond(request, await cases.decide(ask, made))


def _rendering_redeemed(request: Request, body: RedemptionBody) -> Callable[[Outcome], web.Response | Answer]:
    def render(outcome: Outcome) -> web.Response | Answer:
        if isinstance(outcome, Refused):
            return request.render(refused(outcome, body.codes))
        if isinstance(outcome, RedeemedLate):
            return request.render(order_cancelled())
        if not isinstance(outcome, Redeemed):
            raise TypeError("a purchase is redeemed or refused")
        redeemed = [*outcome.repeated, *(use.redemption for use in outcome.uses)]
        data = trusted(
            RedeemedData,
            order_ref=body.order_ref,
            redemptions=[redemption_data(r) for r in redeemed],
            notice=None,
        )
        return data_answer(data, 201 if outcome.uses else 200)

    return render


async def get(request: Request) -> web.StreamResponse:
    """Show one redemption."""
    read = use_cases(request).read_redemptions
    found = await read.one(request.program_id, request.path_id("redemption_id"))
    code_uses, coupon_uses = await read.counts(found)
    return data_response(
        CountedRedemption(**dict(redemption_data(found)), times_redeemed=code_uses, coupon_times_redeemed=coupon_uses)
    )


_route = partial(Route, tag="checkout", security="bearer", scope="checkout", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/redemptions",
        handler=redeem,
        summary="Redeem an order's codes",
        body=RedemptionBody,
        idempotent=True,
        is_traced=True,
        responses={
            201: Data[RedeemedData],
            200: Data[RedeemedData],
            409: f"The codes cannot be used: `code` is the reason, and `errors` names the first faulty one ({LISTED})",
        },
        description="The same rules as for `checkout.completed`: all codes or none, each once per order. A repeat "
        "for the same order returns the same result with 200. A refused order may try again.\n\n" + UNKNOWN_REFUSED,
        examples={
            "request": {
                "codes": ["PREFIX-1A0A48C0"],
                "order_ref": "4711",
                "order": {"currency": "EUR", "subtotal": 4900},
            }
        },
    ),
    _route(
        method="GET",
        path="/v1/redemptions/{redemption_id}",
        handler=get,
        summary="Show a redemption",
        scope=("checkout", "manage"),
        responses={200: Data[CountedRedemption], 404: "No such redemption"},
    ),
)
