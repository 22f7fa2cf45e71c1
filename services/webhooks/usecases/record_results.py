"""Writes what came of attempts, with dead letters and the events about them, in one transaction per group."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.webhooks.domain.deliveries import HeldDelivery, Settlement, Target, message_name
from services.webhooks.domain.endpoints import is_operational
from services.webhooks.store import results
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.events.webhooks import WebhookDeliveryDeadV1, WebhookEndpointDisabledV1
from shared.ids import new_id
from shared.metrics import WEBHOOKS_DEAD, WEBHOOKS_FENCED


class HandOver(Protocol):
    """Takes events whose transaction has committed, to publish them."""

    def __call__(self, events: Sequence[OutboxEvent], /) -> None:
        """Never blocks."""


@dataclass(frozen=True, slots=True)
class RecordResults:
    """Records groups of attempts."""

    database: Database
    clock: Clock
    hand_over: HandOver

    async def __call__(self, settlements: Sequence[Settlement]) -> None:
        """Write the group; what another process has taken over is left out. Raises TransientFault."""
        now = self.clock()
        others = [s for s in settlements if s.decision.status == "dead" or s.decision.resume_at is not None]
        if not others:
            async with self.database.connection() as connection:
                recorded = await results.record_attempts(connection, settlements, now)
        else:
            async with self.database.transaction() as connection:
                recorded = await results.record_attempts(connection, settlements, now)
                mine = [s for s in others if s.held.delivery_id in recorded]
                events = await _write_consequences(connection, mine, recorded, now)
            self.hand_over(events)
        if fenced := len(settlements) - len(recorded):
            WEBHOOKS_FENCED.inc(fenced)


@dataclass(frozen=True, slots=True)
class EndUnsent:
    """Ends deliveries that must not be sent: their endpoint was archived or disabled, or their time is over."""

    database: Database
    clock: Clock
    hand_over: HandOver

    async def cancel(self, held: Sequence[HeldDelivery]) -> None:
        """End deliveries of an archived endpoint; they leave no dead letter."""
        async with self.database.connection() as connection:
            await results.end_unsent(connection, held, "canceled", self.clock())

    async def bury(self, held: Sequence[HeldDelivery], targets: dict[uuid.UUID, Target], reason: str) -> None:
        """End deliveries as dead letters."""
        now = self.clock()
        by_id = {h.delivery_id: h for h in held}
        async with self.database.transaction() as connection:
            ended = await results.end_unsent(connection, held, "dead", now)
            dead = [by_id[e.delivery_id] for e in ended]
            if dead:
                await results.insert_dead_letters(connection, [(h, reason) for h in dead], now)
            events = [
                _dead_event(h, targets[h.endpoint_id], reason, e.attempts_made, e.last_status, now)
                for h, e in zip(dead, ended, strict=True)
                if not is_operational(h.event_type)
            ]
            await outbox.insert_events(connection, events)
        WEBHOOKS_DEAD.inc(len(dead))
        self.hand_over(events)


async def _write_consequences(
    connection: Connection, settlements: Sequence[Settlement], recorded: dict[uuid.UUID, int], now: datetime
) -> list[OutboxEvent]:
    dead = [s for s in settlements if s.decision.status == "dead"]
    rests = [s for s in settlements if s.decision.resume_at is not None]
    if dead:
        await results.insert_dead_letters(connection, [(s.held, s.decision.reason or "") for s in dead], now)
    if rests:
        await results.rest_endpoints(
            connection, [(s.held.endpoint_id, s.target.endpoint.version, s.decision.resume_at or now) for s in rests]
        )
    gone = {s.held.endpoint_id: s for s in dead if s.decision.is_gone}
    disabled: set[uuid.UUID] = set()
    if gone:
        pairs = [(s.held.endpoint_id, s.target.endpoint.version) for s in gone.values()]
        disabled = await results.disable_endpoints(connection, pairs, now)
    events = [
        _disabled_event(gone[endpoint_id].target, now)
        for endpoint_id in disabled
        if not is_operational(gone[endpoint_id].held.event_type)
    ]
    events += [
        _dead_event(s.held, s.target, s.decision.reason or "", recorded[s.held.delivery_id], s.answer.status, now)
        for s in dead
        if not is_operational(s.held.event_type)
    ]
    await outbox.insert_events(connection, events)
    WEBHOOKS_DEAD.inc(len(dead))
    return events


def _dead_event(
    held: HeldDelivery, target: Target, reason: str, attempts: int, last_status: int | None, now: datetime
) -> OutboxEvent:
    return WebhookDeliveryDeadV1(
        program_id=target.endpoint.program_id,
        partner_id=target.endpoint.partner_id,
        delivery_id=held.delivery_id,
        endpoint_id=held.endpoint_id,
        message_id=message_name(held.message_id),
        event_type=held.event_type,
        reason=reason,
        attempts=attempts,
        last_status=last_status,
        died_at=now,
    ).to_event(new_id(), now)


def _disabled_event(target: Target, now: datetime) -> OutboxEvent:
    return WebhookEndpointDisabledV1(
        program_id=target.endpoint.program_id,
        partner_id=target.endpoint.partner_id,
        endpoint_id=target.endpoint.id,
        reason="gone",
        disabled_at=now,
    ).to_event(new_id(), now)
