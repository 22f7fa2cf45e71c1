"""Creates an endpoint, active at once; its secret is in the answer and nowhere else in the clear."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.addresses import URLRefused
from services.webhooks.domain.endpoints import (
    MAX_ENDPOINTS,
    Endpoint,
    EndpointDraft,
    Owner,
    ShownEndpoint,
    check_event_types,
)
from services.webhooks.domain.errors import InvalidField, TooManyEndpoints
from services.webhooks.domain.signature import format_secret, parse_secret
from services.webhooks.sender.urls import URLChecker
from services.webhooks.store import endpoints
from services.webhooks.usecases.subscribable import PARTNER_TYPES, PROGRAM_TYPES
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.database.sealing import Seal
from shared.idempotency import Answer, Once

NEW_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    """Registers where events are sent."""

    answer_once: AnswerOnce
    urls: URLChecker
    seal: Seal
    new_id: Callable[[], uuid.UUID]

    async def __call__(self, owner: Owner, draft: EndpointDraft, once: Once[ShownEndpoint]) -> Answer:
        """Create the endpoint. Raises InvalidField or TooManyEndpoints."""
        # Vetted before the transaction: a name server may take its time.
        await vet_url(self.urls, draft.url)
        key = read_secret(draft.secret)
        partner_id = _partner_of(owner, draft)
        event_types = check_event_types(draft.event_types, PROGRAM_TYPES if partner_id is None else PARTNER_TYPES)

        async def work(connection: Connection, now: datetime) -> ShownEndpoint:
            if partner_id is not None and owner.partner_id is None:
                await _check_partner(connection, owner.program_id, partner_id)
            if await endpoints.count(connection, partner_id or owner.program_id) >= MAX_ENDPOINTS:
                raise TooManyEndpoints(MAX_ENDPOINTS)
            endpoint = Endpoint(
                id=self.new_id(),
                program_id=owner.program_id,
                partner_id=partner_id,
                url=draft.url,
                event_types=event_types,
                format=draft.format,
                description=draft.description,
                status=draft.status,
                disabled_reason=None,
                max_in_flight=draft.max_in_flight,
                resume_at=None,
                version=1,
                created_at=now,
                updated_at=now,
            )
            await endpoints.insert(connection, endpoint)
            await endpoints.insert_key(connection, self.seal, self.new_id(), endpoint.id, key, now)
            return ShownEndpoint(endpoint, format_secret(key))

        return await self.answer_once(once, work)


async def vet_url(urls: URLChecker, url: str) -> None:
    """Check where a URL leads. Raises InvalidField."""
    try:
        await urls.vet(url)
    except URLRefused as refused:
        raise InvalidField("url", str(refused)) from None


def read_secret(text: str | None) -> bytes:
    """Return the key of a given secret, or a new one. Raises InvalidField."""
    if text is None:
        return secrets.token_bytes(NEW_SECRET_BYTES)
    try:
        return parse_secret(text)
    except ValueError as error:
        raise InvalidField("secret", str(error)) from None


def _partner_of(owner: Owner, draft: EndpointDraft) -> uuid.UUID | None:
    if owner.partner_id is None:
        return draft.partner_id
    if draft.partner_id not in (None, owner.partner_id):
        raise InvalidField("partner_id", "must be the partner that the API key belongs to")
    return owner.partner_id


async def _check_partner(connection: Connection, program_id: uuid.UUID, partner_id: uuid.UUID) -> None:
    if not await endpoints.partner_exists(connection, program_id, partner_id):
        raise InvalidField("partner_id", "must be a partner of this program that has an API key or a code")
