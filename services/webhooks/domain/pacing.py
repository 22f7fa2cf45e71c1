"""The limit per second of an endpoint: a cap on the POSTs that start in any second, over all processes.

A sender gets a span of at least `BEGIN_SECONDS` in which to start, and does not send after it. Spans are spaced so that
no second, wherever it begins, overlaps more of them than the limit allows.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(seconds=1)
# How long a claim leaves for its POSTs to start. Unused time is lost to the rate; a POST that misses the span sends its
# delivery back to the table, so a process that was late takes longer spans for a while.
BEGIN_SECONDS: Final = 0.1
LONGEST_BEGIN_SECONDS: Final = 5.0
# A span counts for longer than it is used: a busy machine may pause between the last look at the clock and the POST.
MARGIN_SECONDS: Final = 0.05
# A manual attempt takes its turn like others, but a caller waits for it.
FOREGROUND_BEGIN_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 10.0

Spans = Sequence[tuple[datetime, int]]
"""The end of each span, and how many POSTs may start in it."""


def next_span_length(seconds: float, *, was_late: bool) -> float:
    """Return the length of the next span, given that of the last one and whether all its POSTs started in time."""
    return min(LONGEST_BEGIN_SECONDS, 2 * seconds) if was_late else max(BEGIN_SECONDS, 0.95 * seconds)


def earliest_begin(spans: Spans, rate: int, now: datetime) -> datetime:
    """Return when a span for one POST may begin: once fewer than `rate` may start in the second before it."""
    starts = [now, *sorted(ends_at + WINDOW for ends_at, _ in spans if ends_at + WINDOW > now)]
    return next(start for start in starts if spent(spans, start) < rate)


def spent(spans: Spans, start: datetime) -> int:
    """Return how many POSTs may start within the second before a time, or after it."""
    return sum(count for ends_at, count in spans if ends_at > start - WINDOW)
