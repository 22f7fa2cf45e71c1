"""Sends the test event to one endpoint, now and once, whatever its status, and records the attempt."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from services.webhooks.domain.bodies import members_of_test
from services.webhooks.domain.deliveries import Answer, RecordedAttempt, message_name
from services.webhooks.domain.endpoints import TEST, Owner
from services.webhooks.domain.errors import EndpointMissing
from services.webhooks.store import deliveries, endpoints
from services.webhooks.store.intake import NewMessage
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS

Post = Callable[[str, str, bytes, Sequence[bytes]], Awaitable[Answer]]


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
            endpoint = await endpoints.find(connection, endpoint_id, owner.program_id, owner.partner_id)
            if endpoint is None:
                raise EndpointMissing
            target = (await endpoints.targets(connection, self.seal, [endpoint_id]))[endpoint_id]
        now = self.clock()
        partner_id = None if endpoint.partner_id is None else str(endpoint.partner_id)
        message = NewMessage(
            self.new_id(),
            endpoint.format,
            endpoint.program_id,
            endpoint.partner_id,
            TEST,
            now,
            orjson.dumps(members_of_test(partner_id, program_name, now)),
        )
        answer = await self.post(endpoint.url, message_name(message.id), message.body, target.live_keys(now))
        WEBHOOK_SECONDS.observe(answer.duration_ms / 1000)
        WEBHOOK_ATTEMPTS.labels("test").inc()
        delivery_id = self.new_id()
        async with self.database.transaction() as connection:
            await deliveries.insert_test(connection, delivery_id, endpoint_id, message, answer, self.clock())
        return RecordedAttempt(delivery_id, message.id, 1, TEST, answer)
