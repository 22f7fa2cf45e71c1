"""Bare dates as moments in a program's time zone: the day's first as a start, its last as an end."""

from datetime import UTC, date, datetime, time, tzinfo

from shared.times import zone_named

_LATER = "must be later than starts_at"


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the first moment of a day; if its first hour is skipped, the moment after the gap."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the last microsecond of a day.

    If the last hour is repeated, the second one; if it is skipped, the last before the gap: `fold` covers both.
    """
    # In UTC, because to Python a local time that depends on `fold` never equals one in another zone.
    return datetime.combine(day, time.max, zone).replace(fold=1).astimezone(UTC)


def as_start(value: date | None, timezone: str) -> datetime | None:
    """Return the start of a validity: a time unchanged, a bare date as its first moment."""
    if value is None or isinstance(value, datetime):
        return value
    return start_of_day(value, zone_named(timezone))


def as_end(value: date | None, timezone: str) -> datetime | None:
    """Return the end of a validity: a time unchanged, a bare date as its last moment."""
    if value is None or isinstance(value, datetime):
        return value
    return end_of_day(value, zone_named(timezone))


def check_order(starts_at: datetime | None, expires_at: datetime | None) -> None:
    """Raise ValueError, whose text follows the name of the end, if the end lies before the start."""
    if starts_at is not None and expires_at is not None and expires_at <= starts_at:
        raise ValueError(_LATER)
