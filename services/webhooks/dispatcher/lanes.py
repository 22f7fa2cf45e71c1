"""One lane per endpoint: what this process holds for it, and how much it may have in flight just now."""

import uuid
from collections import deque
from datetime import datetime
from typing import Final

from services.webhooks.domain.deliveries import HeldDelivery, Target

# An endpoint that nobody has sent to lately starts small, so that one that hangs takes little with it; each success
# widens its window by one up to its cap, each sign of trouble halves it.
FIRST_WINDOW: Final = 10
# Beyond what is in flight, as much again may wait here: it goes out the moment another comes back. Behind a quick
# receiver more may wait, because it will not wait for long; that spares the table most claims under load.
AHEAD: Final = 2
AHEAD_WHEN_QUICK: Final = 10
QUICK_MILLISECONDS: Final = 100.0


class Lane:
    """Deliveries of one endpoint that are leased to this process."""

    __slots__ = (
        "cap",
        "endpoint_id",
        "in_flight",
        "is_ready_listed",
        "needs_target",
        "pace",
        "reserved",
        "rests_until",
        "target",
        "throttled",
        "waiting",
        "window",
    )

    def __init__(self, endpoint_id: uuid.UUID, cap: int) -> None:
        self.endpoint_id = endpoint_id
        self.cap = cap
        self.target: Target | None = None
        self.needs_target = True
        self.waiting: deque[HeldDelivery] = deque()
        self.reserved = 0
        self.in_flight = 0
        self.window = min(FIRST_WINDOW, cap)
        self.throttled = 0
        self.rests_until: datetime | None = None
        # How long a POST takes, in milliseconds, smoothed over the last few.
        self.pace = 2 * QUICK_MILLISECONDS
        self.is_ready_listed = False

    @property
    def held(self) -> int:
        """How many deliveries this process has or keeps room for."""
        return self.reserved + len(self.waiting) + self.in_flight

    @property
    def room(self) -> int:
        """How many more it takes."""
        return max(0, (AHEAD_WHEN_QUICK if self.is_quick else AHEAD) * self.window - self.held)

    @property
    def is_quick(self) -> bool:
        """Whether what waits here will not wait for long."""
        return self.pace < QUICK_MILLISECONDS

    @property
    def can_send(self) -> bool:
        """Whether the next one may go out now, as far as this endpoint is concerned."""
        return bool(self.waiting) and self.in_flight < self.window and self.target is not None and not self.needs_target

    def is_resting(self, now: datetime) -> bool:
        """Whether the endpoint has asked to be left alone until later than `now`."""
        return self.rests_until is not None and self.rests_until > now

    def rest(self, until: datetime) -> None:
        """Leave the endpoint alone until a time; a later one that is known already stays."""
        if self.rests_until is None or self.rests_until < until:
            self.rests_until = until

    def set_target(self, target: Target) -> None:
        """Send with these facts from now on."""
        self.target = target
        self.needs_target = False
        self.cap = target.endpoint.max_in_flight
        self.window = min(self.window, self.cap)

    def note_success(self, milliseconds: int) -> None:
        """Widen the window."""
        self.throttled = 0
        self.pace += (milliseconds - self.pace) / 4
        if self.window < self.cap:
            self.window += 1

    def note_trouble(self) -> None:
        """Narrow the window: the receiver is slow, away or overloaded."""
        self.window = max(1, self.window // 2)
        self.pace = 2 * QUICK_MILLISECONDS

    def take_waiting(self) -> list[HeldDelivery]:
        """Remove and return what has not been sent."""
        taken = list(self.waiting)
        self.waiting.clear()
        return taken
