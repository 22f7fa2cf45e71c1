"""The deliveries of this process: those it keeps room for, those in its lanes, those it gives back or ends unsent.

It sends nothing and touches no SQL; it says by events when a claim or some care is due.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Final

from services.webhooks.dispatcher.lanes import AHEAD, AHEAD_WHEN_QUICK, FIRST_WINDOW, Lane
from services.webhooks.dispatcher.waiting import pause
from services.webhooks.domain.deliveries import ENDPOINT_DISABLED, HeldDelivery, Target
from shared.clock import Clock

BREATH_SECONDS: Final = 0.25
# So much may wait here of bodies, which are no larger than 256 KiB: enough for every slot whatever their size. The last
# one may lead over it.
MOST_BYTES: Final = 32 * 1024 * 1024
_MAX_IDLE_LANES: Final = 10_000


class Holdings:
    """Counts what is held, so that neither the intake nor a claim takes more than goes out soon."""

    def __init__(self, clock: Clock, max_in_flight: int) -> None:
        self._clock = clock
        self._max_in_flight = max_in_flight
        self.lanes: dict[uuid.UUID, Lane] = {}
        self.to_release: list[HeldDelivery] = []
        # With the reason for which they are dead; those without one are canceled.
        self.to_end: list[tuple[HeldDelivery, str | None]] = []
        self.is_stopping = False
        # Whether something was not sent within the time that its limit per second leaves for it.
        self.was_late = False
        self.has_backlog = True
        self.claim_is_due = asyncio.Event()
        # What cannot wait for a poll: targets to be loaded, deliveries to be given back or ended.
        self.target_is_due = asyncio.Event()
        self.release_is_due = asyncio.Event()
        self.end_is_due = asyncio.Event()
        # Work for about half a second at full speed; a claim tops up to this.
        self._enough = AHEAD_WHEN_QUICK * max_in_flight // 2
        self._count = 0
        self._bytes_waiting = 0
        self._retries_waiting = 0
        self._eased = asyncio.Event()

    @property
    def room(self) -> int:
        """How many more a claim may bring; none while the bodies that wait take all the memory that they may."""
        return self._enough - self._count if self.room_bytes > 0 else 0

    @property
    def room_bytes(self) -> int:
        """How large the bodies may be together that a claim brings."""
        return MOST_BYTES - self._bytes_waiting

    @property
    def unsent(self) -> int:
        """How many wait in lanes, or to be given back or ended."""
        return sum(lane.waiting for lane in self.lanes.values()) + len(self.to_release) + len(self.to_end)

    def note_backlog(self) -> None:
        """Learn that deliveries lie due in the table."""
        self.has_backlog = True
        self.claim_is_due.set()

    # Room for what is about to be written.

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Keep room for one delivery; False if it should rather lie in the table."""
        if self.is_stopping:
            return False
        lane = self._lane(endpoint_id, max_in_flight)
        # Retries that wait here take no room from what is new: they let it pass.
        limit = (AHEAD_WHEN_QUICK if lane.is_quick else AHEAD) * self._max_in_flight + self._retries_waiting
        is_full = self._count >= limit or self._bytes_waiting >= MOST_BYTES
        if is_full or lane.room == 0 or lane.trips or lane.is_resting(self._clock()):
            return False
        lane.reserved += 1
        self._count += 1
        return True

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Give reserved room back."""
        for endpoint_id in endpoint_ids:
            self.lanes[endpoint_id].reserved -= 1
            self._count -= 1

    async def breathe(self) -> None:
        """Wait a moment while quick receivers keep this process busy: more would only pile up in the table."""
        if self.room <= 0:
            self._eased.clear()
            await pause(self._eased, BREATH_SECONDS)

    # What comes into its lane and what leaves it.

    def add(self, delivery: HeldDelivery) -> Lane:
        """Let a delivery wait in its lane, and return that."""
        lane = self._lane(delivery.endpoint_id, FIRST_WINDOW)
        self._count_followers(lane, delivery, 1)
        self._count += 1
        self._bytes_waiting += len(delivery.body)
        self._wait(lane, delivery)
        return lane

    def follow(self, lane: Lane, delivery: HeldDelivery) -> None:
        """Let what comes next in a line wait for its turn, now that a delivery has succeeded; the others follow it."""
        if delivery.followers and not self.is_stopping:
            following = delivery.followers.popleft()
            following.followers, delivery.followers = delivery.followers, deque()
            lane.followers -= 1
            self._wait(lane, following)

    def leave(self, lane: Lane, delivery: HeldDelivery) -> None:
        """Count out what was to follow a delivery and will not: whoever writes its end gives that back."""
        self._count_followers(lane, delivery, -1)

    def give_back_followers(self, lane: Lane, delivery: HeldDelivery) -> None:
        """Give back what is to follow a delivery that takes long."""
        self._count_followers(lane, delivery, -1)
        self.release(delivery.followers)
        delivery.followers = deque()

    def _wait(self, lane: Lane, delivery: HeldDelivery) -> None:
        lane.add(delivery)
        self._retries_waiting += not delivery.is_first_try

    def _count_followers(self, lane: Lane, delivery: HeldDelivery, sign: int) -> None:
        if delivery.followers:
            lane.followers += sign * len(delivery.followers)
            self._count += sign * len(delivery.followers)
            self._bytes_waiting += sign * sum(len(each.body) for each in delivery.followers)

    def take_next(self, lane: Lane, *, has_priority: bool) -> HeldDelivery:
        """Remove and return what goes out next; it counts until it is let go."""
        delivery = lane.take_next(has_priority=has_priority)
        self._bytes_waiting -= len(delivery.body)
        self._retries_waiting -= not delivery.is_first_try
        return delivery

    def let_go(self) -> None:
        """Count one out that was taken from its lane: it has come back, or has made way for others."""
        self._count -= 1
        if self.room > 0:
            self._eased.set()

    def note_room(self, lane: Lane) -> None:
        """Have more claimed if there is more, and a lane has run empty enough for it."""
        if self.has_backlog and (lane.held == 0 or lane.room >= lane.window):
            self.claim_is_due.set()

    def release(self, held: Iterable[HeldDelivery]) -> None:
        """Give deliveries back that are in no lane, and count no more; with what was to follow them."""
        for delivery in held:
            self.to_release += (delivery, *delivery.followers)
        self.release_is_due.set()

    def give_back(self, lane: Lane) -> None:
        """Give back what waits in a lane."""
        if lane.waiting:
            self.release(self._taken_from(lane))

    def end(self, delivery: HeldDelivery, reason: str | None) -> None:
        """End a delivery unsent that is in no lane; what was to follow it is given back with it."""
        self.to_end.append((delivery, reason))
        self.end_is_due.set()

    def turn_away(self, lane: Lane, target: Target) -> None:
        """Give back what waits for an endpoint that is paused, and end what waits for one that is archived or disabled.

        What somebody replays by hand goes out to a disabled one.
        """
        if target.endpoint.status == "paused" and not target.is_archived:
            self.give_back(lane)
        if not target.is_archived and target.endpoint.status != "disabled":
            return
        for delivery in self._taken_from(lane):
            if target.is_archived:
                self.end(delivery, None)
            elif delivery.trigger == "automatic":
                self.end(delivery, ENDPOINT_DISABLED)
            else:
                self.add(delivery)

    def _taken_from(self, lane: Lane) -> list[HeldDelivery]:
        self._retries_waiting -= len(lane.retries)
        taken = lane.take_waiting()
        for delivery in taken:
            self._count_followers(lane, delivery, -1)
        self._count -= len(taken)
        self._bytes_waiting -= sum(len(delivery.body) for delivery in taken)
        return taken

    def _lane(self, endpoint_id: uuid.UUID, cap: int) -> Lane:
        lane = self.lanes.get(endpoint_id)
        if lane is None:
            if len(self.lanes) >= _MAX_IDLE_LANES:
                self.lanes = {
                    key: lane for key, lane in self.lanes.items() if lane.held or lane.is_listed or lane.is_rest_listed
                }
            lane = self.lanes[endpoint_id] = Lane(endpoint_id, cap)
        return lane
