"""Writes a demo's history of webhooks: messages as intake writes them, attempts as the dispatcher settles them.

Each batch is one transaction, so the dispatcher never sees a delivery of the past that is due.
"""

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic

from services.webhooks.domain.deliveries import LEASE_SECONDS, Answer, HeldDelivery, Settlement, Target, decide
from services.webhooks.domain.endpoints import EndpointDraft, Owner
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.store import demo, endpoints, intake
from services.webhooks.usecases import record_results
from services.webhooks.usecases.create_endpoint import CreateEndpoint
from services.webhooks.usecases.take_in_events import Batch, inbox_entry
from shared.database.inbox import Arrivals
from shared.database.outbox import OutboxTable
from shared.database.pool import Connection, Database
from shared.demo_plan import DemoAsk, DemoRefused, is_down
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer as KeptAnswer
from shared.idempotency import Once

_TOKEN = 1
# They exist only in the history, so they are paused: nothing is ever sent there. The second one is given up on soon.
_RECEIVERS = {
    "NORTH": EndpointDraft(
        url="https://api.northwind.example/webhooks",
        event_types=("code.redeemed",),
        status="paused",
        description="Part of the demo's history; nothing is sent here.",
    ),
    "LUMEN": EndpointDraft(
        url="https://hooks.lumen.example/codes",
        event_types=("code.redeemed",),
        status="paused",
        schedule=(60, 600),
        description="Part of the demo's history; nothing is sent here.",
    ),
}


class _Room:
    """A courier that always has room and sends nothing."""

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Have room."""
        return True

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Have room again."""

    def accept(self, held: Sequence[HeldDelivery]) -> None:
        """Send nothing."""

    async def breathe(self) -> None:
        """Never be tired."""

    def wake(self) -> None:
        """Look for nothing."""


@dataclass
class FillDemo:
    """Takes in events at their own times and settles their deliveries; events that are known add nothing."""

    database: Database
    ask: DemoAsk
    create_endpoint: CreateEndpoint
    _chance: random.Random = field(init=False)
    _targets: dict[uuid.UUID, Target] = field(default_factory=dict)
    _prefixes: dict[uuid.UUID, str] = field(default_factory=dict)
    _judged_at: dict[uuid.UUID, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.ask.seed)  # noqa: S311 - it has to be the same each time, and guards nothing

    async def check(self) -> None:
        """Raise DemoRefused unless the program is a demo."""
        async with self.database.connection() as connection:
            if not await demo.is_demo_program(connection, self.ask.program_id):
                raise DemoRefused

    async def add_receivers(self, events: Iterable[IncomingEvent]) -> None:
        """Give those of the events' partners an endpoint that have one in the history."""
        for event in events:
            if event.partner_id is None or event.partner_id in self._prefixes or event.code is None:
                continue
            prefix = self._prefixes[event.partner_id] = event.code.partition("-")[0]
            if (draft := _RECEIVERS.get(prefix)) is not None:
                await self._add_receiver(event.partner_id, draft)

    async def _add_receiver(self, partner_id: uuid.UUID, draft: EndpointDraft) -> None:
        async with self.database.connection() as connection:
            if await demo.find_endpoint(connection, partner_id, draft.url) is not None:
                return
        await self.create_endpoint(
            Owner(self.ask.program_id, partner_id), draft, Once(None, lambda _: KeptAnswer(201, b""))
        )

    async def __call__(self, events: Sequence[IncomingEvent]) -> int:
        """Write a batch; return how many deliveries it made."""
        now = max(event.occurred_at for event in events) + timedelta(seconds=1)
        made: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            batch = await self._take_in(connection, events, now)
            held = batch.held_deliveries(now + LIFETIME, monotonic() + LEASE_SECONDS)
            await self._know(connection, {each.endpoint_id for each in held})
            smooth = [each for each in held if not self._is_down(each, now)]
            if smooth:
                settled = [self._attempt(each, now, 1) for each in smooth]
                made += (await record_results.record_within(connection, settled, now))[1]
            for each in held:
                if self._is_down(each, now):
                    made += await self._suffer(connection, each, now)
        await OutboxTable(self.database).confirm([event.id for event in made])
        return len(held)

    async def _take_in(self, connection: Connection, events: Sequence[IncomingEvent], now: datetime) -> Batch:
        entries = [inbox_entry(event) for event in events]
        owners = {event.program_id for event in events} | {event.partner_id for event in events if event.partner_id}
        known, subscriptions = await intake.find(connection, entries, owners, now)
        fresh = [place for place, each in enumerate(Arrivals(entries).verdicts(known)) if each == "fresh"]
        batch = Batch(_Room(), _TOKEN)
        # At the time of the events their receivers were open.
        batch.plan([events[place] for place in fresh], [replace(each, is_open=True) for each in subscriptions])
        if fresh:
            await batch.write(connection, [entries[place] for place in fresh], now)
        return batch

    async def _know(self, connection: Connection, endpoint_ids: Iterable[uuid.UUID]) -> None:
        for endpoint_id in endpoint_ids:
            if endpoint_id not in self._targets:
                endpoint = await endpoints.find(connection, Owner(self.ask.program_id, None), endpoint_id)
                if endpoint is None:
                    raise DemoRefused("An endpoint has gone meanwhile.")
                self._targets[endpoint_id] = Target(endpoint, ())

    async def _suffer(self, connection: Connection, held: HeldDelivery, now: datetime) -> list[OutboxEvent]:
        """Try again and again, each time when the schedule says, until it arrives, is given up, or is yet to come."""
        made: list[OutboxEvent] = []
        at, step = now, 1
        while True:
            settled = self._attempt(replace(held, step=step), at, step)
            made += (await record_results.record_within(connection, [settled], at))[1]
            due_at = settled.decision.due_at
            if due_at is None or due_at > self.ask.until:
                return made
            await demo.hold_again(connection, held.delivery_id, held.token)
            at, step = due_at, step + 1

    def _attempt(self, held: HeldDelivery, at: datetime, step: int) -> Settlement:
        target = self._targets[held.endpoint_id]
        answer = self._answer(held, at)
        decision = decide(answer, step, held.ends_at, at, throttled=1, chance=self._chance.random(), steps=target.steps)
        is_news = step > 1 or not answer.has_succeeded or self._is_judged_again(held.endpoint_id, at)
        return Settlement(held=held, target=target, answer=answer, decision=decision, is_news=is_news)

    def _is_judged_again(self, endpoint_id: uuid.UUID, at: datetime) -> bool:
        """Return whether the health of an endpoint was not written for half a day; a dispatcher does it each minute."""
        last = self._judged_at.get(endpoint_id)
        is_due = last is None or at - last > timedelta(hours=12)
        if is_due:
            self._judged_at[endpoint_id] = at
        return is_due

    def _answer(self, held: HeldDelivery, at: datetime) -> Answer:
        milliseconds = round(40 * self._chance.lognormvariate(0.6, 0.7))
        if self._is_down(held, at):
            return Answer(at, milliseconds, None, "connect_failed", None)
        return Answer(at, milliseconds, 204, None, "", ttfb_ms=milliseconds)

    def _is_down(self, held: HeldDelivery, at: datetime) -> bool:
        partner_id = self._targets[held.endpoint_id].endpoint.partner_id
        has_receiver = partner_id is not None and self._prefixes.get(partner_id) in _RECEIVERS
        return has_receiver and is_down(self.ask, at)
