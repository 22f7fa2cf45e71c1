"""The one place that asks the machine for the time, and the two ways in which a time leaves us as text."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def format_milliseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with milliseconds and `Z`, as the partner API writes it."""
    return _in_utc(moment).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_microseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with microseconds and `Z`, as the coupon API writes it."""
    return _in_utc(moment).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _in_utc(moment: datetime) -> datetime:
    # Nearly all are in UTC already, and converting costs more than the rest of the rendering.
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
