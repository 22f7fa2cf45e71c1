"""Checkouts' requests, over HTTP or in events, and the purchases built from them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from services.redemption.domain.details import NO_ATTRIBUTES, Attributes
from services.redemption.domain.purchase import (
    NOBODY,
    Buyer,
    Cancellation,
    HoldRequest,
    Line,
    Purchase,
    VoidRequest,
    WantedCode,
)
from shared.canonical import canonical_code
from shared.events.checkout import Customer, Order


# Not frozen, for the same reason as `CodeTerms`.
@dataclass(slots=True)
class CompletedCheckout:
    """A paid order, with details that are only passed on; a refusal over HTTP emits no event.

    `left_out` names the details that could not be read.
    """

    purchase: Purchase
    customer: Customer | None
    order: Order | None
    attributes: Attributes = NO_ATTRIBUTES
    is_answered: bool = False
    left_out: tuple[str, ...] = ()


Ask: TypeAlias = CompletedCheckout | HoldRequest | Cancellation | VoidRequest


def purchase_of(
    program_id: uuid.UUID,
    source: str,
    *,
    event_id: str,
    order_ref: str,
    codes: Sequence[str],
    occurred_at: datetime,
    customer: Customer | None,
    order: Order | None,
    reservation_id: str | None = None,
    traceparent: str | None = None,
    claimed_at: datetime | None = None,
    clock: str = "",
) -> Purchase:
    """Return the purchase. Absent details are unknown; an invalid reservation id counts as absent."""
    return Purchase(
        program_id=program_id,
        source=source,
        event_id=event_id,
        order_ref=order_ref,
        codes=wanted_codes(codes),
        occurred_at=occurred_at,
        subtotal_minor=order.subtotal if order else None,
        currency=order.currency if order else None,
        buyer=Buyer(customer.id, customer.email, customer.is_first_order) if customer else NOBODY,
        lines=tuple(Line(item.get("product_id"), item.get("amount")) for item in order.items)
        if order and order.items is not None
        else None,
        reservation_id=_id(reservation_id) if reservation_id is not None else None,
        traceparent=traceparent,
        claimed_at=claimed_at,
        clock=clock,
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


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
