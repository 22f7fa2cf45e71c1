"""Sends what is held, at most so many at once, and draws the consequences of each answer before the next is sent.

Who may be sent to is decided by lanes; what came of it is handed on, to be written in groups.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Final

from services.webhooks.dispatcher.flights import Flight, Flights
from services.webhooks.dispatcher.holdings import Holdings
from services.webhooks.dispatcher.lanes import Lane
from services.webhooks.dispatcher.turns import Turns
from services.webhooks.dispatcher.works import Post
from services.webhooks.dispatcher.writer import ResultWriter
from services.webhooks.domain.deliveries import OVERLOADED, HeldDelivery, Settlement, Target, decide
from shared.clock import Clock
from shared.log import get_logger
from shared.metrics import MAINTENANCE_FAILURES, WEBHOOK_BREAKER_TRIPS

# A delivery is only begun while its lease still covers its POST, and this much for the result to be written.
LEASE_MARGIN_SECONDS: Final = 0.5


class Sending:
    """The POSTs of this process."""

    def __init__(
        self,
        holdings: Holdings,
        post: Post,
        writer: ResultWriter,
        clock: Clock,
        *,
        max_in_flight: int,
        chance: Callable[[], float],
    ) -> None:
        self._holdings = holdings
        self._post = post
        self._writer = writer
        self._clock = clock
        self._chance = chance
        self._turns = Turns()
        self._flights = Flights(max_in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def in_flight(self) -> int:
        """How many POSTs are under way."""
        return self._flights.count

    async def settle(self) -> None:
        """Wait until no POST is under way."""
        await self._is_idle.wait()

    # Taking and beginning.

    def take(self, held: Iterable[HeldDelivery]) -> None:
        """Send deliveries, each when its lane lets it."""
        if self._holdings.is_stopping:
            self._holdings.release(held)
            return
        now, monotonic_now = self._clock(), monotonic()
        for delivery in held:
            lane = self._holdings.add(delivery)
            lane.hear_of_breaker(delivery.breaker_trips, now, monotonic_now)
            if lane.target is None or lane.target.endpoint.version < delivery.endpoint_version:
                lane.needs_target = True
            self._look_at_target(lane)
            self._turns.list(lane)
        self._pump()

    def _look_at_target(self, lane: Lane) -> None:
        """Let nothing wait for an endpoint that is known not to take it."""
        if lane.needs_target:
            self._holdings.target_is_due.set()
        elif lane.target is not None:
            self._holdings.turn_away(lane, lane.target)

    def go_on(self, lanes: Iterable[Lane] = ()) -> None:
        """Begin what may be begun by now, also of lanes that may send again."""
        self._set_slow_aside()
        for lane in lanes:
            self._turns.list(lane)
        self._pump()

    def _pump(self) -> None:
        """Begin what may be begun, one of each lane in turn."""
        while self._turns and self._has_slot():
            turn = self._turns.next(may_rest=self._has_slot_for_all())
            if turn is None:
                return
            lane, has_priority = turn
            if self._holdings.is_stopping or (lane.rests_until is not None and lane.is_resting(self._clock())):
                self._holdings.give_back(lane)
            elif lane.is_open and (lane.has_priority if has_priority else lane.waiting):
                delivery = self._holdings.take_next(lane, has_priority=has_priority)
                self._begin(lane, delivery, has_priority=has_priority)
                self._turns.list(lane)

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
            self._holdings.let_go()
            self._holdings.give_back_followers(flight.lane, flight.delivery)
            flight.lane.note_slow(flight.started)
            if flight.lane.is_stuck:
                # Whoever waits behind a receiver that hangs would only take room here.
                self._holdings.give_back(flight.lane)

    def _begin(self, lane: Lane, delivery: HeldDelivery, *, has_priority: bool) -> None:
        now = monotonic()
        target = lane.target
        if target is None or target.missing is not None or _ends_soon(delivery, target, now):
            self._holdings.let_go()
            self._holdings.leave(lane, delivery)
            self._holdings.release([delivery])
            return
        lane.in_flight += 1
        flight = self._flights.begin(lane, delivery, now, has_priority=has_priority)
        self._is_idle.clear()
        task = asyncio.create_task(self._fly(lane, target, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # One POST.

    async def _fly(self, lane: Lane, target: Target, flight: Flight) -> None:
        trips, delivery = lane.trips, flight.delivery
        try:
            now = self._clock()
            if delivery.ends_at <= now:
                self._holdings.end(delivery, "expired")
                return
            if _has_missed_its_turn(delivery, target):
                self._holdings.was_late = delivery.begins_before is not None
                self._holdings.release([delivery])
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
                lane.throttled += 1
            now = self._clock()
            decision = decide(
                answer, delivery.step, delivery.ends_at, now, lane.throttled, self._chance(), target.steps
            )
            self._writer.add(self._learn(lane, Settlement(delivery, target, answer, decision), trips, now))
            if decision.status == "succeeded":
                self._holdings.follow(lane, delivery)
                self._look_at_target(lane)
        except Exception as error:  # noqa: BLE001 - one delivery must not end the others; its lease brings it again
            MAINTENANCE_FAILURES.labels("send_deliveries").inc()
            facts = {"delivery_id": str(delivery.delivery_id), "endpoint_id": str(lane.endpoint_id)}
            get_logger().error("delivery_not_sent", **facts, exc_info=error)
        finally:
            self._land(lane, flight)

    def _learn(self, lane: Lane, settled: Settlement, trips: int, now: datetime) -> Settlement:
        """Draw the consequences in process, before the next send and before anything is written."""
        answer, decision = settled.answer, settled.decision
        if decision.status == "succeeded":
            lane.note_success(answer.duration_ms, monotonic())
        elif answer.status is None or decision.resume_at is not None:
            lane.note_trouble()
        changed = lane.judge(decision, trips, now, monotonic())
        if changed:
            WEBHOOK_BREAKER_TRIPS.inc()
        if decision.resume_at is not None:
            lane.rest(decision.resume_at, monotonic())
        if decision.disabled_reason is not None:
            lane.needs_target = True
        if changed or decision.resume_at is not None or decision.disabled_reason is not None:
            self._holdings.give_back(lane)
        is_news = lane.is_news(decision, settled.held, now)
        if changed is None and decision.resume_at is None and not is_news:
            return settled
        resume_at = lane.rests_until if changed or decision.resume_at is not None else None
        return replace(settled, resume_at=resume_at, breaker_trips=changed, is_news=is_news)

    def _land(self, lane: Lane, flight: Flight) -> None:
        lane.in_flight -= 1
        if lane.in_flight == 0:
            # Everything has come back or timed out; it may be tried again.
            lane.is_stuck = False
        self._holdings.leave(lane, flight.delivery)
        self._flights.end(flight)
        if not flight.is_slow:
            self._holdings.let_go()
        if not self._flights.count:
            self._is_idle.set()
        self._turns.list(lane)
        self._pump()
        self._holdings.note_room(lane)


def _has_missed_its_turn(delivery: HeldDelivery, target: Target) -> bool:
    """Say whether a limit per second forbids it now: its span is over, or the limit is newer than its claim."""
    if target.endpoint.rate_limit_per_second is None:
        return False
    return delivery.begins_before is None or monotonic() >= delivery.begins_before


def _ends_soon(delivery: HeldDelivery, target: Target, monotonic_now: float) -> bool:
    return delivery.lease_ends - monotonic_now < target.endpoint.timeout_seconds + LEASE_MARGIN_SECONDS
