"""Events in: reads checkout events strictly and hands those that can be understood to the use case."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.redemption.domain.details import keep_attributes, keep_details, keep_reason
from services.redemption.domain.purchase import Cancellation, effective_time
from services.redemption.usecases.purchases import CompletedCheckout, purchase_of
from services.redemption.usecases.take_in_checkouts import CheckoutEvent, TakeInCheckouts
from shared.broker.messages import Received, Reject
from shared.broker.reading import settle
from shared.derived_ids import derived_id
from shared.events.checkout import CheckoutCancelledV1, CheckoutCompletedV1, CheckoutRefundedV1
from shared.events.envelope import Envelope, InvalidEvent, decode_data, decode_envelope

_UNDERSTOOD: Final = f"{CheckoutCompletedV1.type}, {CheckoutCancelledV1.type}, {CheckoutRefundedV1.type}"


@dataclass(frozen=True, slots=True)
class CheckoutConsumer:
    """Handles batches of the queue `redemption.checkout`."""

    take_in: TakeInCheckouts

    async def __call__(self, batch: Sequence[Received]) -> list[Reject | None]:
        """Settle each message: done, or rejected with the reason why it cannot be taken."""
        return await settle(batch, read_checkout, self.take_in)


def read_checkout(received: Received) -> CheckoutEvent:
    """Read one event of a checkout; raises InvalidEvent with the reason."""
    # What is no detail is read strictly all the same, by the models.
    envelope = decode_envelope(received.body, details=())
    moment = effective_time(envelope.time, received.first_received_at)
    traceparent = envelope.traceparent or received.traceparent
    ask: CompletedCheckout | Cancellation
    if envelope.type == CheckoutCompletedV1.type:
        ask = _completed(envelope, moment, traceparent)
        program_id = ask.purchase.program_id
    else:
        ask = _taken_back(envelope, moment, traceparent)
        program_id = ask.program_id
    body_sha256 = hashlib.sha256(received.body).digest()
    return CheckoutEvent(program_id, envelope.source, envelope.id, body_sha256, received.first_received_at, ask)


def _completed(envelope: Envelope, moment: datetime, traceparent: str | None) -> CompletedCheckout:
    kept, left_out = keep_details(envelope.data)
    data = decode_data(envelope, CheckoutCompletedV1, kept)
    purchase = purchase_of(
        data.tenant,
        envelope.source,
        event_id=envelope.id,
        order_ref=data.order_ref,
        codes=data.codes,
        occurred_at=moment,
        customer=data.customer,
        order=data.order,
        reservation_id=data.reservation_id,
        traceparent=traceparent,
        claimed_at=envelope.time,
        clock=envelope.source,
    )
    return CompletedCheckout(purchase, data.customer, data.order, keep_attributes(data.attributes), left_out=left_out)


def _taken_back(envelope: Envelope, moment: datetime, traceparent: str | None) -> Cancellation:
    data: CheckoutCancelledV1 | CheckoutRefundedV1
    kept, amount = keep_reason(envelope.data), None
    if envelope.type == CheckoutCancelledV1.type:
        # A cancelled order is cancelled whole, whatever amount is named.
        data = decode_data(envelope, CheckoutCancelledV1, kept)
    elif envelope.type == CheckoutRefundedV1.type:
        data = decode_data(envelope, CheckoutRefundedV1, kept)
        amount = data.amount
    else:
        raise InvalidEvent("unsupported_type", f"The type member must be one of {_UNDERSTOOD}.")
    identity = derived_id(data.tenant, envelope.source, envelope.id)
    return Cancellation(
        id=identity,
        program_id=data.tenant,
        order_ref=data.order_ref,
        occurred_at=moment,
        reason=data.reason,
        amount_minor=amount,
        release=data.release,
        traceparent=traceparent,
        claimed_at=envelope.time,
        clock=envelope.source,
    )
