"""Bare dates as moments where a program is: a day's first as a start, its last as an end, whatever its clocks do."""

from datetime import UTC, date, datetime, time, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

_LATER = "must be later than starts_at"


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the first moment of a day; where its first hour is skipped, the moment at which the clocks go on."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the last microsecond of a day.

    The second one where the last hour comes twice; where it is skipped, the last before it, which `fold` says too.
    """
    # In UTC, because Python takes a local time that depends on `fold` for equal to none in another zone.
    return datetime.combine(day, time.max, zone).replace(fold=1).astimezone(UTC)


def as_start(value: date | None, timezone: str) -> datetime | None:
    """Return the moment from which on something holds: a time as it is, a bare date as its first moment."""
    if value is None or isinstance(value, datetime):
        return value
    return start_of_day(value, zone_named(timezone))


def as_end(value: date | None, timezone: str) -> datetime | None:
    """Return the moment until which something holds: a time as it is, a bare date as its last moment."""
    if value is None or isinstance(value, datetime):
        return value
    return end_of_day(value, zone_named(timezone))


def check_order(starts_at: datetime | None, expires_at: datetime | None) -> None:
    """Raise ValueError, whose text follows the name of the end, if something would end before it starts."""
    if starts_at is not None and expires_at is not None and expires_at <= starts_at:
        raise ValueError(_LATER)


@cache
def zone_named(name: str) -> ZoneInfo:
    """Return a time zone; programs have only such as are known."""
    return ZoneInfo(name)
