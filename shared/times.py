"""One reader of times for events, requests, files and headers, and the two formats in which we write them."""

import re
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# Within these bounds every time can be shifted by a day and shown in any zone; beyond them, either overflows.
EARLIEST: Final = datetime(1, 1, 3, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 29, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(?P<until>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:)(?P<second>\d\d)(\.\d{1,9})?(?P<offset>[Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def in_utc(moment: datetime) -> datetime:
    """Return an aware time from outside in UTC, clamped to the first and last times that we use.

    Any time from a sender passes through here before it is compared, shifted or shown.
    """
    # Compared before it is converted: `0001-01-01T00:00:00+14:00` cannot be expressed in UTC.
    return _converted(min(max(moment, EARLIEST), LATEST))


def parse_time(text: str) -> datetime | None:
    """Read an RFC 3339 time, as `in_utc` gives it; None for anything else.

    A leap second, which Python lacks, becomes the last moment of its minute.
    """
    if (found := _RFC3339.fullmatch(text)) is None:
        return None
    is_leap = found["second"] == "60"
    text = f"{found['until']}59{found['offset']}" if is_leap else text
    try:
        moment = in_utc(datetime.fromisoformat(text.upper()))
    except ValueError:
        return None
    if not is_leap:
        return moment
    return moment.replace(microsecond=999_999) if (moment.hour, moment.minute) == (23, 59) else None


def format_milliseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with milliseconds and `Z`, as the partner API writes it."""
    return _converted(moment).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_microseconds(moment: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with microseconds and `Z`, as the coupon API writes it."""
    return _converted(moment).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


@cache
def zone_named(name: str) -> tzinfo:
    """Return a time zone."""
    # Programs have only known zones, but no purchase may fail because of an unknown one.
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def _converted(moment: datetime) -> datetime:
    # Nearly all are in UTC already, and conversion costs more than the rest.
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
