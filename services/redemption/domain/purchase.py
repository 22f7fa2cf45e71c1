"""A paid order as the decision sees it: its codes, and the time that counts for it."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

LATEST_REPORT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class WantedCode:
    """A code as the customer typed it; `canonical` is None if the text cannot be a code."""

    text: str
    canonical: str | None


@dataclass(frozen=True, slots=True)
class Purchase:
    """One order that was paid with these codes; no two of them have the same canonical form."""

    program_id: uuid.UUID
    source: str
    event_id: str
    order_ref: str
    codes: tuple[WantedCode, ...]
    occurred_at: datetime
    subtotal_minor: int | None
    currency: str | None


def effective_time(claimed_at: datetime, first_received_at: datetime) -> datetime:
    """Return the time of a purchase: as its sender claims it, within the 24 hours before we first received it."""
    return min(max(claimed_at, first_received_at - LATEST_REPORT), first_received_at)
