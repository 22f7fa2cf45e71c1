"""The outbox relay: publishes newly committed events, and sweeps up those left behind by this process or another.

It knows no database; what it needs of the outbox comes in as `PendingEvents`.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from shared.broker.connection import backoff_seconds
from shared.broker.publisher import Publisher
from shared.broker.wire import Outcome
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.log import get_logger
from shared.metrics import OUTBOX_OLDEST_SECONDS, OUTBOX_REFUSED, OUTBOX_SWEPT, OUTBOX_WAITING
from shared.periodic import MOST_OUTAGE_SECONDS, Periodic

BATCH: Final = 500
# Writing a message takes some 30 us of the loop, and more urgent requests wait for the batch.
GENTLE_BATCH: Final = 50
MOST_IN_HAND: Final = 20_000
SWEEP_INTERVAL_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 10.0
FLIGHTS: Final = 2
# No caller waits for a row to be cleared, so one statement clears all that were confirmed meanwhile.
CLEAR_INTERVAL_SECONDS: Final = 0.25
# A full queue, or an event that no queue accepts: a person has to fix it, which takes a while.
REFUSED_SECONDS: Final = 120.0
_REFUSALS: Final = frozenset({Outcome.REFUSED, Outcome.RETURNED})


class PendingEvents(Protocol):
    """The unpublished events in a service's database."""

    async def claim(self, limit: int, lease_seconds: float) -> list[OutboxEvent]:
        """Lease up to `limit` events whose lease has run out."""

    async def confirm(self, ids: Sequence[uuid.UUID]) -> None:
        """Clear events that the broker has confirmed; safe to repeat."""

    async def defer(self, ids: Sequence[uuid.UUID], seconds: float) -> None:
        """Keep these events from being claimed for this long."""


class OutboxRelay:
    """Publishes events until the broker has confirmed each, and only then clears them.

    While the broker or the database is away it waits. Memory is bounded: events that are not in hand stay pending, and
    a sweep finds them. An event may be published more than once, but never lost.

    With `gather_seconds` an event waits that long for others before it is published, and few go out at a time: for
    events that are less urgent than the requests beside them.
    """

    def __init__(self, publisher: Publisher, pending: PendingEvents, *, gather_seconds: float = 0.0) -> None:
        self._publisher = publisher
        self._pending = pending
        self._gather_seconds = gather_seconds
        self._batch_size = GENTLE_BATCH if gather_seconds else BATCH
        self._queue: deque[OutboxEvent] = deque()
        self._later: list[OutboxEvent] = []
        self._confirmed: list[uuid.UUID] = []
        # Every id in hand and not yet cleared, with the time of taking it; oldest first.
        self._in_hand: dict[uuid.UUID, float] = {}
        self._is_draining = False
        self._to_publish = asyncio.Event()
        self._to_confirm = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._log = get_logger()
        self.tasks = [Periodic("sweep_outbox", SWEEP_INTERVAL_SECONDS, self._sweep)]
        """Its periodic tasks, for `/readyz`; `run` runs them."""

    def hand_over(self, events: Iterable[OutboxEvent]) -> None:
        """Take events of a transaction that has just committed; never blocks."""
        self._take(events)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest event in hand has waited for its confirm."""
        taken_at = next(iter(self._in_hand.values()), None)
        return 0.0 if taken_at is None else time.monotonic() - taken_at

    async def run(self) -> None:
        """Publish, confirm and sweep until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(FLIGHTS):
                group.create_task(self._publish_forever())
            group.create_task(self._confirm_forever())
            for task in self.tasks:
                group.create_task(task.run())

    async def drain(self, timeout_seconds: float) -> bool:
        """Stop sweeping and wait until nothing is in hand; return whether that happened in time.

        Call it while `run` still runs, after the last hand-over. Another process finds what remains.
        """
        self._is_draining = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            self._log.warning("outbox_not_drained", count=len(self._in_hand))
        return not self._in_hand

    def _take(self, events: Iterable[OutboxEvent]) -> int:
        now = time.monotonic()
        taken = 0
        for event in events:
            if len(self._in_hand) >= MOST_IN_HAND:
                break
            if event.id not in self._in_hand:
                self._in_hand[event.id] = now
                self._queue.append(event)
                taken += 1
        if taken:
            self._empty.clear()
            self._to_publish.set()
        return taken

    async def _publish_forever(self) -> None:
        while True:
            batch = await self._next_batch()
            outcomes = await self._publisher.publish_events(batch)
            done = [event_id for event_id, outcome in outcomes.items() if outcome is Outcome.CONFIRMED]
            refused = [event_id for event_id, outcome in outcomes.items() if outcome in _REFUSALS]
            if len(done) + len(refused) < len(batch):
                # The next sweep publishes them: at once would be a hot loop while the broker is away.
                settled = {*done, *refused}
                self._later.extend(event for event in batch if event.id not in settled)
            if done:
                self._confirmed.extend(done)
                self._to_confirm.set()
            if refused:
                await self._put_off(refused)

    async def _put_off(self, refused: Sequence[uuid.UUID]) -> None:
        """Leave refused events in the database: a full queue must not hold up events for others."""
        OUTBOX_REFUSED.inc(len(refused))
        self._log.error("events_refused", count=len(refused), again_in_seconds=REFUSED_SECONDS)
        with suppress(TransientFault):
            await self._pending.defer(refused, REFUSED_SECONDS)
        # If that fails, the lease runs out sooner, and a sweep finds them.
        for event_id in refused:
            self._in_hand.pop(event_id, None)
        if not self._in_hand:
            self._empty.set()

    async def _next_batch(self) -> list[OutboxEvent]:
        while True:
            # Cleared first: what arrives between the check and the wait wakes us.
            self._to_publish.clear()
            if self._queue:
                break
            await self._to_publish.wait()
            if self._gather_seconds and not self._is_draining:
                await asyncio.sleep(self._gather_seconds)
        return [self._queue.popleft() for _ in range(min(self._batch_size, len(self._queue)))]

    async def _confirm_forever(self) -> None:
        while True:
            self._to_confirm.clear()
            if not self._confirmed:
                await self._to_confirm.wait()
                if not self._is_draining:
                    await asyncio.sleep(CLEAR_INTERVAL_SECONDS)
            ids, self._confirmed = self._confirmed, []
            if not ids:
                continue
            await self._until_it_works(partial(self._pending.confirm, ids))
            for event_id in ids:
                self._in_hand.pop(event_id, None)
            if not self._in_hand:
                self._empty.set()

    async def _until_it_works(self, act: Callable[[], Awaitable[None]]) -> None:
        attempt = 0
        while True:
            try:
                await act()
            except TransientFault as exc:
                self._log.warning("outbox_confirm_failed", error=str(exc), attempt=attempt)
                await asyncio.sleep(min(backoff_seconds(attempt), MOST_OUTAGE_SECONDS))
                attempt += 1
            else:
                return

    async def _sweep(self) -> bool:
        """Take over events that were left behind; return whether there may be more."""
        self._try_again()
        OUTBOX_WAITING.set(len(self._in_hand))
        OUTBOX_OLDEST_SECONDS.set(self.oldest_seconds)
        # Claiming what cannot be published now would only keep it from a process that can.
        if self._is_draining or not self._publisher.is_ready or len(self._in_hand) > MOST_IN_HAND - BATCH:
            return False
        events = await self._pending.claim(BATCH, LEASE_SECONDS)
        taken = self._take(events)
        if taken:
            OUTBOX_SWEPT.inc(taken)
            self._log.info("outbox_swept", count=taken)
        return bool(taken) and len(events) == BATCH

    def _try_again(self) -> None:
        if self._later and self._publisher.is_ready:
            again, self._later = self._later, []
            self._queue.extendleft(reversed(again))
            self._to_publish.set()
