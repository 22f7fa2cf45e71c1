"""What a quota means to the partner: the parts of the whole, and how long it lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_PACE_DAYS = 7
_FAR = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Quota:
    """A partner's quota: `remaining` of what was granted, adjusted and refunded."""

    granted: int
    adjusted: int
    minted: int
    refunded: int
    remaining: int

    @property
    def whole(self) -> int:
        """All codes that were ever granted, net of adjustments."""
        return self.granted + self.adjusted + self.refunded


def lasts_until(quota: Quota, minted_by_day: Sequence[int], now: datetime) -> datetime | None:
    """Return about when the quota is used up at the pace of the last whole week; None if it is not being used."""
    week = minted_by_day[-_PACE_DAYS - 1 : -1]
    if not week or not sum(week):
        return None
    left = timedelta(days=quota.remaining * len(week) / sum(week))
    return now + left if left < _FAR else None
