"""Gives an endpoint a new signing key; the old ones sign beside it until the grace period is over."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.webhooks.domain.endpoints import Owner, ShownEndpoint
from services.webhooks.domain.errors import EndpointMissing, TooManyKeys
from services.webhooks.domain.signature import MAX_LIVE_KEYS, format_secret
from services.webhooks.store import endpoints
from services.webhooks.usecases.change_endpoint import EndpointChanged
from services.webhooks.usecases.create_endpoint import read_secret
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.database.sealing import Seal
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class RotateKey:
    """Adds a key and sets the end of the others."""

    answer_once: AnswerOnce
    seal: Seal
    new_id: Callable[[], uuid.UUID]
    changed: EndpointChanged

    async def __call__(
        self, owner: Owner, endpoint_id: uuid.UUID, grace: timedelta, secret: str | None, once: Once[ShownEndpoint]
    ) -> Answer:
        """Return the endpoint with its new secret. Raises EndpointMissing, InvalidField or TooManyKeys."""
        key = read_secret(secret)

        async def work(connection: Connection, now: datetime) -> ShownEndpoint:
            endpoint = await endpoints.lock(connection, endpoint_id, owner.program_id, owner.partner_id)
            if endpoint is None:
                raise EndpointMissing
            await endpoints.expire_keys(connection, endpoint_id, now, now + grace)
            if await endpoints.count_live_keys(connection, endpoint_id, now) >= MAX_LIVE_KEYS:
                raise TooManyKeys(MAX_LIVE_KEYS)
            await endpoints.insert_key(connection, self.seal, self.new_id(), endpoint_id, key, now)
            return ShownEndpoint(endpoint, format_secret(key))

        answer = await self.answer_once(once, work)
        self.changed(endpoint_id)
        return answer
