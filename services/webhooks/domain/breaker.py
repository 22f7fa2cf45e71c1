"""The circuit breaker of an endpoint: after a run of failures nothing is sent, then one delivery at a time as a probe.

Each process counts what it sees itself. The resulting state is written to the endpoint, so it holds for all of them.
"""

from collections import deque
from datetime import timedelta
from typing import Final

FAILURES_IN_A_ROW: Final = 5
WINDOW_SECONDS: Final = 60.0
FEWEST_IN_WINDOW: Final = 20
SHARE_OF_FAILURES: Final = 0.5
FIRST_SECONDS: Final = 30
LONGEST_SECONDS: Final = 30 * 60
_SLICE_SECONDS: Final = 5.0


def open_for(trips: int) -> timedelta:
    """Return how long a breaker stays open after this many trips without a success in between: 30 s, doubling."""
    return timedelta(seconds=min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(max(trips, 1) - 1, 10)))


class Breaker:
    """Counts the outcomes of the last minute; times are on the monotonic clock, in seconds."""

    __slots__ = ("_in_a_row", "_slices")

    def __init__(self) -> None:
        self._in_a_row = 0
        # Start, number of outcomes and number of failures of each five seconds with outcomes.
        self._slices: deque[list[float]] = deque()

    def note(self, now: float, *, has_succeeded: bool) -> bool:
        """Count one outcome and return whether it opens the breaker."""
        self._in_a_row = 0 if has_succeeded else self._in_a_row + 1
        if not self._slices or now - self._slices[-1][0] >= _SLICE_SECONDS:
            self._slices.append([now, 0, 0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += not has_succeeded
        while now - self._slices[0][0] >= WINDOW_SECONDS:
            self._slices.popleft()
        return not has_succeeded and (self._in_a_row >= FAILURES_IN_A_ROW or self._is_half_bad())

    def forget(self) -> None:
        """Reset the counts, after the breaker has opened or closed."""
        self._in_a_row = 0
        self._slices.clear()

    def _is_half_bad(self) -> bool:
        outcomes = sum(each[1] for each in self._slices)
        return outcomes >= FEWEST_IN_WINDOW and sum(each[2] for each in self._slices) >= SHARE_OF_FAILURES * outcomes
