"""Sends held deliveries with limited concurrency, and applies each response before the next one is sent.

The pipes decide who may be sent to; results are passed on and written in groups.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Final, Protocol

from services.webhooks.dispatcher.flights import Flight, Flights
from services.webhooks.dispatcher.holdings import Holdings
from services.webhooks.dispatcher.pipes import Pipe
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
from shared.clock import Clock
from shared.log import get_logger
from shared.metrics import MAINTENANCE_FAILURES, WEBHOOK_BREAKER_TRIPS

# An attempt starts only while its lease covers the POST and this long for writing the result.
LEASE_MARGIN_SECONDS: Final = 0.5


class Post(Protocol):
    """Makes one attempt and always returns its result."""

    def __call__(self, outgoing: Outgoing, /) -> Awaitable[Answer]:
        """POST and return the result."""


class Sending(Holdings):
    """The POSTs of this process, and the courier that the intake knows."""

    def __init__(
        self,
        post: Post,
        writer: ResultWriter,
        clock: Clock,
        *,
        max_in_flight: int,
        chance: Callable[[], float],
    ) -> None:
        super().__init__(clock, max_in_flight)
        self._post = post
        self._writer = writer
        self._chance = chance
        self._turns = Turns()
        self._flights = Flights(max_in_flight)
        self.tasks: set[asyncio.Task[None]] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def in_flight(self) -> int:
        """The number of POSTs in progress."""
        return self._flights.count

    async def settle(self) -> None:
        """Wait until no POST is in progress."""
        await self._is_idle.wait()

    # Taking and starting.

    def accept(self, held: Sequence[HeldDelivery]) -> None:
        """Send deliveries for which room was reserved."""
        self.cancel(delivery.endpoint_id for delivery in held)
        self.take(held)

    def take(self, held: Iterable[HeldDelivery]) -> None:
        """Send deliveries, each when its pipe allows."""
        if self.is_stopping:
            self.release(held)
            return
        now, monotonic_now = self._clock(), monotonic()
        for delivery in held:
            pipe = self.add(delivery)
            pipe.note_breaker(delivery.breaker_trips, now, monotonic_now)
            if pipe.target is None or pipe.target.endpoint.version < delivery.endpoint_version:
                pipe.needs_target = True
            self._look_at_target(pipe)
            self._turns.list(pipe)
        self._pump()

    def _look_at_target(self, pipe: Pipe) -> None:
        """Do not let deliveries wait for an endpoint that is known not to accept them."""
        if pipe.needs_target:
            self.target_is_due.set()
        elif pipe.target is not None:
            self.turn_away(pipe, pipe.target)

    def go_on(self, pipes: Iterable[Pipe] = ()) -> None:
        """Start what may be started by now, also from pipes that may send again."""
        self._set_slow_aside()
        for pipe in pipes:
            self._turns.list(pipe)
        self._pump()

    def _pump(self) -> None:
        """Start what may be started, one delivery from each pipe in turn."""
        while self._turns and self._has_slot():
            turn = self._turns.next(may_rest=self._has_slot_for_all())
            if turn is None:
                return
            pipe, has_priority = turn
            if self.is_stopping or (pipe.rests_until is not None and pipe.is_resting(self._clock())):
                self.give_back(pipe)
            elif pipe.is_open and (pipe.has_priority if has_priority else pipe.waiting):
                delivery = self.take_next(pipe, has_priority=has_priority)
                self._begin(pipe, delivery, has_priority=has_priority)
                self._turns.list(pipe)

    def _has_slot_for_all(self) -> bool:
        if not self._flights.has_slot_for_all:
            self._set_slow_aside()
        return self._flights.has_slot_for_all

    def _has_slot(self) -> bool:
        if not self._flights.has_slot:
            self._set_slow_aside()
        return self._flights.has_slot

    def _set_slow_aside(self) -> None:
        for flight in self._flights.set_slow_aside(monotonic()):
            self.let_go()
            self.give_back_followers(flight.pipe, flight.delivery)
            flight.pipe.note_slow(flight.started)
            if flight.pipe.is_stuck:
                # Deliveries behind a receiver that hangs would only take up room here.
                self.give_back(flight.pipe)

    def _begin(self, pipe: Pipe, delivery: HeldDelivery, *, has_priority: bool) -> None:
        now = monotonic()
        target = pipe.target
        if target is None or target.missing is not None or _ends_soon(delivery, target, now):
            self.let_go()
            self.leave(pipe, delivery)
            self.release([delivery])
            return
        pipe.in_flight += 1
        flight = self._flights.begin(pipe, delivery, now, has_priority=has_priority)
        self._is_idle.clear()
        task = asyncio.create_task(self._fly(pipe, target, flight))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # A single POST.

    async def _fly(self, pipe: Pipe, target: Target, flight: Flight) -> None:
        trips, delivery = pipe.trips, flight.delivery
        try:
            now = self._clock()
            if delivery.ends_at <= now:
                self.end(delivery, "expired")
                return
            if _has_missed_its_turn(delivery, target):
                self.was_late = delivery.begins_before is not None
                self.release([delivery])
                return
            answer = await self._post(
                target.outgoing(
                    delivery.message_id,
                    delivery.format,
                    delivery.body,
                    now,
                    delivery.sequence,
                    delivery.traceparent,
                )
            )
            if answer.status in OVERLOADED:
                pipe.throttled += 1
            now = self._clock()
            step, chance = delivery.step, self._chance()
            decision = decide(answer, step, delivery.ends_at, now, pipe.throttled, chance, steps=target.steps)
            self._writer.add(self._learn(pipe, Settlement(delivery, target, answer, decision), trips, now))
            if decision.status == "succeeded":
                self.follow(pipe, delivery)
                self._look_at_target(pipe)
        except Exception as error:  # noqa: BLE001 - one delivery must not end the others; its lease brings it again
            MAINTENANCE_FAILURES.labels("send_deliveries").inc()
            facts = {"delivery_id": str(delivery.delivery_id), "endpoint_id": str(pipe.endpoint_id)}
            get_logger().error("delivery_not_sent", **facts, exc_info=error)
        finally:
            self._land(pipe, flight)

    def _learn(self, pipe: Pipe, settled: Settlement, trips: int, now: datetime) -> Settlement:
        """Apply the result in this process, before the next send and before anything is written."""
        answer, decision = settled.answer, settled.decision
        if decision.status == "succeeded":
            pipe.note_success(answer.duration_ms, monotonic())
        elif answer.status is None or decision.resume_at is not None:
            pipe.note_trouble()
        changed = pipe.judge(decision, trips, now, monotonic())
        if changed:
            WEBHOOK_BREAKER_TRIPS.inc()
        if decision.resume_at is not None:
            pipe.rest(decision.resume_at, monotonic())
        if decision.disabled_reason is not None:
            pipe.needs_target = True
        if changed or decision.resume_at is not None or decision.disabled_reason is not None:
            self.give_back(pipe)
        is_news = pipe.is_news(decision, settled.held, now)
        if changed is None and decision.resume_at is None and not is_news:
            return settled
        resume_at = pipe.rests_until if changed or decision.resume_at is not None else None
        return replace(settled, resume_at=resume_at, breaker_trips=changed, is_news=is_news)

    def _land(self, pipe: Pipe, flight: Flight) -> None:
        pipe.in_flight -= 1
        if pipe.in_flight == 0:
            # Every attempt has finished or timed out; the endpoint may be probed again.
            pipe.is_stuck = False
        self.leave(pipe, flight.delivery)
        self._flights.end(flight)
        if not flight.is_slow:
            self.let_go()
        if not self._flights.count:
            self._is_idle.set()
        self._turns.list(pipe)
        self._pump()
        self.note_room(pipe)


def _has_missed_its_turn(delivery: HeldDelivery, target: Target) -> bool:
    """Return whether a limit per second forbids it now: its span is over, or the limit is newer than its claim."""
    if target.endpoint.rate_limit_per_second is None:
        return False
    return delivery.begins_before is None or monotonic() >= delivery.begins_before


def _ends_soon(delivery: HeldDelivery, target: Target, monotonic_now: float) -> bool:
    return delivery.lease_ends - monotonic_now < target.endpoint.timeout_seconds + LEASE_MARGIN_SECONDS
