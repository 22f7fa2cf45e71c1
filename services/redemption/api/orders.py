"""`/v1/orders/{order_ref}`: the state of an order, including refused tries."""

from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import order_ref, use_cases
from services.redemption.api.rejections import RejectionData, RejectionQuery, rejection_data
from services.redemption.api.reservations import ReservationData, reservation_data
from services.redemption.api.shapes import LineDiscountData, RedemptionData, redemption_data
from services.redemption.domain.books import OrderBook, Reservation
from services.redemption.domain.totals import totals_of
from services.redemption.domain.voiding import notice
from services.redemption.usecases.read_orders import ShownOrder
from shared.web import Data, Moment, Request, ResponseModel, Route, data_response


class RefundData(ResponseModel):
    """A partial refund."""

    amount: int
    reason: str | None
    occurred_at: Moment


class OrderMoney(ResponseModel):
    """An order's amounts in minor units; null if the checkout gave too little information."""

    currency: str | None
    subtotal_minor: int | None = Field(description="Before discounts, from the latest purchase.")
    discount_minor: int | None = Field(description="The discount of the codes that stand.")
    total_minor: int | None = Field(
        description="What was to be paid after that; for an order that was cancelled or refunded, what was to be paid "
        "before."
    )
    refunded_minor: int
    commission_minor: int | None = Field(description="The partners' commission for the codes that stand.")


class OrderData(ResponseModel):
    """An order: its codes and amounts, its redemptions, its cancellations and refunds, and its refused tries.

    `notice` says so where a cancellation or refund is known that took nothing back: what stands is later, or was paid
    back in part, or nothing of the order is known yet.
    """

    order_ref: str
    codes: list[str] = Field(description="The codes that stand.")
    totals: OrderMoney
    lines: list[LineDiscountData] | None = Field(
        description="The total discount per line of the codes that stand, by the items of the latest purchase that had "
        "any, followed by lines that it no longer lists. Null if no purchase had items."
    )
    attributes: dict[str, Any] | None = Field(
        description="The attributes that are passed on, from the latest purchase that had any."
    )
    left_out: list[str] = Field(
        description="Details that could not be stored, from the latest purchase with any, such as `customer.email` or "
        "`attributes.card_id`."
    )
    cancelled_at: Moment | None
    cancel_reason: str | None
    refunds: list[RefundData]
    redemptions: list[RedemptionData]
    reservation: ReservationData | None
    rejections: list[RejectionData] = Field(description="Refused tries, latest first, at most 100.")
    rejections_cursor: str | None = Field(
        description="The cursor for `GET /v1/rejections?order_ref=…` if there are more; null if these are all."
    )
    notice: str | None
    is_test: bool


async def get(request: Request) -> web.StreamResponse:
    """Show an order."""
    reference = order_ref(request)
    shown = await use_cases(request).read_order(request.program_id, reference)
    return data_response(_data(reference, shown, test=request.is_test))


def _data(reference: str, shown: ShownOrder, *, test: bool) -> OrderData:
    order, more = shown.book, shown.rejections.next_after
    totals = totals_of(order)
    return OrderData(
        order_ref=reference,
        codes=[redemption.code for redemption in order.redemptions if redemption.voided_at is None],
        totals=OrderMoney(
            currency=totals.currency,
            subtotal_minor=totals.subtotal_minor,
            discount_minor=totals.discount_minor,
            total_minor=totals.total_minor,
            refunded_minor=totals.refunded_minor,
            commission_minor=totals.commission_minor,
        ),
        lines=None
        if totals.lines is None
        else [
            LineDiscountData(line=line, product_id=product, discount_minor=minor)
            for line, product, minor in totals.lines
        ],
        attributes=None if shown.attributes is None else dict(shown.attributes),
        left_out=list(shown.left_out),
        cancelled_at=order.cancelled.claimed_at if order.cancelled else None,
        cancel_reason=order.cancel_reason,
        refunds=[
            RefundData(
                amount=refund.amount_minor,
                reason=refund.reason,
                occurred_at=refund.happened.claimed_at,
            )
            for refund in order.refunds
        ],
        redemptions=[redemption_data(redemption) for redemption in order.redemptions],
        reservation=_reservation(reference, order, test=test),
        rejections=[rejection_data(rejection, test=test) for rejection in shown.rejections.rejections],
        rejections_cursor=None if more is None else RejectionQuery(order_ref=reference).cursor_after(*more),
        notice=notice(order),
        is_test=test,
    )


def _reservation(reference: str, order: OrderBook, *, test: bool) -> ReservationData | None:
    key, since, until = order.reservation_id, order.reserved_at, order.reserved_until
    if key is None or since is None or until is None:
        return None
    return reservation_data(Reservation(key, reference, order.held, since, until, order.is_holding), test=test)


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/orders/{order_ref}",
        handler=get,
        summary="Show an order",
        description="Its redemptions, their discounts in total and per line, its cancellations and refunds, and its "
        "refused tries. Times are those of the events, by the clocks of their senders.",
        tag="checkout",
        security="bearer",
        scope=("checkout", "manage"),
        family="management",
        responses={200: Data[OrderData], 404: "The order is unknown"},
    ),
)
