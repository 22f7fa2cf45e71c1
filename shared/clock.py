"""The one place that asks the machine for the time, and the two ways in which a time leaves us as text."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

Clock = Callable[[], datetime]

# Within these every time can be moved by a day and shown in any zone; at the ends of the calendar either overflows.
EARLIEST: Final = datetime(1, 1, 3, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 29, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def in_utc(moment: datetime) -> datetime:
    """Return an aware time from outside in UTC, and one at an end of the calendar as the first or last that we use.

    Any time that a sender may write goes through here before it is compared, moved or shown.
    """
    # Compared before it is converted: `0001-01-01T00:00:00+14:00` is a time that has no form in UTC.
    return _in_utc(min(max(moment, EARLIEST), LATEST))


def parse_time(text: str) -> datetime | None:
    """Read an ISO 8601 time with an offset, as `in_utc` gives it; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else in_utc(moment)


def format_milliseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with milliseconds and `Z`, as the partner API writes it."""
    return _in_utc(moment).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_microseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with microseconds and `Z`, as the coupon API writes it."""
    return _in_utc(moment).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _in_utc(moment: datetime) -> datetime:
    # Nearly all are in UTC already, and converting costs more than the rest of the rendering.
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
