"""Steps of statistics: spans of 15 minutes, an hour or a day in a time zone, all of them whole; and filters. Pure.

Figures are stored by quarters of an hour, hours and six hours of UTC, so a step reads few rows: any step is made of
whole ones (`pieces_of`).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import Any, Final, Literal, Self

Step = Literal["15m", "1h", "1d"]

QUARTER: Final = timedelta(minutes=15)
# How many quarters of an hour a stored figure has, by its level; each level divides the next.
LEVELS: Final = (1, 4, 24)
MOST_STEPS: Final = 1_000
# The limits of a response. More than this needs a longer step, or a shorter span.
MOST_ROWS: Final = 200_000
MOST_POINTS: Final = 10_000
_QUARTER_SECONDS: Final = 900
_USUAL: Final = timedelta(days=30)
_SHORTEST: Final[dict[Step, timedelta]] = {"15m": QUARTER, "1h": 2 * QUARTER, "1d": timedelta(hours=20)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From when to when, in which steps, in which zone; what is None is as usual: 30 days, until now, the program's."""

    since: date | None
    until: date | None
    step: Step
    zone: str | None

    def bounds(self, zone: tzinfo, now: datetime) -> Sequence[datetime]:
        """Return the bounds of its steps; a bare date as its end belongs to it. Raises TooManySteps and BeginsLate."""
        until = _moment(self.until, zone, days=1) or now
        since = _moment(self.since, zone, days=0) or until - _USUAL
        if self.until is None and since > until:
            raise BeginsLate
        return bounds_of(since, until, self.step, zone)


class BeginsLate(Exception):
    """A span until now begins later."""


class TooManySteps(Exception):
    """A span has more than 1,000 steps."""


class TooMuch(Exception):
    """A span has too many figures to add up at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsFilter:
    """A filter of figures, their steps, and their grouping: the `groups` largest, and the rest."""

    program_id: uuid.UUID
    bounds: Sequence[datetime] = ()
    partner_id: uuid.UUID | None = None
    coupon_id: uuid.UUID | None = None
    group_by: str | None = None
    groups: int = 0

    def within(self, bounds: Sequence[datetime], **more: Any) -> Self:
        """Return it for these steps, with what else is known by now; raises TooMuch if it has too many points."""
        if self.group_by is not None and (len(bounds) - 1) * (self.groups + 1) > MOST_POINTS:
            raise TooMuch
        return replace(self, bounds=bounds, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A step of a group, to which services add what they count; steps are counted from 1.

    `key` is None where nothing is grouped, of what has none, and of the rest.
    """

    step: int
    key: str | None
    is_rest: bool


def quarter_of(moment: datetime) -> datetime:
    """Return the quarter of an hour that a time lies in; in no time zone of today does a day begin within one."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def bounds_of(since: datetime, until: datetime, step: Step, zone: tzinfo) -> Sequence[datetime]:
    """Return where the steps begin that cover a span, and the end of the last, which is one step at least.

    An hour begins where the clocks of the zone show a full one, so an hour in which they change can be longer. Raises
    TooManySteps.
    """
    if (until - since) / _SHORTEST[step] > 3 * MOST_STEPS:
        raise TooManySteps
    bounds = [_first(since, step, zone)]
    while len(bounds) == 1 or bounds[-1] < until:
        if len(bounds) > MOST_STEPS:
            raise TooManySteps
        bounds.append(_next(bounds[-1], step, zone))
    return bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A span of whole stored figures of one level."""

    level: int
    since: datetime
    until: datetime


def pieces_of(bounds: Sequence[datetime]) -> list[Piece]:
    """Return what steps are made of, from the largest figures that do not reach beyond a step; neighbours are one."""
    spans: list[list[int]] = []
    numbers = [int(bound.timestamp()) // _QUARTER_SECONDS for bound in bounds]
    for at, until in pairwise(numbers):
        while at < until:
            level, end = _largest(at, until)
            if spans and spans[-1][0] == level and spans[-1][2] == at:
                spans[-1][2] = end
            else:
                spans.append([level, at, end])
            at = end
    return [Piece(level=level, since=_quarter(since), until=_quarter(end)) for level, since, end in spans]


def _largest(at: int, until: int) -> tuple[int, int]:
    """Return the level of the largest figures that begin here, and where the last of them ends before a larger one."""
    level = max(level for level, size in enumerate(LEVELS) if at % size == 0 and at + size <= until)
    size = LEVELS[level]
    end = at + (until - at) // size * size
    if level + 1 < len(LEVELS):
        larger = LEVELS[level + 1]
        aligned = -(-at // larger) * larger
        if at < aligned and aligned + larger <= until:
            end = aligned
    return level, end


def _quarter(number: int) -> datetime:
    return datetime.fromtimestamp(number * _QUARTER_SECONDS, UTC)


def _first(moment: datetime, step: Step, zone: tzinfo) -> datetime:
    quarter = quarter_of(moment)
    if step == "1d":
        return _midnight(moment.astimezone(zone).date(), zone)
    while step == "1h" and not _is_full(quarter, zone):
        quarter -= QUARTER
    return quarter


def _next(bound: datetime, step: Step, zone: tzinfo) -> datetime:
    if step == "1d":
        # The day after, or where the calendar leaves one out, the next that there is.
        day = bound.astimezone(zone).date()
        while (following := _midnight(day := day + timedelta(days=1), zone)) <= bound:
            pass
        return following
    following = bound + QUARTER
    while step == "1h" and not _is_full(following, zone):
        following += QUARTER
    return following


def _is_full(quarter: datetime, zone: tzinfo) -> bool:
    # A zone of long ago may be off by seconds: its hours begin in the quarter in which they do.
    return quarter.astimezone(zone).minute < 15


def _midnight(day: date, zone: tzinfo) -> datetime:
    return quarter_of(datetime.combine(day, time.min, zone).astimezone(UTC))


def _moment(value: date | None, zone: tzinfo, *, days: int) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.combine(value + timedelta(days=days), time.min, zone).astimezone(UTC)
