"""Creates an endpoint, active at once unless requested otherwise. Its secret is in the response and nowhere else."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from services.webhooks.domain.addresses import URLRefused
from services.webhooks.domain.endpoints import (
    DISABLED_BY_OWNER,
    MAX_ENDPOINTS,
    Endpoint,
    EndpointDraft,
    Owner,
    ShownEndpoint,
    Terms,
    check_schedule,
)
from services.webhooks.domain.errors import InvalidField, PartnerInactive, TooManyEndpoints
from services.webhooks.domain.event_types import check_event_types
from services.webhooks.domain.headers import check_auth, check_headers
from services.webhooks.domain.signature import MadeKey, Signing, algorithms
from services.webhooks.sender.signing import new_key, public_text, read_key, secret_text
from services.webhooks.sender.urls import URLChecker
from services.webhooks.store import certificates, endpoints, partners, signing_keys
from services.webhooks.usecases import endpoint_events
from services.webhooks.usecases.endpoint_events import HandOver
from services.webhooks.usecases.read_certificates import bundle_of, certificate_of
from services.webhooks.usecases.subscribable import PARTNER_TYPES, PROGRAM_TYPES
from shared.clock import Clock
from shared.database import outbox
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.database.sealing import Seal
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    """Registers an endpoint."""

    answer_once: AnswerOnce
    clock: Clock
    urls: URLChecker
    seal: Seal
    new_id: Callable[[], uuid.UUID]
    hand_over: HandOver

    async def __call__(self, owner: Owner, draft: EndpointDraft, once: Once[ShownEndpoint]) -> Answer:
        """Create the endpoint. Raises InvalidField, PartnerInactive or TooManyEndpoints."""
        # Checked before the transaction: name resolution may take a while.
        await vet_url(self.urls, draft.url)
        keys = first_keys(draft.signing, draft.secret)
        partner_id = partner_of(owner, draft.partner_id)
        terms = _checked(draft, partner_id)
        certificate = await certificate_of(draft.client_certificate, self.clock())
        bundle = await bundle_of(draft.ca_bundle)
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> ShownEndpoint:
            await check_partner(connection, owner, partner_id)
            if await endpoints.count(connection, partner_id or owner.program_id) >= MAX_ENDPOINTS:
                raise TooManyEndpoints(MAX_ENDPOINTS)
            endpoint = Endpoint(
                **terms,
                id=self.new_id(),
                program_id=owner.program_id,
                partner_id=partner_id,
                disabled_reason=DISABLED_BY_OWNER if draft.status == "disabled" else None,
                created_at=now,
                updated_at=now,
            )
            await endpoints.insert(connection, endpoint, draft.auth, self.seal)
            if certificate is not None:
                await certificates.set_certificate(connection, endpoint, certificate, self.seal, now)
            if bundle is not None:
                await certificates.set_bundle(connection, endpoint.id, bundle)
            for made in keys:
                await signing_keys.insert(
                    connection, self.seal, self.new_id(), endpoint, made, now, made_by=owner.caller_id
                )
            found = await endpoints.find(connection, owner, endpoint.id)
            events.append(endpoint_events.created_event(endpoint, now))
            await outbox.insert_events(connection, events)
            return shown_once(found or endpoint, keys)

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        return answer


async def vet_url(urls: URLChecker, url: str) -> None:
    """Check where a URL leads. Raises InvalidField."""
    try:
        await urls.vet(url)
    except URLRefused as refused:
        raise InvalidField("url", str(refused)) from None


def first_keys(signing: Signing, secret: str | None) -> list[MadeKey]:
    """Return one key per algorithm, including the caller's own, if any. Raises InvalidField."""
    own = None if secret is None else read_own_key(secret)
    wanted = algorithms(signing)
    if own is not None and own.key.algorithm not in wanted:
        raise InvalidField("secret", f"must be a key for {' or '.join(wanted)}")
    return [own if own is not None and own.key.algorithm == each else new_key(each) for each in wanted]


def read_own_key(text: str) -> MadeKey:
    """Parse a key supplied by the caller. Raises InvalidField."""
    try:
        return read_key(text)
    except ValueError as error:
        raise InvalidField("secret", str(error)) from None


def shown_once(endpoint: Endpoint, keys: Sequence[MadeKey]) -> ShownEndpoint:
    """Return an endpoint with its new keys as texts; only the public half of a pair is shown."""
    secrets = [secret_text(made.key) for made in keys if made.public_key is None]
    publics = [public_text(made.public_key) for made in keys if made.public_key is not None]
    return ShownEndpoint(endpoint, secrets[0] if secrets else None, publics[0] if publics else None)


def partner_of(owner: Owner, asked_for: uuid.UUID | None) -> uuid.UUID | None:
    """Return the partner who is to own the new endpoint. Raises InvalidField."""
    if owner.partner_id is None:
        return asked_for
    if asked_for not in (None, owner.partner_id):
        raise InvalidField("partner_id", "must be the partner that the API key belongs to")
    return owner.partner_id


async def check_partner(connection: Connection, asking: Owner, partner_id: uuid.UUID | None) -> None:
    """Raise InvalidField for a partner of another program, PartnerInactive for an inactive partner that asks itself.

    Its program may still prepare endpoints for it.
    """
    if partner_id is None:
        return
    status = await partners.status(connection, asking.program_id, partner_id)
    if asking.partner_id is None:
        if status is None:
            raise InvalidField("partner_id", "must be a partner of this program")
    elif status in (None, "suspended"):
        raise PartnerInactive


def check_types(chosen: Sequence[str], partner_id: uuid.UUID | None) -> tuple[str, ...]:
    """Return the event types that an endpoint of this owner may subscribe to. Raises InvalidField."""
    return check_event_types(chosen, PROGRAM_TYPES if partner_id is None else PARTNER_TYPES)


def _checked(draft: EndpointDraft, partner_id: uuid.UUID | None) -> dict[str, Any]:
    check_headers(draft.headers)
    if draft.auth is not None:
        check_auth(draft.auth, draft.headers)
    terms: dict[str, Any] = {each.name: getattr(draft, each.name) for each in fields(Terms)}
    terms["event_types"] = check_types(draft.event_types, partner_id)
    terms["schedule"] = None if draft.schedule is None else check_schedule(draft.schedule)
    return terms
