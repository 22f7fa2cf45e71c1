"""The alarm that keeps a bad release from emptying a queue into its dead queue."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_SECONDS: Final = 1.0
MOST_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class AlarmLimit:
    """At least `errors` messages, and more than `share` of all, failed by our own fault within the window."""

    share: float = 0.5
    errors: int = 20
    window_seconds: float = 60.0


class RejectAlarm:
    """Counts outcomes of messages and returns how long to pause after a failure of the handler.

    Once raised, each further failure doubles the pause, so a queue soon loses no more than one message a minute; a
    message that succeeds and brings the share down ends the alarm. Rejects that the sender caused never count.
    """

    def __init__(self, limit: AlarmLimit, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._ends: deque[tuple[float, int, int]] = deque()
        self._total = 0
        self._errors = 0
        self._pause_seconds = 0.0

    @property
    def is_raised(self) -> bool:
        """Whether failures are pausing the consumer."""
        return self._pause_seconds > 0

    def taken(self, count: int) -> None:
        """Count messages that the handler accepted or rejected."""
        self._count(count, 0)
        if self.is_raised and self._errors <= self._limit.share * self._total:
            self._pause_seconds = 0.0

    def failed(self) -> float:
        """Count one message on which the handler failed; return the seconds to pause, 0 for none."""
        self._count(1, 1)
        if self.is_raised:
            self._pause_seconds = min(2 * self._pause_seconds, MOST_PAUSE_SECONDS)
        elif self._errors >= self._limit.errors and self._errors > self._limit.share * self._total:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        return self._pause_seconds

    def _count(self, total: int, errors: int) -> None:
        now = self._monotonic()
        self._ends.append((now, total, errors))
        self._total += total
        self._errors += errors
        while self._ends[0][0] <= now - self._limit.window_seconds:
            _, total, errors = self._ends.popleft()
            self._total -= total
            self._errors -= errors
