"""`/v1/reservations`: codes held for an order while it is being paid."""

import uuid
from datetime import timedelta
from functools import partial
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import once, use_cases
from services.redemption.api.errors import LISTED, refused
from services.redemption.api.shapes import (
    UNKNOWN_REFUSED,
    Codes,
    CustomerBody,
    LineDiscountData,
    OrderBody,
    Reference,
    customer_of,
    line_discounts,
    order_of,
)
from services.redemption.domain.books import Reservation
from services.redemption.domain.judgement import Refused
from services.redemption.domain.lines import taken_of
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import HoldRequest
from services.redemption.domain.reserving import Reserved
from services.redemption.usecases.close_books import LONGEST_HOLD
from services.redemption.usecases.decide_batch import Outcome
from services.redemption.usecases.purchases import purchase_of
from shared.events.envelope import trusted
from shared.idempotency import Answer, Once
from shared.web import (
    Data,
    Int,
    Moment,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    data_answer,
    data_response,
    respond,
)

LONGEST_SECONDS: Final = int(LONGEST_HOLD.total_seconds())


class ReservationBody(RequestModel):
    """The codes to hold for an order."""

    codes: Codes
    order_ref: Reference
    ttl_seconds: Annotated[Int, Field(ge=1, le=LONGEST_SECONDS)] = Field(
        900, description="The duration; slow payment methods need days. Afterwards the use is available to others."
    )
    customer: CustomerBody | None = None
    order: OrderBody | None = None


class HeldCodeData(ResponseModel):
    """One held code, and its discount."""

    code: str
    code_id: uuid.UUID
    coupon_id: uuid.UUID
    discount_minor: int | None
    currency: str | None
    lines: list[LineDiscountData] | None


class ReservationData(ResponseModel):
    """A reservation; an expired one holds nothing, but its order may still redeem before others."""

    id: uuid.UUID
    order_ref: str
    status: Literal["live", "expired"]
    codes: list[HeldCodeData]
    reserved_at: Moment
    expires_at: Moment
    is_test: bool


async def reserve(request: Request) -> web.StreamResponse:
    """Hold codes for an order; the same order extends its reservation, and may change the codes."""
    body = request.body(ReservationBody)
    cases = use_cases(request)
    now = cases.clock()
    new_id = cases.new_id()
    purchase = purchase_of(
        request.program_id,
        "",
        event_id=str(new_id),
        order_ref=body.order_ref,
        codes=body.codes,
        occurred_at=now,
        customer=customer_of(body.customer),
        order=order_of(body.order),
        clock=OWN_CLOCK,
    )

    def render(outcome: Outcome) -> web.Response | Answer:
        if isinstance(outcome, Refused):
            return request.render(refused(outcome, body.codes))
        if not isinstance(outcome, Reserved):
            raise TypeError("a reservation is granted or refused")
        return data_answer(
            reservation_data(outcome.reservation, test=request.is_test), 200 if outcome.is_extended else 201
        )

    made: Once[Outcome] = once(request, render)
    ask = HoldRequest(purchase, new_id, now + timedelta(seconds=body.ttl_seconds))
    return respond(request, await cases.decide(ask, made))


async def get(request: Request) -> web.StreamResponse:
    """Show a reservation."""
    found = await use_cases(request).read_reservation(request.program_id, request.path_id("reservation_id"))
    return data_response(reservation_data(found, test=request.is_test))


async def release(request: Request) -> web.StreamResponse:
    """End a reservation and release its codes."""
    await use_cases(request).release_reservation(request.program_id, request.path_id("reservation_id"))
    return web.Response(status=204)


def reservation_data(reservation: Reservation, *, test: bool) -> ReservationData:
    """Return a reservation in the form of this API."""
    return trusted(
        ReservationData,
        id=reservation.id,
        order_ref=reservation.order_ref,
        status="live" if reservation.is_live else "expired",
        codes=[
            trusted(
                HeldCodeData,
                code=held.code,
                code_id=held.code_id,
                coupon_id=held.coupon_id,
                discount_minor=held.discount_minor,
                currency=held.currency,
                lines=line_discounts(taken_of(held.discount_minor, held.lines)),
            )
            for held in reservation.held
        ],
        reserved_at=reservation.reserved_at,
        expires_at=reservation.expires_at,
        is_test=test,
    )


_route = partial(Route, tag="checkout", security="bearer", scope="checkout", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/reservations",
        handler=reserve,
        summary="Hold codes for an order that is being paid",
        body=ReservationBody,
        idempotent=True,
        responses={
            201: Data[ReservationData],
            200: Data[ReservationData],
            409: f"The codes cannot be used: `code` is the reason ({LISTED})",
        },
        description="All codes or none. A repeat with the same `order_ref` extends its reservation (200). The order's "
        "own "
        "redemption ends it.\n\n" + UNKNOWN_REFUSED,
        examples={"request": {"codes": ["PREFIX-1A0A48C0"], "order_ref": "4711", "ttl_seconds": 900}},
    ),
    _route(
        method="GET",
        path="/v1/reservations/{reservation_id}",
        handler=get,
        summary="Show a reservation",
        responses={200: Data[ReservationData], 404: "No such reservation, or it has ended"},
    ),
    _route(
        method="DELETE",
        path="/v1/reservations/{reservation_id}",
        handler=release,
        summary="End a reservation",
        responses={204: "It has ended", 404: "No such reservation, or it has ended"},
    ),
)
