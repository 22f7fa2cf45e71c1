"""The database work of sending besides claims: targets, deliveries to return or end, and changes to endpoints."""

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from services.webhooks.dispatcher.claiming import CLAIM_LIMIT
from services.webhooks.dispatcher.pipes import Pipe
from services.webhooks.dispatcher.sending import Sending
from services.webhooks.domain.deliveries import LEASE_SECONDS, HeldDelivery, Target
from services.webhooks.domain.endpoints import EndpointState
from services.webhooks.usecases.delivery_queue import DeliveryQueue
from shared.clock import Clock
from shared.metrics import WEBHOOKS_DUE, WEBHOOKS_OLDEST_DUE_SECONDS
from shared.periodic import Failing, for_each, together_or_each

# What could not be ended comes back when its lease expires.
_REMEMBERED_SECONDS: Final = 2 * LEASE_SECONDS


class Upkeep:
    """One method per periodic task."""

    def __init__(self, queue: DeliveryQueue, sending: Sending, clock: Clock) -> None:
        self._queue = queue
        self._sending = sending
        self._clock = clock
        self._failing_targets = Failing(_REMEMBERED_SECONDS)
        self._failing_ends = Failing(_REMEMBERED_SECONDS)

    async def watch(self) -> None:
        """Notice changes by other processes to the endpoints whose deliveries are held here."""
        busy = [pipe.endpoint_id for pipe in self._sending.pipes.values() if pipe.waiting or pipe.in_flight]
        if busy:
            await for_each(await self._queue.states(busy), self._notice)

    async def _notice(self, state: EndpointState) -> None:
        # The pipe may have become empty and been dropped meanwhile.
        if (pipe := self._sending.pipes.get(state.endpoint_id)) is not None:
            self._compare(pipe, state)

    async def expire(self) -> None:
        """End deliveries whose time is over."""
        if not self._sending.is_stopping:
            for delivery in await self._queue.claim_expired(CLAIM_LIMIT):
                self._sending.end(delivery, "expired")

    async def call_up(self) -> None:
        """Call up deliveries that wait for no other."""
        if not self._sending.is_stopping and await self._queue.call_up():
            self._sending.wake()

    async def measure(self) -> None:
        """Measure the backlog."""
        backlog = await self._queue.measure()
        WEBHOOKS_OLDEST_DUE_SECONDS.set(backlog.age.total_seconds())
        WEBHOOKS_DUE.set(backlog.due)

    async def load_targets(self) -> None:
        """Load the endpoints whose deliveries wait here."""
        pipes = self._sending.pipes.values()
        wanted = [pipe for pipe in pipes if pipe.needs_target and (pipe.waiting or pipe.in_flight or pipe.is_held_back)]
        if wanted:
            for pipe, error in await together_or_each(wanted, self._load):
                pipe.needs_target = False
                self._hold_back(pipe)
                self._failing_targets.note(pipe.endpoint_id, error)
        self._failing_targets.raise_if_any()

    async def recheck(self) -> None:
        """Check endpoints that are held back again: the cause may have been fixed."""
        for pipe in self._sending.pipes.values():
            pipe.needs_target = pipe.needs_target or pipe.is_held_back
        self._sending.target_is_due.set()

    async def _load(self, wanted: Sequence[Pipe]) -> None:
        for pipe in wanted:
            # Any change from here on requires another load.
            pipe.needs_target = False
            pipe.target = None
        try:
            targets = await self._queue.targets([pipe.endpoint_id for pipe in wanted])
        except BaseException:
            for pipe in wanted:
                pipe.needs_target = True
            raise
        for pipe in wanted:
            self._set_target(pipe, targets[pipe.endpoint_id])
            self._failing_targets.forget(pipe.endpoint_id)
        self._sending.go_on(wanted)

    def _set_target(self, pipe: Pipe, target: Target) -> None:
        if pipe.needs_target:
            self._sending.target_is_due.set()
            return
        if pipe.is_held_back and target.missing is None:
            self._sending.wake()
        pipe.set_target(target)
        self._sending.turn_away(pipe, target)
        if target.missing is not None and not target.is_archived:
            self._hold_back(pipe)

    def _hold_back(self, pipe: Pipe) -> None:
        pipe.is_held_back = True
        self._sending.give_back(pipe)

    async def release(self) -> None:
        """Return deliveries that are not to be sent from here."""
        if self._sending.to_release:
            batch, self._sending.to_release = self._sending.to_release, []
            try:
                await self._queue.give_back(batch)
            except BaseException:
                self._sending.to_release += batch
                raise

    async def end(self) -> None:
        """End deliveries that are not to be sent at all."""
        while self._sending.to_end:
            reason = self._sending.to_end[0][1]
            batch = [delivery for delivery, why in self._sending.to_end if why == reason][:CLAIM_LIMIT]
            failed = await together_or_each(batch, partial(self._end, reason))
            for delivery, error in failed:
                # Its lease expires, and it comes back.
                self._failing_ends.note(delivery.delivery_id, error)
            ended = {id(delivery) for delivery in batch}
            self._sending.to_end = [pair for pair in self._sending.to_end if id(pair[0]) not in ended]
        self._failing_ends.raise_if_any()

    async def _end(self, reason: str | None, batch: Sequence[HeldDelivery]) -> None:
        if reason is None:
            await self._queue.cancel(batch)
        else:
            await self._queue.give_up(batch, reason)
        if any(delivery.ordering_key is not None for delivery in batch):
            # Deliveries that waited for these are due now.
            self._sending.wake()

    def _compare(self, pipe: Pipe, state: EndpointState) -> None:
        if pipe.target is not None and pipe.target.endpoint.version < state.version:
            pipe.needs_target = True
            self._sending.target_is_due.set()
        pipe.is_troubled = pipe.is_troubled or state.is_failing
        if state.resume_at is not None:
            pipe.rest(state.resume_at, monotonic())
            if pipe.is_resting(self._clock()):
                self._sending.give_back(pipe)
