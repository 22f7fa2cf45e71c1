"""The filter of a list of redemptions."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias

from services.redemption.domain.books import Redemption
from shared.times import zone_named

Place: TypeAlias = tuple[datetime, uuid.UUID]


@dataclass(frozen=True, slots=True)
class RedemptionFilter:
    """A filter: every given member must match; a customer is named like `Buyer.key`."""

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
    """Redemptions, latest first, and the one to continue after; None at the end. A page can be short before that."""

    redemptions: Sequence[Redemption]
    next_after: Place | None


def first_moment(day: date, timezone: str) -> datetime:
    """Return the first moment of a day in a time zone; if its first hour is skipped, the moment after the gap."""
    return datetime.combine(day, time.min, zone_named(timezone)).astimezone(UTC)


def moment_after(day: date, timezone: str) -> datetime:
    """Return the first moment of the next day: everything before it belongs to this day or earlier."""
    return first_moment(day + timedelta(days=1), timezone)
