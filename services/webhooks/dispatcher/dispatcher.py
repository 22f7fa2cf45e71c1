"""Sends deliveries that this process holds, at most so many at once, and claims more when there is room.

It touches no SQL and keeps no connection while a POST is under way; who may be sent to is decided by lanes.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from services.webhooks.dispatcher.flights import Flight, Flights
from services.webhooks.dispatcher.lanes import AHEAD, AHEAD_WHEN_QUICK, FIRST_WINDOW, Lane
from services.webhooks.dispatcher.turns import Turns
from services.webhooks.dispatcher.writer import ResultWriter
from services.webhooks.domain.deliveries import (
    OVERLOADED,
    Answer,
    HeldDelivery,
    Outgoing,
    Settlement,
    Target,
    decide,
)
from services.webhooks.domain.endpoints import EndpointState
from shared.clock import Clock
from shared.faults import TransientFault
from shared.log import get_logger
from shared.metrics import (
    WEBHOOK_ATTEMPTS,
    WEBHOOK_SECONDS,
    WEBHOOKS_IN_FLIGHT,
    WEBHOOKS_OLDEST_DUE_SECONDS,
)

# A delivery is only begun while its lease still covers its POST, and this much for the result to be written.
LEASE_MARGIN_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 1.0
HOUSEKEEPING_SECONDS: Final = 5.0
STALE_SECONDS: Final = 10.0
CLAIM_LIMIT: Final = 500
BREATH_SECONDS: Final = 0.25
_MAX_IDLE_LANES: Final = 10_000


class Post(Protocol):
    """Makes one attempt; returns whatever happens."""

    def __call__(self, outgoing: Outgoing, /) -> Awaitable[Answer]:
        """POST and report."""


class End(Protocol):
    """Ends deliveries without an attempt."""

    async def cancel(self, held: Sequence[HeldDelivery]) -> None:
        """End those of an archived endpoint."""

    async def bury(self, held: Sequence[HeldDelivery], targets: dict[uuid.UUID, Target], reason: str) -> None:
        """End as dead letters."""


@dataclass(frozen=True, slots=True)
class Works:
    """The use cases that the dispatcher drives."""

    claim: Callable[[int, Iterable[tuple[uuid.UUID, int]], int], Awaitable[list[HeldDelivery]]]
    claim_expired: Callable[[int], Awaitable[list[HeldDelivery]]]
    release: Callable[[Sequence[HeldDelivery]], Awaitable[None]]
    load_targets: Callable[[Sequence[uuid.UUID]], Awaitable[dict[uuid.UUID, Target]]]
    read_states: Callable[[Sequence[uuid.UUID]], Awaitable[list[EndpointState]]]
    measure_backlog: Callable[[], Awaitable[timedelta]]
    release_heads: Callable[[], Awaitable[bool]]
    end: End


class Dispatcher:
    """The sending half of the service."""

    def __init__(
        self,
        works: Works,
        post: Post,
        writer: ResultWriter,
        clock: Clock,
        *,
        max_in_flight: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._works = works
        self._post = post
        self._writer = writer
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._chance = chance
        self._lanes: dict[uuid.UUID, Lane] = {}
        self._turns = Turns()
        self._flights = Flights(max_in_flight)
        self._held = 0
        self._retries_waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_release: list[HeldDelivery] = []
        self._to_end: list[tuple[HeldDelivery, str | None]] = []
        self._has_backlog = True
        # Work for about half a second at full speed; a claim tops up to this.
        self._enough = AHEAD_WHEN_QUICK * max_in_flight // 2
        self._eased = asyncio.Event()
        self._wake = asyncio.Event()
        self._attend = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_stopping = False
        self._claimed_at: float | None = None
        self._outcomes = {name: WEBHOOK_ATTEMPTS.labels(name) for name in ("succeeded", "pending", "dead")}
        self._log = get_logger()

    # What the intake and the API ask for.

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Keep room for one delivery that is about to be written; False if it should rather lie in the table."""
        if self._is_stopping:
            return False
        lane = self._lane(endpoint_id, max_in_flight)
        # Retries that wait here take no room from what is new: they let it pass.
        limit = (AHEAD_WHEN_QUICK if lane.is_quick else AHEAD) * self._max_in_flight + self._retries_waiting
        if self._held >= limit or lane.room == 0 or lane.trips or lane.is_resting(self._clock()):
            return False
        lane.reserved += 1
        self._held += 1
        return True

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Give reserved room back."""
        for endpoint_id in endpoint_ids:
            self._lanes[endpoint_id].reserved -= 1
            self._held -= 1

    def accept(self, held: Sequence[HeldDelivery]) -> None:
        """Send deliveries for which room was reserved."""
        for delivery in held:
            lane = self._lanes[delivery.endpoint_id]
            lane.reserved -= 1
            self._held -= 1
        self._take(held)

    async def breathe(self) -> None:
        """Wait a moment while quick receivers keep this process busy: more would only pile up in the table."""
        if self._held >= self._enough:
            self._eased.clear()
            await self._pause(self._eased, BREATH_SECONDS)

    def note_backlog(self) -> None:
        """Learn that deliveries lie due in the table."""
        self._has_backlog = True
        self._wake.set()

    def endpoint_changed(self, endpoint_id: uuid.UUID) -> None:
        """Learn that an endpoint is not as it was: nothing more goes out to it until it was read anew."""
        if (lane := self._lanes.get(endpoint_id)) is not None:
            lane.needs_target = True
            lane.rests_until = None
            self._attend.set()
        self.note_backlog()

    @property
    def is_ready(self) -> bool:
        """Whether claims were made lately; one that hangs means that retries are not going out."""
        return self._claimed_at is not None and self._now() - self._claimed_at < STALE_SECONDS

    @property
    def in_flight(self) -> int:
        """How many POSTs are under way."""
        return self._flights.count

    # Running and stopping.

    async def run(self) -> None:
        """Send, claim and keep house until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._writer.run(self.note_backlog))
            group.create_task(self._claim_forever())
            group.create_task(self._attend_forever())
            group.create_task(self._watch_forever())
            group.create_task(self._keep_house_forever())

    async def stop(self) -> None:
        """Claim no more, give back what was not begun, wait for what is under way and for its results."""
        self._is_stopping = True
        for lane in self._lanes.values():
            self._give_back(lane)
        while self._to_release or self._to_end or self._flights.count:
            self._attend.set()
            if self._flights.count:
                await self._is_idle.wait()
            else:
                await asyncio.sleep(0.01)
        await self._writer.drain()

    # Lanes and flights.

    def _take(self, held: Iterable[HeldDelivery]) -> None:
        if self._is_stopping:
            self._to_release += held
            self._attend.set()
            return
        now, loop_now = self._clock(), self._now()
        for delivery in held:
            lane = self._lane(delivery.endpoint_id, FIRST_WINDOW)
            lane.add(delivery)
            self._held += 1
            self._retries_waiting += not delivery.is_first_try
            lane.hear_of_breaker(delivery.breaker_trips, now, loop_now)
            if lane.target is None or lane.target.endpoint.version < delivery.endpoint_version:
                lane.needs_target = True
            if lane.needs_target:
                self._attend.set()
            elif lane.target is not None:
                self._end_if_closed(lane, lane.target)
            self._turns.list(lane)
        self._pump()

    def _pump(self) -> None:
        """Begin what may be begun, one of each lane in turn."""
        while self._turns and self._has_slot():
            turn = self._turns.next(may_retry=self._flights.has_retry_slot)
            if turn is None:
                return
            lane, is_retry = turn
            waiting = lane.retries if is_retry else lane.first_tries
            if self._is_stopping or lane.is_resting(self._clock()):
                self._give_back(lane)
            elif waiting and lane.is_open:
                self._retries_waiting -= is_retry
                self._begin(lane, waiting.popleft())
                self._turns.list(lane)

    def _has_slot(self) -> bool:
        if not self._flights.has_slot:
            self._set_slow_aside()
        return self._flights.has_slot

    def _set_slow_aside(self) -> None:
        self._held -= self._flights.set_slow_aside(self._now())

    def _begin(self, lane: Lane, delivery: HeldDelivery) -> None:
        now = self._now()
        target = lane.target
        if target is None or delivery.lease_ends - now < target.endpoint.timeout_seconds + LEASE_MARGIN_SECONDS:
            self._held -= 1
            self._to_release.append(delivery)
            self._attend.set()
            return
        lane.in_flight += 1
        flight = self._flights.begin(now, is_retry=not delivery.is_first_try)
        self._is_idle.clear()
        task = asyncio.create_task(self._fly(lane, target, delivery, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, lane: Lane, target: Target, delivery: HeldDelivery, flight: Flight) -> None:
        trips = lane.trips
        try:
            now = self._clock()
            if delivery.ends_at <= now:
                self._to_end.append((delivery, "expired"))
                self._attend.set()
                return
            answer = await self._post(
                target.outgoing(delivery.message_id, delivery.format, delivery.body, now, delivery.sequence)
            )
            if answer.status in OVERLOADED:
                lane.throttled += 1
            now = self._clock()
            decision = decide(
                answer, delivery.step, delivery.ends_at, now, lane.throttled, self._chance(), target.steps
            )
            self._writer.add(self._learn(lane, Settlement(delivery, target, answer, decision), trips, now))
        finally:
            self._land(lane, flight)

    def _learn(self, lane: Lane, settled: Settlement, trips: int, now: datetime) -> Settlement:
        """Draw the consequences in process, before the next send and before anything is written."""
        answer, decision = settled.answer, settled.decision
        WEBHOOK_SECONDS.observe(answer.duration_ms / 1000)
        self._outcomes[decision.status].inc()
        if decision.status == "succeeded":
            lane.note_success(answer.duration_ms)
        elif answer.status is None or decision.resume_at is not None:
            lane.note_trouble()
        changed = lane.judge(decision, trips, now, self._now())
        if decision.resume_at is not None:
            lane.rest(decision.resume_at, self._now())
        if decision.disabled_reason is not None:
            lane.needs_target = True
        if changed or decision.resume_at is not None or decision.disabled_reason is not None:
            self._give_back(lane)
        is_news = lane.is_news(decision, settled.held, now)
        if changed is None and decision.resume_at is None and not is_news:
            return settled
        resume_at = lane.rests_until if changed or decision.resume_at is not None else None
        return replace(settled, resume_at=resume_at, breaker_trips=changed, is_news=is_news)

    def _land(self, lane: Lane, flight: Flight) -> None:
        lane.in_flight -= 1
        self._flights.end(flight)
        if not flight.is_slow:
            self._held -= 1
        if not self._flights.count:
            self._is_idle.set()
        if self._held < self._enough:
            self._eased.set()
        self._turns.list(lane)
        self._pump()
        if self._has_backlog and (lane.held == 0 or lane.room >= lane.window):
            self._wake.set()

    def _give_back(self, lane: Lane) -> None:
        if lane.waiting:
            self._to_release += self._taken_from(lane)
            self._attend.set()

    def _taken_from(self, lane: Lane) -> list[HeldDelivery]:
        self._retries_waiting -= len(lane.retries)
        taken = lane.take_waiting()
        self._held -= len(taken)
        return taken

    def _lane(self, endpoint_id: uuid.UUID, cap: int) -> Lane:
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            if len(self._lanes) >= _MAX_IDLE_LANES:
                self._lanes = {key: lane for key, lane in self._lanes.items() if lane.held or lane.is_listed}
            lane = self._lanes[endpoint_id] = Lane(endpoint_id, cap)
        return lane

    # The loops.

    async def _claim_forever(self) -> None:
        while True:
            await self._wait(self._wake, POLL_SECONDS)
            self._set_slow_aside()
            self._pump()
            limit = min(CLAIM_LIMIT, self._enough - self._held)
            if self._is_stopping:
                continue
            if limit <= 0:
                # Full of work is as alive as claiming.
                self._claimed_at = self._now()
                continue
            try:
                # All lanes that are not simply new have a say; resting ones say that they take nothing.
                now = self._clock()
                rooms = [(lane.endpoint_id, lane.claim_room(now, self._now())) for lane in self._lanes.values()]
                claimed = await self._works.claim(limit, rooms, AHEAD * FIRST_WINDOW)
            except TransientFault as fault:
                self._log.warning("claim_failed", reason=str(fault))
                continue
            self._claimed_at = self._now()
            self._has_backlog = bool(claimed)
            self._take(claimed)

    async def _attend_forever(self) -> None:
        """Load targets, release and end deliveries: whatever needs the database and cannot wait for a poll."""
        while True:
            await self._wait(self._attend, POLL_SECONDS)
            try:
                await self._load()
                await self._release()
                await self._end()
            except TransientFault as fault:
                self._log.warning("dispatcher_delayed", reason=str(fault))
                await asyncio.sleep(POLL_SECONDS)
                self._attend.set()

    async def _load(self) -> None:
        wanted = [lane for lane in self._lanes.values() if lane.needs_target and (lane.waiting or lane.in_flight)]
        if not wanted:
            return
        for lane in wanted:
            # Whatever changes from here on asks for another look.
            lane.needs_target = False
            lane.target = None
        try:
            targets = await self._works.load_targets([lane.endpoint_id for lane in wanted])
        except BaseException:
            for lane in wanted:
                lane.needs_target = True
            raise
        for lane in wanted:
            self._set_target(lane, targets[lane.endpoint_id])
        self._pump()

    def _set_target(self, lane: Lane, target: Target) -> None:
        if lane.needs_target:
            self._attend.set()
            return
        lane.set_target(target)
        if target.endpoint.status == "paused":
            self._give_back(lane)
        self._end_if_closed(lane, target)
        self._turns.list(lane)

    def _end_if_closed(self, lane: Lane, target: Target) -> None:
        """End what waits for an endpoint that is archived or disabled; what somebody replays by hand goes out."""
        if not target.is_archived and target.endpoint.status != "disabled":
            return
        for delivery in self._taken_from(lane):
            if target.is_archived:
                self._to_end.append((delivery, None))
            elif delivery.trigger == "automatic":
                self._to_end.append((delivery, "endpoint_disabled"))
            else:
                lane.add(delivery)
                self._held += 1
                self._retries_waiting += 1
        self._attend.set()

    async def _release(self) -> None:
        if self._to_release:
            batch, self._to_release = self._to_release, []
            try:
                await self._works.release(batch)
            except BaseException:
                self._to_release += batch
                raise

    async def _end(self) -> None:
        while self._to_end:
            reason = self._to_end[0][1]
            batch = [delivery for delivery, why in self._to_end if why == reason][:CLAIM_LIMIT]
            if reason is None:
                await self._works.end.cancel(batch)
            else:
                targets = await self._works.load_targets(list({delivery.endpoint_id for delivery in batch}))
                await self._works.end.bury(batch, targets, reason)
            ended = {id(delivery) for delivery in batch}
            self._to_end = [pair for pair in self._to_end if id(pair[0]) not in ended]

    async def _watch_forever(self) -> None:
        """Notice what another process has changed about the endpoints whose deliveries are held here."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            busy = [lane.endpoint_id for lane in self._lanes.values() if lane.waiting or lane.in_flight]
            if not busy:
                continue
            try:
                states = await self._works.read_states(busy)
            except TransientFault as fault:
                self._log.warning("watch_failed", reason=str(fault))
                continue
            for state in states:
                self._compare(self._lanes[state.endpoint_id], state)

    def _compare(self, lane: Lane, state: EndpointState) -> None:
        if lane.target is not None and lane.target.endpoint.version < state.version:
            lane.needs_target = True
            self._attend.set()
        lane.is_troubled = lane.is_troubled or state.is_failing
        if state.resume_at is not None:
            lane.rest(state.resume_at, self._now())
            if lane.is_resting(self._clock()):
                self._give_back(lane)

    async def _keep_house_forever(self) -> None:
        while True:
            try:
                expired = [] if self._is_stopping else await self._works.claim_expired(CLAIM_LIMIT)
                self._to_end += [(delivery, "expired") for delivery in expired]
                if expired:
                    self._attend.set()
                if not self._is_stopping and await self._works.release_heads():
                    self.note_backlog()
                WEBHOOKS_OLDEST_DUE_SECONDS.set((await self._works.measure_backlog()).total_seconds())
            except TransientFault as fault:
                self._log.warning("housekeeping_failed", reason=str(fault))
            WEBHOOKS_IN_FLIGHT.set(self._flights.count)
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        await self._pause(event, seconds)
        # Cleared before looking, not after: what arrives meanwhile sets it again.
        event.clear()

    @staticmethod
    async def _pause(event: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
