"""`/v1/orders/{order_ref}`: what has become of an order, and what has not, though somebody took it back."""

from typing import Final

from aiohttp import web

from services.redemption.api.exchange import order_ref, use_cases
from services.redemption.api.shapes import RedemptionData, redemption_data
from services.redemption.domain.voiding import notice
from shared.clock import format_microseconds
from shared.web import Data, Request, ResponseModel, Route, data_response


class RefundData(ResponseModel):
    """A part of what was paid that went back."""

    amount: int
    occurred_at: str


class OrderData(ResponseModel):
    """An order: its redemptions, the latest cancellation or full refund, and the refunds of parts.

    `notice` says so where a cancellation or refund is known that took nothing back of what stands.
    """

    order_ref: str
    cancelled_at: str | None
    cancel_reason: str | None
    refunds: list[RefundData]
    redemptions: list[RedemptionData]
    notice: str | None


async def get(request: Request) -> web.StreamResponse:
    """Show an order."""
    reference = order_ref(request)
    order = await use_cases(request).read_redemptions.order(request.program_id, reference)
    data = OrderData(
        order_ref=reference,
        cancelled_at=format_microseconds(order.cancelled.claimed_at) if order.cancelled else None,
        cancel_reason=order.cancel_reason,
        refunds=[
            RefundData(amount=refund.amount_minor, occurred_at=format_microseconds(refund.happened.claimed_at))
            for refund in order.refunds
        ],
        redemptions=[redemption_data(redemption) for redemption in order.redemptions],
        notice=notice(order),
    )
    return data_response(data)


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/orders/{order_ref}",
        handler=get,
        summary="Show an order",
        description="Times are those of the events, by the clocks of their senders.",
        tag="checkout",
        security="bearer",
        scope=("checkout", "manage"),
        family="management",
        responses={200: Data[OrderData], 404: "Nothing is known of the order"},
    ),
)
