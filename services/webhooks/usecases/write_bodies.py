"""Encodes an event in each format, once."""

from collections.abc import Mapping
from typing import Any

import orjson

from services.webhooks.domain.bodies import (
    FLAT,
    Halves,
    cloudevents_members,
    flat_members,
    plain_format,
    standard_members,
    thin_members,
    visible_data,
)
from services.webhooks.domain.event_types import is_custom
from services.webhooks.domain.events import IncomingEvent
from shared.modes import shown_id_or_none


def write_body(event: IncomingEvent, form: str, message_name: str) -> tuple[bytes, bytes, bytes | None]:
    """Return the body of an event's message in a form, and the event's data if the body only refers to it.

    The body comes in two parts with the position of its number between them; a flat body is whole.
    """
    format_ = plain_format(form)
    if format_ == FLAT:
        return orjson.dumps(flat_members(event.type, _with_partner(event), event.occurred_at, form)), b"", None
    data = visible_data(event.type, event.data, form)
    if format_ == "standard":
        return *_parts(standard_members(event.type, data, event.occurred_at)), None
    if format_ == "thin":
        return *_parts(thin_members(event.type, event.occurred_at, message_name)), orjson.dumps(data)
    members = cloudevents_members(event.type, data, event.occurred_at, event.event_id, event.source, event.traceparent)
    return *_parts(members), None


def _parts(halves: Halves) -> tuple[bytes, bytes]:
    return orjson.dumps(halves[0])[:-1], b"," + orjson.dumps(halves[1])[1:]


def _with_partner(event: IncomingEvent) -> Mapping[str, Any]:
    """Return an event's data with its partner, which our events name and a program's own need not."""
    if not is_custom(event.type):
        return event.data
    return {"partner_id": shown_id_or_none(event.partner_id), **event.data}
