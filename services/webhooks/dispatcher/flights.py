"""The POSTs under way: so many quick ones at once, and besides them slow ones that have made way for others."""

from typing import Final

# A POST that takes longer than this makes way; so many of them may be under way besides.
SLOW_SECONDS: Final = 1.0
MAX_SLOW: Final = 400
# Retries take what first tries leave, and never more than this of it: the rest is there for the next first try.
RETRY_SHARE: Final = 0.7


class Flight:
    """One POST."""

    __slots__ = ("is_retry", "is_slow", "started")

    def __init__(self, started: float, *, is_retry: bool) -> None:
        self.started = started
        self.is_retry = is_retry
        self.is_slow = False


class Flights:
    """Counts what is under way; times are on the loop's clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._retry_limit = max(1, int(limit * RETRY_SHARE))
        # In the order of their start, so that the slow ones are found in front.
        self._quick: dict[Flight, None] = {}
        self._slow = 0
        self._retries = 0

    @property
    def count(self) -> int:
        """How many POSTs are under way."""
        return len(self._quick) + self._slow

    @property
    def has_slot(self) -> bool:
        """Whether another may begin."""
        return len(self._quick) < self._limit

    @property
    def has_retry_slot(self) -> bool:
        """Whether another may begin that is no first try."""
        return self.has_slot and self._retries < self._retry_limit

    def begin(self, now: float, *, is_retry: bool) -> Flight:
        """Count one in."""
        flight = Flight(now, is_retry=is_retry)
        self._quick[flight] = None
        self._retries += is_retry
        return flight

    def end(self, flight: Flight) -> None:
        """Count one out."""
        if flight.is_slow:
            self._slow -= 1
        else:
            del self._quick[flight]
            self._retries -= flight.is_retry

    def set_slow_aside(self, now: float) -> int:
        """Let slow ones make way and return how many have done so now."""
        aside: list[Flight] = []
        for flight in self._quick:
            if flight.started > now - SLOW_SECONDS or self._slow + len(aside) >= MAX_SLOW:
                break
            aside.append(flight)
        for flight in aside:
            del self._quick[flight]
            flight.is_slow = True
            self._retries -= flight.is_retry
        self._slow += len(aside)
        return len(aside)
