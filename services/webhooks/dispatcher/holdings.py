"""The deliveries of this process: reserved room, deliveries in pipes, and deliveries to return or end unsent.

It sends nothing and runs no SQL; it signals by events when a claim or other work is due.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Final

from services.webhooks.dispatcher.pipes import AHEAD, AHEAD_WHEN_QUICK, FIRST_WINDOW, Pipe
from services.webhooks.domain.deliveries import ENDPOINT_DISABLED, HeldDelivery, Target
from shared.clock import Clock
from shared.periodic import wait_at_most

BREATH_SECONDS: Final = 0.25
# The total size of waiting bodies, which are no larger than 256 KiB each: enough for every slot whatever their size.
# The last one may exceed it.
MOST_BYTES: Final = 32 * 1024 * 1024
_MAX_IDLE_PIPES: Final = 10_000


class Holdings:
    """Counts what is held, so that neither the intake nor a claim takes more than is sent soon."""

    def __init__(self, clock: Clock, max_in_flight: int) -> None:
        self._clock = clock
        self._max_in_flight = max_in_flight
        self.pipes: dict[uuid.UUID, Pipe] = {}
        self.to_release: list[HeldDelivery] = []
        # With the reason of their dead letter; those without one are canceled.
        self.to_end: list[tuple[HeldDelivery, str | None]] = []
        self.is_stopping = False
        # Whether a delivery missed the time that its limit per second leaves for it.
        self.was_late = False
        self.has_backlog = True
        self.claim_is_due = asyncio.Event()
        # Work that cannot wait for a poll: targets to load, deliveries to return or end.
        self.target_is_due = asyncio.Event()
        self.release_is_due = asyncio.Event()
        self.end_is_due = asyncio.Event()
        # About half a second of work at full speed; a claim tops up to this.
        self._enough = AHEAD_WHEN_QUICK * max_in_flight // 2
        self.count = 0
        self.bytes_waiting = 0
        self._retries_waiting = 0
        self._eased = asyncio.Event()

    @property
    def room(self) -> int:
        """How many more deliveries a claim may bring; none while the waiting bodies take all the allowed memory."""
        return self._enough - self.count if self.room_bytes > 0 else 0

    @property
    def room_bytes(self) -> int:
        """How large the bodies of a claim may be in total."""
        return MOST_BYTES - self.bytes_waiting

    @property
    def unsent(self) -> int:
        """How many deliveries wait in pipes, or to be returned or ended."""
        return sum(pipe.waiting for pipe in self.pipes.values()) + len(self.to_release) + len(self.to_end)

    def wake(self) -> None:
        """Notice that deliveries are due in the table."""
        self.has_backlog = True
        self.claim_is_due.set()

    def renew(self, endpoint_id: uuid.UUID) -> None:
        """Notice that an endpoint has changed: nothing is sent to it before it was read again."""
        if (pipe := self.pipes.get(endpoint_id)) is not None:
            pipe.needs_target = True
            pipe.rests_until = None
            self.target_is_due.set()
        self.wake()

    # Room for deliveries that are about to be written.

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Reserve room for one delivery; False if it should wait in the table."""
        if self.is_stopping:
            return False
        pipe = self._pipe(endpoint_id, max_in_flight)
        # Waiting retries take no room from new deliveries, because they let those pass.
        limit = (AHEAD_WHEN_QUICK if pipe.is_quick else AHEAD) * self._max_in_flight + self._retries_waiting
        is_full = self.count >= limit or self.bytes_waiting >= MOST_BYTES
        if is_full or pipe.room == 0 or pipe.trips or pipe.is_resting(self._clock()):
            return False
        pipe.reserved += 1
        self.count += 1
        return True

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Release reserved room."""
        for endpoint_id in endpoint_ids:
            self.pipes[endpoint_id].reserved -= 1
            self.count -= 1

    async def breathe(self) -> None:
        """Wait a moment while quick receivers keep this process busy: more would only pile up in the table."""
        if self.room <= 0:
            self._eased.clear()
            await wait_at_most(self._eased, BREATH_SECONDS)

    def stop(self) -> None:
        """Accept nothing more, and return what waits."""
        self.is_stopping = True
        for pipe in self.pipes.values():
            self.give_back(pipe)
        self.release_is_due.set()

    # What enters a pipe and what leaves it.

    def add(self, delivery: HeldDelivery) -> Pipe:
        """Put a delivery into its pipe, and return the pipe."""
        pipe = self._pipe(delivery.endpoint_id, FIRST_WINDOW)
        self._count_followers(pipe, delivery, 1)
        self.count += 1
        self.bytes_waiting += len(delivery.body)
        self._wait(pipe, delivery)
        return pipe

    def follow(self, pipe: Pipe, delivery: HeldDelivery) -> None:
        """After a success, put the next delivery of the line into the pipe; the others follow it."""
        if delivery.followers and not self.is_stopping:
            following = delivery.followers.popleft()
            following.followers, delivery.followers = delivery.followers, deque()
            pipe.followers -= 1
            self._wait(pipe, following)

    def leave(self, pipe: Pipe, delivery: HeldDelivery) -> None:
        """Stop counting the followers of a delivery; they are not sent, but returned when its end is recorded."""
        self._count_followers(pipe, delivery, -1)

    def give_back_followers(self, pipe: Pipe, delivery: HeldDelivery) -> None:
        """Return the followers of a delivery that takes long."""
        self._count_followers(pipe, delivery, -1)
        self.release(delivery.followers)
        delivery.followers = deque()

    def _wait(self, pipe: Pipe, delivery: HeldDelivery) -> None:
        pipe.add(delivery)
        self._retries_waiting += not delivery.is_first_try

    def _count_followers(self, pipe: Pipe, delivery: HeldDelivery, sign: int) -> None:
        if delivery.followers:
            pipe.followers += sign * len(delivery.followers)
            self.count += sign * len(delivery.followers)
            self.bytes_waiting += sign * sum(len(each.body) for each in delivery.followers)

    def take_next(self, pipe: Pipe, *, has_priority: bool) -> HeldDelivery:
        """Remove and return the delivery to send next; it counts until it is released."""
        delivery = pipe.take_next(has_priority=has_priority)
        self.bytes_waiting -= len(delivery.body)
        self._retries_waiting -= not delivery.is_first_try
        return delivery

    def let_go(self) -> None:
        """Stop counting a delivery taken from its pipe: it has finished, or has made way for others."""
        self.count -= 1
        if self.room > 0:
            self._eased.set()

    def note_room(self, pipe: Pipe) -> None:
        """Trigger a claim if there is more, and a pipe has become empty enough for it."""
        if self.has_backlog and (pipe.held == 0 or pipe.room >= pipe.window):
            self.claim_is_due.set()

    def release(self, held: Iterable[HeldDelivery]) -> None:
        """Return deliveries that are in no pipe, with their followers, and stop counting them."""
        for delivery in held:
            self.to_release += (delivery, *delivery.followers)
        self.release_is_due.set()

    def give_back(self, pipe: Pipe) -> None:
        """Return the deliveries that wait in a pipe."""
        if pipe.waiting:
            self.release(self._taken_from(pipe))

    def end(self, delivery: HeldDelivery, reason: str | None) -> None:
        """End an unsent delivery that is in no pipe; its followers are returned."""
        self.to_end.append((delivery, reason))
        self.end_is_due.set()

    def turn_away(self, pipe: Pipe, target: Target) -> None:
        """Return what waits for a paused endpoint, and end what waits for an archived or disabled one.

        Manual replays to a disabled endpoint are still sent.
        """
        if target.endpoint.status == "paused" and not target.is_archived:
            self.give_back(pipe)
        if not target.is_archived and target.endpoint.status != "disabled":
            return
        for delivery in self._taken_from(pipe):
            if target.is_archived:
                self.end(delivery, None)
            elif delivery.trigger == "automatic":
                self.end(delivery, ENDPOINT_DISABLED)
            else:
                self.add(delivery)

    def _taken_from(self, pipe: Pipe) -> list[HeldDelivery]:
        self._retries_waiting -= len(pipe.retries)
        taken = pipe.take_waiting()
        for delivery in taken:
            self._count_followers(pipe, delivery, -1)
        self.count -= len(taken)
        self.bytes_waiting -= sum(len(delivery.body) for delivery in taken)
        return taken

    def _pipe(self, endpoint_id: uuid.UUID, cap: int) -> Pipe:
        pipe = self.pipes.get(endpoint_id)
        if pipe is None:
            if len(self.pipes) >= _MAX_IDLE_PIPES:
                self.pipes = {
                    key: pipe for key, pipe in self.pipes.items() if pipe.held or pipe.is_listed or pipe.is_rest_listed
                }
            pipe = self.pipes[endpoint_id] = Pipe(endpoint_id, cap)
        return pipe
