"""Writes the results of attempts with dead letters and events, in one transaction per group."""

import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.webhooks.domain.deliveries import FAILING_STEP, RECEIVER_ASKED, HeldDelivery, Settlement, Target
from services.webhooks.domain.event_types import is_operational
from services.webhooks.domain.health import Health
from services.webhooks.domain.names import message_name
from services.webhooks.domain.standing import FAILING, Judgement, judge
from services.webhooks.store import queue, results
from services.webhooks.usecases.close_endpoints import give_up_waiting
from services.webhooks.usecases.endpoint_events import HandOver
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.events.webhooks import (
    WebhookDeliveryDeadV1,
    WebhookDeliveryFailingV1,
    WebhookDeliveryRecoveredV1,
    WebhookEndpointDisabledV1,
    WebhookEndpointFailingV1,
    WebhookRecoveredV1,
)
from shared.ids import new_id
from shared.metrics import WEBHOOK_DELIVERY_SECONDS, WEBHOOK_ENDPOINTS_DISABLED, WEBHOOKS_DEAD, WEBHOOKS_FENCED

_FIRST_TRIES, _LATER_TRIES = (WEBHOOK_DELIVERY_SECONDS.labels(tries) for tries in ("first", "later"))
# Initialised to 0: Prometheus sees no increase in a series that starts at 1.
for _reason in (FAILING, "gone", RECEIVER_ASKED):
    WEBHOOK_ENDPOINTS_DISABLED.labels(_reason)


async def record(database: Database, hand_over: HandOver, settlements: Sequence[Settlement], now: datetime) -> bool:
    """Write a group of attempts, except those taken over by another process. Raises TransientFault.

    Returns whether deliveries that waited for these may have become due.
    """
    has_lines = any(s.held.ordering_key is not None for s in settlements)
    if not any(map(_has_consequences, settlements)):
        async with database.connection() as connection:
            recorded = await results.record_attempts(connection, settlements, now)
    else:
        async with database.transaction() as connection:
            recorded, events = await record_within(connection, settlements, now)
        hand_over(events)
    if fenced := len(settlements) - len(recorded):
        WEBHOOKS_FENCED.inc(fenced)
    _measure(settlements, recorded)
    return has_lines


async def record_within(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> tuple[dict[uuid.UUID, int], list[OutboxEvent]]:
    """Write a group of attempts in the caller's transaction; return which were recorded, and the events about them."""
    recorded = await results.record_attempts(connection, settlements, now)
    mine = [s for s in settlements if _has_consequences(s) and s.held.delivery_id in recorded]
    return recorded, await _write_consequences(connection, mine, recorded, now) if mine else []


async def cancel(database: Database, held: Sequence[HeldDelivery], now: datetime) -> None:
    """Cancel unsent deliveries of an archived endpoint; they leave no dead letter."""
    async with database.transaction() as connection:
        await results.end_unsent(connection, held, "canceled", now)
        await _finish_lines(connection, held, now)


async def give_up(
    database: Database,
    hand_over: HandOver,
    held: Sequence[HeldDelivery],
    targets: Mapping[uuid.UUID, Target],
    reason: str,
    now: datetime,
) -> None:
    """End unsent deliveries as dead letters: their endpoint was disabled, or their time is over."""
    by_id = {h.delivery_id: h for h in held}
    async with database.transaction() as connection:
        ended = await results.end_unsent(connection, held, "dead", now)
        dead = [by_id[e.delivery_id] for e in ended]
        if dead:
            await results.insert_dead_letters(connection, [(h, reason) for h in dead], now)
        await _finish_lines(connection, held, now)
        events = [
            _dead_event(h, targets[h.endpoint_id], reason, e.attempts_made, e.last_status, now)
            for h, e in zip(dead, ended, strict=True)
            if not is_operational(h.event_type)
        ]
        await outbox.insert_events(connection, events)
    WEBHOOKS_DEAD.inc(len(dead))
    hand_over(events)


def _measure(settlements: Sequence[Settlement], recorded: Container[uuid.UUID]) -> None:
    for settled in settlements:
        seconds = settled.seconds_on_the_way
        if seconds is not None and settled.held.delivery_id in recorded:
            (_FIRST_TRIES if settled.held.is_first_try else _LATER_TRIES).observe(seconds)


def _has_consequences(settled: Settlement) -> bool:
    """Return whether an attempt changes more than its own delivery."""
    return (
        settled.is_news
        or settled.resume_at is not None
        or settled.breaker_trips is not None
        or settled.decision.status == "dead"
        or settled.decision.disabled_reason is not None
        or settled.held.ordering_key is not None
        or _has_delivery_event(settled)
    )


def _has_delivery_event(settled: Settlement) -> bool:
    """Return whether the delivery itself has an event: it keeps failing, or did so and has arrived."""
    if is_operational(settled.held.event_type):
        return False
    step, status = settled.held.step, settled.decision.status
    return (step == FAILING_STEP and status == "pending") or (step > FAILING_STEP and status == "succeeded")


async def _write_consequences(
    connection: Connection, settlements: Sequence[Settlement], recorded: dict[uuid.UUID, int], now: datetime
) -> list[OutboxEvent]:
    dead = [s for s in settlements if s.decision.status == "dead"]
    if dead:
        await results.insert_dead_letters(connection, [(s.held, s.decision.reason or "") for s in dead], now)
    await _finish_lines(connection, [s.held for s in settlements], now)
    events = await _judge(connection, settlements, now)
    events += [
        _dead_event(s.held, s.target, s.decision.reason or "", recorded[s.held.delivery_id], s.answer.status, now)
        for s in dead
        if not is_operational(s.held.event_type)
    ]
    events += [_delivery_event(s, recorded[s.held.delivery_id], now) for s in settlements if _has_delivery_event(s)]
    await outbox.insert_events(connection, events)
    WEBHOOKS_DEAD.inc(len(dead))
    return events


async def _finish_lines(connection: Connection, finished: Sequence[HeldDelivery], now: datetime) -> None:
    """Return the followers of these deliveries to their lines, and make the first of each line due.

    The followers of a success were already sent on by this process; those still attached are not.
    """
    await queue.release(connection, [follower for held in finished for follower in held.followers], now)
    await queue.release_heads(connection, queue.lines_of(finished), now)


async def _judge(connection: Connection, settlements: Sequence[Settlement], now: datetime) -> list[OutboxEvent]:
    """Write the standing of the endpoints after these attempts, and return the events."""
    by_endpoint: dict[uuid.UUID, list[Settlement]] = {}
    for settled in settlements:
        by_endpoint.setdefault(settled.held.endpoint_id, []).append(settled)
    before = await results.lock_standings(connection, by_endpoint)
    judged = {id_: judge(standing, by_endpoint[id_]) for id_, standing in before.items()}
    changed = {id_: each.standing for id_, each in judged.items() if each.standing != before[id_]}
    if changed:
        await results.update_standings(connection, changed, now)
    dead = [
        event
        for id_, each in judged.items()
        if each.disabling is not None or (before[id_].is_disabled and any(map(_is_put_back, by_endpoint[id_])))
        for event in (await give_up_waiting(connection, id_, now))[1]
    ]
    for each in judged.values():
        if each.disabling is not None:
            WEBHOOK_ENDPOINTS_DISABLED.labels(each.disabling[0]).inc()
    return [event for each in judged.values() for event in _standing_events(each, now)] + dead


def _is_put_back(settled: Settlement) -> bool:
    """Return whether an attempt in progress has left its delivery pending."""
    return settled.decision.status == "pending" and settled.held.trigger == "automatic"


def _standing_events(judged: Judgement, now: datetime) -> Iterator[OutboxEvent]:
    if judged.warning is not None and not is_operational(judged.warning[1].held.event_type):
        level, settled = judged.warning
        yield _failing_event(settled, level, judged.standing.health, now)
    if judged.recovery is not None and not is_operational(judged.recovery[1].held.event_type):
        failing_since, settled = judged.recovery
        yield _recovered_event(settled, failing_since, now)
    if judged.disabling is not None and not is_operational(judged.disabling[1].held.event_type):
        reason, settled = judged.disabling
        yield _disabled_event(settled.target, reason, now)


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


def _delivery_event(settled: Settlement, attempts: int, now: datetime) -> OutboxEvent:
    endpoint, held, answer = settled.target.endpoint, settled.held, settled.answer
    which: dict[str, Any] = {
        "program_id": endpoint.program_id,
        "partner_id": endpoint.partner_id,
        "delivery_id": held.delivery_id,
        "endpoint_id": endpoint.id,
        "message_id": message_name(held.message_id),
        "event_type": held.event_type,
        "attempts": attempts,
    }
    if settled.decision.status == "succeeded":
        return WebhookDeliveryRecoveredV1(**which, recovered_at=now).to_event(new_id(), now)
    return WebhookDeliveryFailingV1(
        **which,
        last_status=answer.status,
        last_error_code=answer.error_code,
        next_attempt_at=settled.decision.due_at or now,
    ).to_event(new_id(), now)


def _disabled_event(target: Target, reason: str, now: datetime) -> OutboxEvent:
    return WebhookEndpointDisabledV1(
        program_id=target.endpoint.program_id,
        partner_id=target.endpoint.partner_id,
        endpoint_id=target.endpoint.id,
        reason=reason,
        disabled_at=now,
    ).to_event(new_id(), now)


def _failing_event(settled: Settlement, level: int, health: Health, now: datetime) -> OutboxEvent:
    endpoint = settled.target.endpoint
    return WebhookEndpointFailingV1(
        program_id=endpoint.program_id,
        partner_id=endpoint.partner_id,
        endpoint_id=endpoint.id,
        level=level,
        failing_since=health.failing_since or now,
        disables_at=health.disables_at or now,
        delivery_id=settled.held.delivery_id,
        message_id=message_name(settled.held.message_id),
        event_type=settled.held.event_type,
        last_status=settled.answer.status,
        last_error_code=settled.answer.error_code,
    ).to_event(new_id(), now)


def _recovered_event(settled: Settlement, failing_since: datetime | None, now: datetime) -> OutboxEvent:
    endpoint = settled.target.endpoint
    return WebhookRecoveredV1(
        program_id=endpoint.program_id,
        partner_id=endpoint.partner_id,
        endpoint_id=endpoint.id,
        failing_since=failing_since or now,
        recovered_at=now,
        delivery_id=settled.held.delivery_id,
        message_id=message_name(settled.held.message_id),
        event_type=settled.held.event_type,
    ).to_event(new_id(), now)
