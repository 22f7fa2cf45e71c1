"""Writes what an event says in each format as bytes, once."""

import orjson

from services.webhooks.domain.bodies import (
    cloudevents_members,
    flat_members,
    plain_format,
    standard_members,
    thin_members,
    visible_data,
)
from services.webhooks.domain.events import IncomingEvent


def write_body(event: IncomingEvent, kept: str, message_name: str) -> tuple[bytes, bytes | None]:
    """Return the body of an event's message in a form, and the event's data where the body only refers to it."""
    format_ = plain_format(kept)
    if format_ == "flat":
        return orjson.dumps(flat_members(event.type, event.data, event.occurred_at)), None
    data = visible_data(event.data, kept)
    if format_ == "standard":
        return orjson.dumps(standard_members(event.type, data, event.occurred_at)), None
    if format_ == "thin":
        return orjson.dumps(thin_members(event.type, event.occurred_at, message_name)), orjson.dumps(data)
    members = cloudevents_members(event.type, data, event.occurred_at, event.event_id, event.source)
    return orjson.dumps(members), None
