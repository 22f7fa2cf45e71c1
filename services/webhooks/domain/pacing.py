"""The limit per second of an endpoint: a cap on the POSTs that begin in any second, by whichever process.

Whoever is to send gets a span of time in which to begin, as long as `BEGIN_SECONDS` or longer, and does not send after
it. Spans are so far apart that no second, wherever it begins, touches more of them than the limit allows.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(seconds=1)
# How long a claim leaves for its POSTs to begin. What is not needed of it is lost to the rate, what is needed beyond it
# sends deliveries back to the table, so a process that was late takes longer spans for a while.
BEGIN_SECONDS: Final = 0.1
LONGEST_BEGIN_SECONDS: Final = 5.0
# A span counts for longer than it is used: between the last look at the clock and the POST a busy machine may pause.
MARGIN_SECONDS: Final = 0.05
# An attempt in the foreground takes its turn like others, but somebody waits for it.
FOREGROUND_BEGIN_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 10.0

Spans = Sequence[tuple[datetime, int]]
"""When each span ends, and how many POSTs may begin in it."""


def next_span_length(seconds: float, *, was_late: bool) -> float:
    """Return how long the next span is to be after one of so many seconds in which all began, or not."""
    return min(LONGEST_BEGIN_SECONDS, 2 * seconds) if was_late else max(BEGIN_SECONDS, 0.95 * seconds)


def earliest_begin(spans: Spans, rate: int, now: datetime) -> datetime:
    """Return when a span for one POST may begin: as soon as fewer than `rate` may begin in the second before it."""
    starts = [now, *sorted(ends_at + WINDOW for ends_at, _ in spans if ends_at + WINDOW > now)]
    return next(start for start in starts if spent(spans, start) < rate)


def spent(spans: Spans, start: datetime) -> int:
    """Return how many POSTs may begin less than a second before a time, or after it."""
    return sum(count for ends_at, count in spans if ends_at > start - WINDOW)
