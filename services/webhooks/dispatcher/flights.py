"""The POSTs in progress: a limited number of quick ones, and besides them slow ones that have made way."""

from typing import Final

from services.webhooks.dispatcher.pipes import Pipe
from services.webhooks.domain.deliveries import HeldDelivery

# A POST that takes longer than this makes way for others; at most this many may be in progress besides.
SLOW_SECONDS: Final = 1.0
MAX_SLOW: Final = 400
# Retries, and attempts at receivers that have not succeeded yet, never take more than this share of the slots: the rest
# is kept for the next first attempt at a working receiver.
SHARE_WITHOUT_PRIORITY: Final = 0.7


class Flight:
    """One POST."""

    __slots__ = ("delivery", "has_priority", "is_slow", "pipe", "started")

    def __init__(self, pipe: Pipe, delivery: HeldDelivery, started: float, *, has_priority: bool) -> None:
        self.pipe = pipe
        self.delivery = delivery
        self.started = started
        self.has_priority = has_priority
        self.is_slow = False


class Flights:
    """Counts the POSTs in progress; times are on the monotonic clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limit_without_priority = max(1, int(limit * SHARE_WITHOUT_PRIORITY))
        # In the order of their start, so that the slow ones come first.
        self._quick: dict[Flight, None] = {}
        self._slow = 0
        self._without_priority = 0

    @property
    def count(self) -> int:
        """The number of POSTs in progress."""
        return len(self._quick) + self._slow

    @property
    def has_slot(self) -> bool:
        """Whether another one may start."""
        return len(self._quick) < self._limit

    @property
    def has_slot_for_all(self) -> bool:
        """Whether one without priority may start."""
        return self.has_slot and self._without_priority < self._limit_without_priority

    def begin(self, pipe: Pipe, delivery: HeldDelivery, now: float, *, has_priority: bool) -> Flight:
        """Register a POST."""
        flight = Flight(pipe, delivery, now, has_priority=has_priority)
        self._quick[flight] = None
        self._without_priority += not has_priority
        return flight

    def end(self, flight: Flight) -> None:
        """Unregister a POST."""
        if flight.is_slow:
            self._slow -= 1
        else:
            self._forget(flight)

    def set_slow_aside(self, now: float) -> list[Flight]:
        """Let slow POSTs make way and return those that have just done so."""
        aside: list[Flight] = []
        for flight in self._quick:
            if flight.started > now - SLOW_SECONDS or self._slow + len(aside) >= MAX_SLOW:
                break
            aside.append(flight)
        for flight in aside:
            self._forget(flight)
            flight.is_slow = True
        self._slow += len(aside)
        return aside

    def _forget(self, flight: Flight) -> None:
        del self._quick[flight]
        self._without_priority -= not flight.has_priority
