"""Which redemptions somebody wants to see."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias

from services.redemption.domain.books import Redemption
from services.redemption.domain.terms import zone_named

Place: TypeAlias = tuple[datetime, uuid.UUID]


@dataclass(frozen=True, slots=True)
class RedemptionFilter:
    """Which redemptions are wanted: those that fit all that is given; a customer is named as `Buyer.key` does it."""

    program_id: uuid.UUID
    order_ref: str | None = None
    code_ids: Sequence[uuid.UUID] | None = None
    coupon_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    is_voided: bool | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None
    customer_key: str | None = None


@dataclass(frozen=True, slots=True)
class RedemptionPage:
    """Redemptions, the latest first, and after which to go on; None at the end. A page can be short before that."""

    redemptions: Sequence[Redemption]
    next_after: Place | None


def first_moment(day: date, timezone: str) -> datetime:
    """Return the first moment of a day in a time zone: where its first hour is skipped, when the clocks go on."""
    return datetime.combine(day, time.min, zone_named(timezone)).astimezone(UTC)


def moment_after(day: date, timezone: str) -> datetime:
    """Return the first moment of the next day: what is before it is of this day at the latest."""
    return first_moment(day + timedelta(days=1), timezone)
