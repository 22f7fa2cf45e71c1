"""Times as pages write them: relative for two days, then dates; always in a named zone."""

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_RELATIVE: Final = timedelta(hours=48)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
# Not the locale's: pages are in English on every machine.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def zone(name: str) -> ZoneInfo:
    """Return a time zone; one that this machine lacks is UTC."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def read(value: str | datetime) -> datetime:
    """Return a time that a service wrote as RFC 3339."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def date(moment: datetime, zone_name: str) -> str:
    """Return the day, such as 24 Nov 2026."""
    local = moment.astimezone(zone(zone_name))
    return f"{local.day} {_MONTHS[local.month - 1]} {local.year}"


def day(moment: datetime, zone_name: str) -> str:
    """Return the day without its year, for axes."""
    local = moment.astimezone(zone(zone_name))
    return f"{local.day} {_MONTHS[local.month - 1]}"


def clock(moment: datetime, zone_name: str, *, seconds: bool = False) -> str:
    """Return the time of day."""
    return moment.astimezone(zone(zone_name)).strftime("%H:%M:%S" if seconds else "%H:%M")


def exact(moment: datetime, zone_name: str) -> str:
    """Return a time to the second with its zone, and the same in UTC."""
    local = f"{date(moment, zone_name)}, {clock(moment, zone_name, seconds=True)} {zone_name}"
    if zone_name == "UTC":
        return local
    return f"{local} ({date(moment, 'UTC')}, {clock(moment, 'UTC', seconds=True)} UTC)"


def short(moment: datetime, now: datetime, zone_name: str) -> str:
    """Return day and time; the year instead of the time where it is another one."""
    local, today = moment.astimezone(zone(zone_name)), now.astimezone(zone(zone_name))
    if local.year != today.year:
        return date(moment, zone_name)
    return f"{day(moment, zone_name)} {clock(moment, zone_name)}"


def relative(moment: datetime, now: datetime, zone_name: str) -> str:
    """Return how long ago, or in how long; beyond two days the day and time."""
    distance = moment - now
    if abs(distance) >= _RELATIVE:
        return short(moment, now, zone_name)
    if distance > timedelta():
        return f"in {duration(distance)}"
    if -distance < _MINUTE:
        return "just now"
    if -distance < _HOUR:
        return f"{-distance // _MINUTE} min ago"
    return f"{-distance // _HOUR} h ago"


def duration(length: timedelta) -> str:
    """Return a length of time in its two largest units."""
    if length < _MINUTE:
        return f"{max(0, int(length.total_seconds()))} s"
    days, rest = divmod(length, _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes = rest // _MINUTE
    if length >= _RELATIVE:
        return f"{days} d {hours} h" if hours else f"{days} d"
    hours += 24 * days
    if hours:
        return f"{hours} h {minutes} m" if minutes else f"{hours} h"
    return f"{minutes} m"


def machine(moment: datetime) -> str:
    """Return a time for the `datetime` attribute."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def days_before(now: datetime, days: int, zone_name: str) -> str:
    """Return the date this many days ago in a zone, as the services take it."""
    return (now.astimezone(zone(zone_name)).date() - timedelta(days=days)).isoformat()


def first_moment(text: str, zone_name: str, days_later: int = 0) -> datetime | None:
    """Return when the day that a form names begins in a zone, or one later; None for what is no date."""
    try:
        named = datetime.fromisoformat(text).date() + timedelta(days=days_later)
        return datetime.combine(named, time(), zone(zone_name)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
