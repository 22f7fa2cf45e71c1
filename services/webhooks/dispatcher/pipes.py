"""One pipe per endpoint: the deliveries that this process holds for it, and how many may be in flight."""

import uuid
from collections import deque
from datetime import datetime
from typing import Final

from services.webhooks.domain.breaker import Breaker, open_for
from services.webhooks.domain.deliveries import Decision, HeldDelivery, Target
from services.webhooks.domain.health import GRAIN

# An endpoint without recent attempts starts small, so that one that hangs occupies little; each success widens its
# window by one up to its cap, each sign of trouble halves it.
FIRST_WINDOW: Final = 10
# Besides those in flight, as many again may wait here: they are sent the moment a slot is free. For a quick receiver
# more may wait, because they do not wait for long; that saves the table most claims under load.
AHEAD: Final = 2
AHEAD_WHEN_QUICK: Final = 10
QUICK_MILLISECONDS: Final = 100.0
# A receiver that takes longer than this to accept a message works, but must not keep others waiting.
PROMPT_MILLISECONDS: Final = 1000
# By then the table also has the rest period of the endpoint, and the table is right.
REST_IS_WRITTEN_SECONDS: Final = 3.0
# A claim leaves this much of the room for first attempts that arrive meanwhile.
CLAIMED_SHARE: Final = 0.7


class Pipe:
    """Deliveries of one endpoint that are leased to this process."""

    __slots__ = (
        "breaker",
        "cap",
        "endpoint_id",
        "first_tries",
        "followers",
        "in_flight",
        "is_held_back",
        "is_listed",
        "is_paced",
        "is_proven",
        "is_rest_listed",
        "is_stuck",
        "is_troubled",
        "last_success",
        "needs_target",
        "noted_at",
        "pace",
        "reserved",
        "rest_noted_at",
        "rests_until",
        "retries",
        "target",
        "throttled",
        "trips",
        "window",
    )

    def __init__(self, endpoint_id: uuid.UUID, cap: int) -> None:
        self.endpoint_id = endpoint_id
        self.cap = cap
        self.target: Target | None = None
        self.needs_target = True
        self.first_tries: deque[HeldDelivery] = deque()
        self.retries: deque[HeldDelivery] = deque()
        # How many follow others in their line; they wait here only once those have succeeded.
        self.followers = 0
        self.reserved = 0
        self.in_flight = 0
        self.window = min(FIRST_WINDOW, cap)
        self.throttled = 0
        self.rests_until: datetime | None = None
        self.rest_noted_at = 0.0
        self.breaker = Breaker()
        # How often the breaker has opened in a row; while it is not zero, one delivery at a time is sent as a probe.
        self.trips = 0
        # Whether the endpoint has a limit per second: claimed deliveries then have their token and are sent at once.
        self.is_paced = False
        # Whether the last response of the receiver was a prompt success; all other receivers get only a share.
        self.is_proven = False
        # Whether a POST has taken long and nothing has come back since it started: then no further one starts, and
        # nothing waits behind it.
        self.is_stuck = False
        # Whether the endpoint cannot be sent to for a reason on our side: then its deliveries wait in the table.
        self.is_held_back = False
        self.last_success = 0.0
        self.is_troubled = False
        self.noted_at: datetime | None = None
        # The duration of a POST in milliseconds, smoothed over the last few.
        self.pace = 2 * QUICK_MILLISECONDS
        self.is_listed = False
        self.is_rest_listed = False

    @property
    def waiting(self) -> int:
        """How many deliveries wait here."""
        return len(self.first_tries) + len(self.retries)

    @property
    def held(self) -> int:
        """How many deliveries this process holds or has reserved room for."""
        return self.reserved + self.waiting + self.followers + self.in_flight

    @property
    def width(self) -> int:
        """How many may be in flight: one, as a probe, after the breaker has opened."""
        return 1 if self.trips else self.window

    @property
    def room(self) -> int:
        """How many more first attempts it accepts without a claim."""
        if self.is_stuck or self.is_held_back:
            return 0
        return max(0, (AHEAD_WHEN_QUICK if self.is_quick else AHEAD) * self.width - self.held)

    @property
    def is_quick(self) -> bool:
        """Whether deliveries do not wait here for long."""
        return self.pace < QUICK_MILLISECONDS

    @property
    def is_open(self) -> bool:
        """Whether another one may be sent now, as far as this endpoint is concerned."""
        if self.needs_target or self.is_stuck or self.is_held_back:
            return False
        return self.in_flight < self.width and self.target is not None

    @property
    def has_priority(self) -> bool:
        """Whether a first attempt at a working receiver waits here."""
        return bool(self.first_tries) and self.is_proven

    @property
    def has_others(self) -> bool:
        """Whether anything else waits here."""
        return bool(self.retries) or (bool(self.first_tries) and not self.is_proven)

    def claim_room(self, now: datetime, monotonic_now: float) -> int:
        """Return how many more it accepts from a claim."""
        if self.is_stuck or self.is_held_back or (self.is_resting(now) and not self.may_be_outdated(monotonic_now)):
            return 0
        if self.trips or self.is_paced:
            return max(0, self.width - self.held)
        return max(0, int((AHEAD_WHEN_QUICK if self.is_quick else AHEAD) * self.width * CLAIMED_SHARE) - self.held)

    def is_resting(self, now: datetime) -> bool:
        """Return whether nothing is to be sent to the endpoint until later than `now`."""
        return self.rests_until is not None and self.rests_until > now

    def rest(self, until: datetime, monotonic_now: float) -> None:
        """Send nothing to the endpoint until a time; a later time that is already known stays."""
        if self.rests_until is None or self.rests_until < until:
            self.rests_until = until
            self.rest_noted_at = monotonic_now

    def may_be_outdated(self, monotonic_now: float) -> bool:
        """Return whether the table may know a different end of the rest period by now: the owner may have ended it."""
        return monotonic_now - self.rest_noted_at > REST_IS_WRITTEN_SECONDS

    def note_breaker(self, trips: int, now: datetime, monotonic_now: float) -> None:
        """Take from a claim that the endpoint may be sent to, and whether that is a probe."""
        if self.is_resting(now) and self.may_be_outdated(monotonic_now):
            self.rests_until = None
        if not self.is_resting(now):
            self.trips = trips

    def set_target(self, target: Target) -> None:
        """Use this target from now on."""
        endpoint = target.endpoint
        self.target = target
        self.needs_target = self.is_held_back = False
        self.cap = endpoint.max_in_flight
        self.window = min(self.window, self.cap)
        self.is_paced = endpoint.rate_limit_per_second is not None
        self.is_troubled = endpoint.failing_since is not None or endpoint.breaker != "closed"

    def add(self, delivery: HeldDelivery) -> None:
        """Add a delivery that waits for its turn."""
        (self.first_tries if delivery.is_first_try else self.retries).append(delivery)

    def take_next(self, *, has_priority: bool) -> HeldDelivery:
        """Remove and return the delivery to send next, for a turn with or without priority."""
        is_first = has_priority or not self.retries or (bool(self.first_tries) and not self.is_proven)
        return (self.first_tries if is_first else self.retries).popleft()

    def note_slow(self, started: float) -> None:
        """Note that a POST that started at a time takes long."""
        if self.last_success < started:
            self.is_stuck = True

    def note_success(self, milliseconds: int, monotonic_now: float) -> None:
        """Widen the window."""
        self.throttled = 0
        self.is_proven = milliseconds < PROMPT_MILLISECONDS
        self.is_stuck = False
        self.last_success = monotonic_now
        self.pace += (milliseconds - self.pace) / 4
        if self.window < self.cap:
            self.window += 1

    def note_trouble(self) -> None:
        """Narrow the window: the receiver is slow, away or overloaded."""
        self.is_proven = False
        self.window = max(1, self.window // 2)
        self.pace = 2 * QUICK_MILLISECONDS

    def judge(self, decision: Decision, trips_at_start: int, now: datetime, monotonic_now: float) -> int | None:
        """Count an outcome for the breaker; return how often it has opened in a row if that changed.

        A receiver that says when to come back is not broken. An attempt that started before the breaker opened does not
        decide whether it closes.
        """
        has_succeeded = decision.status == "succeeded"
        if self.trips:
            if trips_at_start != self.trips or self.is_resting(now) or decision.names_a_time:
                return None
            self.trips = 0 if has_succeeded else self.trips + 1
        elif decision.names_a_time or not self.breaker.note(monotonic_now, has_succeeded=has_succeeded):
            return None
        else:
            self.trips = 1
        self.breaker.forget()
        if self.trips:
            self.rest(now + open_for(self.trips), monotonic_now)
        return self.trips

    def is_news(self, decision: Decision, delivery: HeldDelivery, now: datetime) -> bool:
        """Return whether an outcome may change the recorded health of the endpoint; a replay never does."""
        if delivery.trigger != "automatic":
            return False
        if decision.status != "succeeded":
            self.is_troubled = True
            return True
        if not self.is_troubled and self.noted_at is not None and now - self.noted_at < GRAIN:
            return False
        self.is_troubled = False
        self.noted_at = now
        return True

    def take_waiting(self) -> list[HeldDelivery]:
        """Remove and return the unsent deliveries."""
        taken = [*self.first_tries, *self.retries]
        self.first_tries.clear()
        self.retries.clear()
        return taken
