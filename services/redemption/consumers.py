"""Events in: reads checkout events strictly and hands those that can be understood to the use case."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from services.redemption.domain.purchase import Purchase, WantedCode, effective_time
from services.redemption.usecases.announce_decisions import CompletedCheckout
from services.redemption.usecases.redeem_orders import RedeemOrders
from shared.broker.consumer import Received, Reject
from shared.canonical import canonical_code
from shared.events.checkout import CheckoutCompletedV1
from shared.events.envelope import InvalidEvent, decode_data, decode_envelope


@dataclass(frozen=True, slots=True)
class CheckoutConsumer:
    """Handles batches of the queue `redemption.checkout`."""

    redeem_orders: RedeemOrders

    async def __call__(self, batch: Sequence[Received]) -> list[Reject | None]:
        """Settle each message: done, or rejected with the reason why it cannot be taken."""
        outcomes: list[Reject | None] = [None] * len(batch)
        understood: list[tuple[int, CompletedCheckout]] = []
        for index, received in enumerate(batch):
            try:
                understood.append((index, read_checkout(received)))
            except InvalidEvent as error:
                outcomes[index] = Reject(error.reason, error.detail)
        if understood:
            verdicts = await self.redeem_orders([checkout for _, checkout in understood])
            for (index, _), verdict in zip(understood, verdicts, strict=True):
                if verdict == "conflict":
                    outcomes[index] = Reject("event_id_conflict", "An event with this id and another body came before.")
        return outcomes


def read_checkout(received: Received) -> CompletedCheckout:
    """Read one `checkout.completed` event; raises InvalidEvent with the reason."""
    envelope = decode_envelope(received.body)
    if envelope.type != CheckoutCompletedV1.type:
        raise InvalidEvent("unsupported_type", f"type: only {CheckoutCompletedV1.type} is understood here.")
    data = decode_data(envelope, CheckoutCompletedV1)
    order = data.order
    purchase = Purchase(
        data.program_id,
        envelope.source,
        envelope.id,
        data.order_ref,
        wanted_codes(data.codes),
        effective_time(envelope.time, received.first_received_at),
        order.subtotal if order else None,
        order.currency if order else None,
    )
    body_sha256 = hashlib.sha256(received.body).digest()
    return CompletedCheckout(
        purchase, body_sha256, received.first_received_at, data.customer, order, data.attributes or {}
    )


def wanted_codes(texts: Sequence[str]) -> tuple[WantedCode, ...]:
    """Name each code once by its canonical form, as first typed."""
    wanted: dict[str, WantedCode] = {}
    for text in texts:
        try:
            canonical = canonical_code(text)
        except ValueError:
            wanted.setdefault(f"\0{text}", WantedCode(text, None))
        else:
            wanted.setdefault(canonical, WantedCode(text, canonical))
    return tuple(wanted.values())
