"""Reads events from the queue `webhooks.events` and hands them over in batches."""

import hashlib
import uuid
from collections.abc import Sequence
from typing import Final, Literal, TypedDict

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from services.webhooks.domain.events import IncomingEvent
from services.webhooks.usecases.take_in_events import TakeInEvents
from shared.broker.messages import Received, Reject
from shared.broker.reading import settle
from shared.events import catalogue
from shared.events.checkout import Attributes
from shared.events.envelope import (
    EventTime,
    InvalidEvent,
    ShortText,
    Traceparent,
    decode_data,
    decode_envelope,
    describe,
)
from shared.events.redemption import CodeRedeemedV1
from shared.modes import in_mode

_REDEEMED_SCHEMA: Final = CodeRedeemedV1.schema_urn()
_MODELS: Final = {model.type: model for models in catalogue.PUBLISHED.values() for model in models}


class _Owners(TypedDict):
    """The owners of an event: tenants, if its data names program and partner."""

    program_id: uuid.UUID
    partner_id: uuid.UUID | None


class _Facts(BaseModel):
    """What every event of ours has: its owners, and when it happened."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    program_id: uuid.UUID
    partner_id: uuid.UUID | None = None
    occurred_at: EventTime | None = None
    is_test: bool = False


class _Head(BaseModel):
    """The part of the envelope that makes an event, and the trace that it belongs to."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    specversion: Literal["1.0"]
    id: ShortText
    source: ShortText
    traceparent: Traceparent = None


class _Redeemed(BaseModel):
    """The part of a redeemed code that webhooks use; they do not check the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    occurred_at: EventTime
    code: ShortText
    attributes: Attributes
    attribute_names: list[str]
    codes_remaining: int | None
    is_test: bool = False


class EventConsumer:
    """Judges each message: taken in, already known, or rejected with a reason."""

    def __init__(self, take_in: TakeInEvents) -> None:
        self._take_in = take_in

    async def __call__(self, batch: Sequence[Received]) -> list[Reject | None]:
        """Return one outcome per message, in order."""
        return await settle(batch, lambda received: read_event(received.body), self._take_in)


def read_event(raw: bytes) -> IncomingEvent:
    """Parse one event; unknown types pass if they name their owners. Raises `InvalidEvent`."""
    if (event := _read_redeemed(raw)) is not None:
        return event
    envelope = decode_envelope(raw)
    if model := _MODELS.get(envelope.type):
        decode_data(envelope, model)
    try:
        facts = _Facts.model_validate(envelope.data)
    except ValidationError as error:
        raise InvalidEvent("invalid_data", describe(error, envelope.data, "data")) from None
    return IncomingEvent(
        event_id=envelope.id,
        source=envelope.source,
        type=envelope.type,
        **_owners(facts),
        occurred_at=facts.occurred_at or envelope.time,
        data=envelope.data,
        body_sha256=hashlib.sha256(raw).digest(),
        traceparent=envelope.traceparent,
    )


def _read_redeemed(raw: bytes) -> IncomingEvent | None:
    """Parse the one event that arrives in masses at less cost; None leaves it, or its faults, to the general parser."""
    try:
        value = orjson.loads(raw)
        if value["type"] != CodeRedeemedV1.type or value["dataschema"] != _REDEEMED_SCHEMA:
            return None
        head = _Head.model_validate(value)
        data = value["data"]
        facts = _Redeemed.model_validate(data)
    except (ValueError, KeyError, TypeError):
        return None
    return IncomingEvent(
        event_id=head.id,
        source=head.source,
        type=CodeRedeemedV1.type,
        **_owners(facts),
        occurred_at=facts.occurred_at,
        data=data,
        body_sha256=hashlib.sha256(raw).digest(),
        traceparent=head.traceparent,
    )


def _owners(facts: _Facts | _Redeemed) -> _Owners:
    if not facts.is_test:
        return {"program_id": facts.program_id, "partner_id": facts.partner_id}
    partner_id = None if facts.partner_id is None else in_mode(facts.partner_id, test=True)
    return {"program_id": in_mode(facts.program_id, test=True), "partner_id": partner_id}
