"""Sends a test to an endpoint, once and at once, whatever its status, and records the attempt.

A test is the event `test` or the catalog's example of another type, whether or not the endpoint subscribes to it.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from services.webhooks.domain.bodies import FLAT, members_of_test, message_format, plain_format
from services.webhooks.domain.deliveries import Answer, Outgoing
from services.webhooks.domain.endpoints import Endpoint, Owner
from services.webhooks.domain.errors import EndpointMissing, InvalidField, SecretUnreadable
from services.webhooks.domain.event_types import TEST
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.domain.names import message_name
from services.webhooks.domain.shown_deliveries import RecordedAttempt
from services.webhooks.store import deliveries, endpoints, targets
from services.webhooks.store.intake import NewMessage
from services.webhooks.usecases import describe_events
from services.webhooks.usecases.take_turns import TakeTurn
from services.webhooks.usecases.write_bodies import write_body
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS
from shared.modes import is_test, shown_id, shown_id_or_none

Post = Callable[[Outgoing], Awaitable[Answer]]
SOURCE: Final = "/mintwire/webhooks"


@dataclass(frozen=True, slots=True)
class SendTest:
    """One attempt on request; it is never retried and does not count for the endpoint's health."""

    database: Database
    clock: Clock
    seal: Seal
    post: Post
    take_turn: TakeTurn
    new_id: Callable[[], uuid.UUID]

    async def __call__(
        self, owner: Owner, program_name: str, endpoint_id: uuid.UUID, event_type: str = TEST
    ) -> RecordedAttempt:
        """Return the attempt. Raises EndpointMissing, InvalidField, SecretUnreadable or RateLimitReached."""
        async with self.database.connection() as connection:
            endpoint = await endpoints.find(connection, owner, endpoint_id)
            if endpoint is None:
                raise EndpointMissing
            target = await targets.one(connection, self.seal, endpoint_id)
            if target.missing is not None:
                raise SecretUnreadable
        now, message_id = self.clock(), self.new_id()
        form = message_format(endpoint.format, endpoint.partner_id)
        if event_type == TEST:
            body, content = _test_body(endpoint, program_name, form, message_id, now)
        else:
            body, content = _whole(_example(endpoint, event_type, message_id, now), form, message_id)
        # Whatever type the receiver sees, it is recorded as a test: no replay ever sends it.
        message = NewMessage(
            id=message_id,
            format=form,
            program_id=endpoint.program_id,
            partner_id=endpoint.partner_id,
            event_type=TEST,
            occurred_at=now,
            body=body,
            content=content,
        )
        await self.take_turn(endpoint_id)
        answer = await self.post(target.outgoing(message.id, message.format, message.body, self.clock()))
        WEBHOOK_SECONDS.observe(answer.duration_ms / 1000)
        WEBHOOK_ATTEMPTS.labels(answer.kind, TEST).inc()
        delivery_id = self.new_id()
        async with self.database.transaction() as connection:
            await deliveries.insert_test(connection, delivery_id, endpoint_id, message, answer, self.clock())
        return RecordedAttempt(delivery_id=delivery_id, message_id=message.id, number=1, trigger=TEST, answer=answer)


def _test_body(
    endpoint: Endpoint, program_name: str, form: str, message_id: uuid.UUID, now: datetime
) -> tuple[bytes, bytes | None]:
    partner_id = shown_id_or_none(endpoint.partner_id)
    members = members_of_test(partner_id, program_name, now)
    if plain_format(form) == FLAT:
        return orjson.dumps(members), None
    data = {name: members[name] for name in ("partner_id", "message")}
    if is_test(endpoint.program_id):
        data["is_test"] = True
    return _whole(_event(endpoint, SOURCE, TEST, message_id, now, data), form, message_id)


def _whole(event: IncomingEvent, form: str, message_id: uuid.UUID) -> tuple[bytes, bytes | None]:
    """Return a body without a number: a test has none, nor the header."""
    head, tail, content = write_body(event, form, message_name(message_id))
    return head + tail, content


def _example(endpoint: Endpoint, event_type: str, message_id: uuid.UUID, now: datetime) -> IncomingEvent:
    """Return the catalog's example as an event of the endpoint's owner. Raises InvalidField."""
    described = describe_events.event_type(Owner(endpoint.program_id, endpoint.partner_id), event_type)
    if described is None:
        raise InvalidField("event_type", "must be an event type of the catalog that this endpoint may subscribe to")
    owner = {
        "program_id": shown_id(endpoint.program_id),
        "partner_id": shown_id_or_none(endpoint.partner_id),
    }
    data = {**described.example, **{name: owner[name] for name in owner.keys() & described.example.keys()}}
    return _event(endpoint, describe_events.MODELS[event_type].source, event_type, message_id, now, data)


def _event(
    endpoint: Endpoint, source: str, type_: str, message_id: uuid.UUID, now: datetime, data: Mapping[str, Any]
) -> IncomingEvent:
    return IncomingEvent(
        event_id=str(message_id),
        source=source,
        type=type_,
        program_id=endpoint.program_id,
        partner_id=endpoint.partner_id,
        occurred_at=now,
        data=data,
    )
