"""`POST /v1/redemptions/{redemption_id}/void` and `/v1/orders/{order_ref}/void`: take redemptions and orders back."""

import uuid
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import once, order_ref, use_cases
from services.redemption.api.shapes import (
    RedeemedData,
    RedemptionData,
    Reference,
    RequiredText,
    redemption_data,
)
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import Cancellation, VoidById
from services.redemption.domain.voiding import Cancelled
from services.redemption.usecases.decide_batch import Outcome
from shared.derived_ids import derived_id
from shared.events.checkout import MinorUnits
from shared.idempotency import Answer, Once
from shared.web import (
    Data,
    Request,
    RequestModel,
    Route,
    data_answer,
    invalid_field,
    respond,
)


class VoidBody(RequestModel):
    """The reason for the void; `release` false keeps the use taken."""

    reason: RequiredText | None = None
    release: bool | None = None


class OrderVoidBody(VoidBody):
    """The reason for taking the order back."""

    amount: MinorUnits | None = Field(
        None,
        description="The amount of a partial refund, in minor units. It is recorded and voids nothing, until the "
        "refunds add up to the payment, or `release` is true.",
    )
    refund_ref: Reference | None = Field(
        None,
        description="Your name for this refund, unique within the order: a repeat counts once. Required with `amount`, "
        "unless there is an Idempotency-Key.",
    )


async def void(request: Request) -> web.StreamResponse:
    """Take one redemption back."""
    body = request.body(VoidBody)
    cases = use_cases(request)
    redemption_id = request.path_id("redemption_id")

    def render(outcome: Outcome) -> web.Response | Answer:
        if not isinstance(outcome, Cancelled):
            raise TypeError("a void has one kind of outcome")
        return data_answer(redemption_data(outcome.redemptions[0]))

    made: Once[Outcome] = once(request, render)
    ask = VoidById(
        program_id=request.program_id,
        redemption_id=redemption_id,
        occurred_at=cases.clock(),
        reason=body.reason,
        release=body.release,
        traceparent=request.traceparent,
    )
    return respond(request, await cases.decide(ask, made))


async def void_order(request: Request) -> web.StreamResponse:
    """Take an order back, even one that is not known yet."""
    body = request.body(OrderVoidBody)
    cases = use_cases(request)
    reference = order_ref(request)
    refund_id = _refund_id(request, body, reference)

    def render(outcome: Outcome) -> web.Response | Answer:
        if not isinstance(outcome, Cancelled):
            raise TypeError("a void has one kind of outcome")
        shown = [redemption_data(redemption) for redemption in outcome.redemptions]
        return data_answer(RedeemedData(order_ref=reference, redemptions=shown, notice=outcome.notice))

    made: Once[Outcome] = once(request, render)
    ask = Cancellation(
        id=refund_id or cases.new_id(),
        program_id=request.program_id,
        order_ref=reference,
        occurred_at=cases.clock(),
        reason=body.reason,
        amount_minor=body.amount,
        release=body.release,
        traceparent=request.traceparent,
        clock=OWN_CLOCK,
    )
    return respond(request, await cases.decide(ask, made))


def _refund_id(request: Request, body: OrderVoidBody, order_ref: str) -> uuid.UUID | None:
    """Return the id that identifies a repeat of the refund; None if it has no name or is not partial."""
    if body.refund_ref is not None:
        if body.amount is None:
            raise invalid_field("refund_ref", "The refund_ref field must be absent unless amount is given.")
        return derived_id(request.program_id, "refund", order_ref, body.refund_ref)
    if body.amount is not None and request.idempotency_key is None:
        raise invalid_field(
            "refund_ref",
            "The refund_ref field or an Idempotency-Key is required with amount: otherwise a repeat would add up.",
        )
    return None


_route = partial(Route, tag="checkout", security="bearer", scope="checkout", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/redemptions/{redemption_id}/void",
        handler=void,
        summary="Take a redemption back",
        body=VoidBody,
        body_required=False,
        idempotent=True,
        is_traced=True,
        responses={200: Data[RedemptionData], 404: "No such redemption"},
        description="It is voided once; every further request returns the same. Whether the use becomes free again "
        "depends on the coupon's release policy.",
        examples={"request": {"reason": "fraud"}},
    ),
    _route(
        method="POST",
        path="/v1/orders/{order_ref}/void",
        handler=void_order,
        summary="Take an order back",
        body=OrderVoidBody,
        body_required=False,
        idempotent=True,
        is_traced=True,
        responses={
            200: Data[RedeemedData],
            409: "The refund_ref was used for a different amount (`refund_ref_reused`)",
        },
        description="Voids what the order has redeemed so far, and purchases from before now that arrive later.",
        examples={"request": {"reason": "refund", "amount": 500, "refund_ref": "re-1"}},
    ),
)
