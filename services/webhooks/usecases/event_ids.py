"""The ids of messages, made from what identifies their events: the same however often an event arrives."""

import uuid
from typing import Final

from services.webhooks.domain.events import IncomingEvent
from shared.derived_ids import derived_id
from shared.events import codes, redemption, webhooks
from shared.modes import shown_id

# Part of every message id ever sent: with another namespace a redelivered event would become another message.
_MESSAGES: Final = uuid.UUID("6f0f4d3e-9b7c-5a57-8f51-5f6d0c1e7a11")


def id_of_message(event: IncomingEvent) -> uuid.UUID:
    """Return the id of an event's message, the same however often the event arrives."""
    return message_id_of(event.program_id, event.source, event.event_id)


def message_id_of(program_id: uuid.UUID, source: str, event_id: str) -> uuid.UUID:
    """Return the id of the message of an event, from what identifies the event."""
    return derived_id(_MESSAGES, str(program_id), source, event_id)


def source_of(program_id: uuid.UUID) -> str:
    """Return the source of the events that a program publishes itself."""
    return f"/mintwire/programs/{shown_id(program_id)}"


def ids_of_event(program_id: uuid.UUID, event_id: str) -> frozenset[uuid.UUID]:
    """Return the ids that the message of an event may have, for each source that may have emitted it."""
    sources = (codes.SOURCE, redemption.SOURCE, webhooks.SOURCE, source_of(program_id))
    return frozenset(message_id_of(program_id, source, event_id) for source in sources)
