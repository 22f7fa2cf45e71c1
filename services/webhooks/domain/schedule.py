"""When a delivery is retried: ten attempts over 75 h 35 m, with jitter, and never later than 96 h after the start.

An endpoint may have its own steps; the end stays the same.
"""

import math
import re
from collections.abc import Sequence
from datetime import MAXYEAR, UTC, datetime, timedelta
from email.utils import parsedate_tz
from typing import Final

# Seconds before each attempt, unless an endpoint has its own steps; the first attempt starts at once.
STEPS: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
MAX_ATTEMPTS: Final = len(STEPS)
JITTER: Final = 0.2
LIFETIME: Final = timedelta(hours=96)
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
_THROTTLE_FIRST, _THROTTLE_MOST = 5.0, 300.0
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def delay(step: int, chance: float, steps: Sequence[int] = STEPS) -> timedelta:
    """Return how long to wait before attempt number `step + 1` (step 1 is the first retry).

    `chance` in [0, 1) places the delay within 20 % around its step.
    """
    return timedelta(seconds=steps[step] * (1 - JITTER + 2 * JITTER * chance))


def next_attempt(
    step: int,
    now: datetime,
    ends_at: datetime,
    not_before: datetime | None,
    chance: float,
    steps: Sequence[int] = STEPS,
) -> datetime | None:
    """Return when to retry after attempt number `step` failed, or None if that was the last.

    `not_before` is what the receiver asked for; there is no retry after `ends_at`.
    """
    if step >= len(steps):
        return None
    due = now + delay(step, chance, steps)
    if not_before is not None and not_before > due:
        due = not_before
    return due if due < ends_at else None


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read a Retry-After header, seconds or a date, capped at 24 h; None if it is missing or unusable."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        # A float, because it reads any number of digits; a value beyond its range is infinite, and capped like the
        # rest.
        return timedelta(seconds=math.ceil(min(float(text), LONGEST_RETRY_AFTER.total_seconds())))
    try:
        wait = _until_date(text, now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(wait, LONGEST_RETRY_AFTER) if wait is not None and wait > timedelta(0) else None


def _until_date(text: str, now: datetime) -> timedelta | None:
    """Return the time until a date, whose year may be beyond what `datetime` can hold; raises what parsing raises."""
    parsed = parsedate_tz(text)
    if parsed is None:
        return None
    year, month, day, hour, minute, second = parsed[:6]
    if year > MAXYEAR:
        return LONGEST_RETRY_AFTER
    # The grammar allows a leap second, `datetime` does not.
    local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    return local - now - timedelta(seconds=parsed[9] or 0)


def throttle(in_a_row: int) -> timedelta:
    """Return how long an overloaded endpoint rests that named no time: 5 s, doubling up to 5 min."""
    return timedelta(seconds=min(_THROTTLE_MOST, _THROTTLE_FIRST * 2.0 ** min(max(in_a_row - 1, 0), 10)))
