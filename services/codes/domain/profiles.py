"""What a partner sees of itself: its terms, its quota with its pace, and the rate windows of its keys."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.codes.domain.partners import PartnerStatus
from services.codes.domain.quota import Quota

PACE_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Profile:
    """A partner as it is shown to itself; `status_changed_at` is None if the change was never recorded."""

    name: str
    prefix: str
    status: PartnerStatus
    status_changed_at: datetime | None
    support_address: str | None
    program_id: uuid.UUID
    program_name: str
    currency: str
    timezone: str
    code_packs: Sequence[int]
    coupon_id: uuid.UUID
    quota: Quota


@dataclass(frozen=True, slots=True)
class RateWindow:
    """The rate window of a key, or of a minting account, whose `name` is None; without a limit nothing is counted."""

    key_id: uuid.UUID
    name: str | None
    limit: int | None
    used: int
    resets_in_seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a partner has minted over the last seven days."""

    minted: int
    remaining: int

    @property
    def per_day(self) -> float:
        """Codes per day, to one decimal."""
        return round(self.minted / PACE_DAYS, 1)

    @property
    def days_left(self) -> int | None:
        """The whole days that the quota lasts at this pace; None if nothing was minted."""
        return self.remaining * PACE_DAYS // self.minted if self.minted > 0 else None


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """Everything that `GET /api/partners/me` shows."""

    profile: Profile
    windows: Sequence[RateWindow]
    pace: Pace


def pace_span(now: datetime) -> tuple[datetime, datetime]:
    """Return the span that the pace counts."""
    return now - timedelta(days=PACE_DAYS), now
