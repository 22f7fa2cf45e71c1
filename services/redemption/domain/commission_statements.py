"""Statements of what partners earn in a month of their program, the lines behind them, and their payments."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal

from shared.times import zone_named

LineKind = Literal["redemption", "reversal", "adjustment"]
StatementState = Literal["open", "closed", "paid"]

# A purchase that its queue delivers a little late still counts in its own month.
CLOSES_AFTER: Final = timedelta(hours=1)
# A request adds up to this many lines that are not booked yet to the statements; more than these wait for the booking.
MOST_UNBOOKED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment of a statement, and when and why it was taken back."""

    id: uuid.UUID
    amount_minor: int
    currency: str
    reference: str
    paid_at: datetime
    actor: str
    created_at: datetime
    taken_back_at: datetime | None = None
    taken_back_by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommissionStatement:
    """What a partner earned in a month in one currency; the currency of redemptions without one is empty."""

    id: uuid.UUID
    partner_id: uuid.UUID
    month: date
    currency: str
    redemptions: int
    redemptions_minor: int
    reversals: int
    reversals_minor: int
    adjustments: int
    adjustments_minor: int
    zone: str
    closed_at: datetime | None
    as_of: datetime | None
    is_paid: bool

    @property
    def total_minor(self) -> int:
        """The sum of all lines."""
        return self.redemptions_minor + self.reversals_minor + self.adjustments_minor

    @property
    def state(self) -> StatementState:
        """Whether it can still change, and whether it was paid."""
        if self.closed_at is None:
            return "open"
        return "paid" if self.is_paid else "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One movement of the commission of a redemption."""

    id: int
    partner_id: uuid.UUID
    redemption_id: uuid.UUID
    code: str
    order_ref: str
    kind: LineKind
    amount_minor: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFilter:
    """A filter of statements; every given member must match."""

    program_id: uuid.UUID
    partner_id: uuid.UUID | None = None
    month: date | None = None


# The sort key of a statement, and of a line.
StatementPlace = tuple[date, uuid.UUID, str]
LinePlace = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class StatementPage:
    """Statements, the newest month first, and the one to continue after; None at the end."""

    statements: Sequence[CommissionStatement]
    next_after: StatementPlace | None


@dataclass(frozen=True, slots=True)
class LinePage:
    """Lines, the earliest first, and the one to continue after; None at the end."""

    lines: Sequence[Line]
    next_after: LinePlace | None


def open_month(now: datetime, zone: str) -> date:
    """Return the first month that cannot be closed yet."""
    return (now - CLOSES_AFTER).astimezone(zone_named(zone)).date().replace(day=1)


def closes_at(month: date, zone: str) -> datetime:
    """Return the first moment at which a month can be closed."""
    following = (month + timedelta(days=31)).replace(day=1)
    return datetime.combine(following, time.min, zone_named(zone)).astimezone(UTC) + CLOSES_AFTER
