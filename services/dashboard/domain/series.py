"""What pages read out of the series of the statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.dashboard.domain import plots, times
from services.dashboard.domain.numbers import number, plural

PERIODS = (7, 30, 90)


@dataclass(frozen=True, slots=True)
class MintedDay:
    """The codes that were minted on one day, and how many of them were redeemed."""

    at: datetime
    minted: int
    redeemed: int


@dataclass(frozen=True, slots=True)
class RedeemedDay:
    """The redemptions of one day, and what they took off in the program's currency."""

    at: datetime
    redemptions: int
    refusals: int
    discount_minor: int
    commission_minor: int


def period_of(text: str) -> int:
    """Return the number of days that an address asks for: 30 unless it names another of ours."""
    return int(text) if text.isdecimal() and int(text) in PERIODS else 30


def minted_plot(days: Sequence[MintedDay], zone: str) -> plots.Bars:
    """Draw codes by the day they were minted, with those redeemed as a part of each."""
    titles = [
        f"{times.day(day.at, zone)}: {number(day.minted)} minted, {number(day.redeemed)} of them redeemed"
        for day in days
    ]
    return plots.bars(
        [[day.minted for day in days], [day.redeemed for day in days]], titles, _labels([day.at for day in days], zone)
    )


def redeemed_plot(days: Sequence[RedeemedDay], zone: str) -> plots.Bars:
    """Draw the redemptions of each day."""
    titles = [f"{times.day(day.at, zone)}: {plural(day.redemptions, 'redemption')}" for day in days]
    return plots.bars([[day.redemptions for day in days]], titles, _labels([day.at for day in days], zone))


def _labels(moments: Sequence[datetime], zone: str) -> list[str]:
    return [*(times.day(moment, zone) for moment in moments[:-1]), "today"] if moments else []
