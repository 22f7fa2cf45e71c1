"""Sends the test event to one endpoint, now and once, whatever its status, and records the attempt."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import orjson

from services.webhooks.domain.bodies import members_of_test, message_format
from services.webhooks.domain.deliveries import Answer, Outgoing, RecordedAttempt, message_name
from services.webhooks.domain.endpoints import Endpoint, Owner
from services.webhooks.domain.errors import EndpointMissing
from services.webhooks.domain.event_types import TEST
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.store import deliveries, endpoints
from services.webhooks.store.intake import NewMessage
from services.webhooks.usecases.write_bodies import write_body
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS

Post = Callable[[Outgoing], Awaitable[Answer]]
SOURCE: Final = "/mintwire/webhooks"


@dataclass(frozen=True, slots=True)
class SendTest:
    """One attempt in the foreground; it is never retried and says nothing about the endpoint's health."""

    database: Database
    clock: Clock
    seal: Seal
    post: Post
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, owner: Owner, program_name: str, endpoint_id: uuid.UUID) -> RecordedAttempt:
        """Return the attempt. Raises EndpointMissing."""
        async with self.database.connection() as connection:
            endpoint = await endpoints.find(connection, owner, endpoint_id)
            if endpoint is None:
                raise EndpointMissing
            target = (await endpoints.targets(connection, self.seal, [endpoint_id]))[endpoint_id]
        message = self._message(endpoint, program_name)
        now = message.occurred_at
        answer = await self.post(target.outgoing(message.id, message.format, message.body, now))
        WEBHOOK_SECONDS.observe(answer.duration_ms / 1000)
        WEBHOOK_ATTEMPTS.labels("test").inc()
        delivery_id = self.new_id()
        async with self.database.transaction() as connection:
            await deliveries.insert_test(connection, delivery_id, endpoint_id, message, answer, self.clock())
        return RecordedAttempt(delivery_id, message.id, 1, TEST, answer)

    def _message(self, endpoint: Endpoint, program_name: str) -> NewMessage:
        now = self.clock()
        message_id = self.new_id()
        partner_id = None if endpoint.partner_id is None else str(endpoint.partner_id)
        members = members_of_test(partner_id, program_name, now)
        kept = message_format(endpoint.format, endpoint.partner_id)
        body, content = orjson.dumps(members), None
        if kept != "flat":
            data = {name: members[name] for name in ("partner_id", "message")}
            event = IncomingEvent(
                str(message_id), SOURCE, TEST, endpoint.program_id, endpoint.partner_id, now, data, b""
            )
            body, content = write_body(event, kept, message_name(message_id))
        return NewMessage(message_id, kept, endpoint.program_id, endpoint.partner_id, TEST, now, body, content)
