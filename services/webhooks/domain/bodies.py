"""The bodies that receivers get, as members in order. They are encoded once, and those bytes are signed every time."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from services.webhooks.domain.event_types import is_custom
from services.webhooks.domain.partner_view import shown_to_partners
from shared.times import format_milliseconds

DEFAULT_ATTRIBUTES: Final = ("card_id", "recipient_name", "occasion")
# Our own members; an attribute of the same name never replaces them.
RESERVED: Final = frozenset({"event", "partner_id", "code", "timestamp", "codes_remaining"})
# Members that every flat body has itself.
FLAT_MEMBERS: Final = ("event", "partner_id", "timestamp")
MESSAGES_PATH: Final = "/v1/webhooks/messages"
# The member before the number in a body that has one.
NUMBER: Final = b',"sequence":'
FLAT: Final = "flat"
_PARTNERS: Final = "-partner"
# The partners' form of the flat body has the plain name, because the form that both shared before had it.
PROGRAMS_FLAT: Final = "flat-program"
# The flat body of this type is the documented one, with a few members only.
SHORT_WHEN_FLAT: Final = "code.redeemed"
_FRAME: Final = frozenset({"event", "timestamp"})
# Types of which partners saw more before there were lists of what they may see.
RESTATED_TYPES: Final = ("code.redemption_rejected", "code.redemption_voided")

# The members before and after the position of a message's number.
Halves = tuple[dict[str, Any], dict[str, Any]]


def message_format(format_: str, partner_id: uuid.UUID | None) -> str:
    """Return the form in which a message is stored for an endpoint: partners get a different text than programs."""
    if format_ == FLAT:
        return PROGRAMS_FLAT if partner_id is None else FLAT
    return format_ if partner_id is None else format_ + _PARTNERS


def plain_format(form: str) -> str:
    """Return the endpoint format of a stored form."""
    return FLAT if form == PROGRAMS_FLAT else form.removesuffix(_PARTNERS)


def is_for_partners(form: str) -> bool:
    """Return whether a partner may see a message in this form in full."""
    return form == FLAT or form.endswith(_PARTNERS)


def content_type(form: str) -> str:
    """Return the content type that a body is sent with."""
    return "application/cloudevents+json" if plain_format(form) == "cloudevents" else "application/json"


def visible_data(event_type: str, data: Mapping[str, Any], form: str) -> Mapping[str, Any]:
    """Return the part of an event's data that the readers of the form may see.

    What a program publishes itself is meant for the partner it names, whatever its members are called.
    """
    if not is_for_partners(form) or is_custom(event_type):
        return data
    if "attributes" in data:
        data = {**data, "attributes": _attributes(data)}
    return shown_to_partners(event_type, data)


def restate_body(event_type: str, form: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a partner's body from before the lists of visible members as it would be written today."""
    if event_type not in RESTATED_TYPES or plain_format(form) == "thin":
        return body
    if plain_format(form) != FLAT:
        return {**body, "data": shown_to_partners(event_type, body["data"])}
    frame = {name: body[name] for name in _FRAME if name in body}
    seen = shown_to_partners(event_type, body) | frame
    return {name: seen[name] for name in body if name in seen}


def restate_content(event_type: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the content that such a thin message refers to as it would be stored today."""
    return shown_to_partners(event_type, content) if event_type in RESTATED_TYPES else content


def flat_members(event_type: str, data: Mapping[str, Any], occurred_at: datetime, form: str = FLAT) -> dict[str, Any]:
    """Return the members of an event's flat body in order; for `code.redeemed` exactly the documented ones."""
    body: dict[str, Any] = {"event": event_type, "partner_id": data.get("partner_id")}
    if event_type == SHORT_WHEN_FLAT:
        body["code"] = data.get("code")
        body |= _attributes(data)
        body["timestamp"] = format_milliseconds(occurred_at)
        body["codes_remaining"] = data.get("codes_remaining")
    else:
        seen = visible_data(event_type, data, form)
        body |= {name: value for name, value in seen.items() if name not in _FRAME}
        body["timestamp"] = format_milliseconds(occurred_at)
    return body


def standard_members(event_type: str, data: Mapping[str, Any], occurred_at: datetime) -> Halves:
    """Return the members of an event's body as Standard Webhooks recommends it."""
    return {"type": event_type, "timestamp": format_milliseconds(occurred_at)}, {"data": data}


def thin_members(event_type: str, occurred_at: datetime, message_name: str) -> Halves:
    """Return the members of a body that only refers to the message; `url` is relative to the address of the API."""
    reference = {"id": message_name, "url": f"{MESSAGES_PATH}/{message_name}"}
    return {"type": event_type, "timestamp": format_milliseconds(occurred_at)}, {"data": reference}


def cloudevents_members(
    event_type: str,
    data: Mapping[str, Any],
    occurred_at: datetime,
    event_id: str,
    source: str,
    traceparent: str | None = None,
) -> Halves:
    """Return the members of a CloudEvent in structured mode; its id is the event's."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": event_type,
        "time": format_milliseconds(occurred_at),
    }, {
        "datacontenttype": "application/json",
        **({} if traceparent is None else {"traceparent": traceparent}),
        "data": data,
    }


def numbered(form: str, head: bytes, sequence: int, tail: bytes) -> bytes:
    """Return a body with its number in it, exactly as the SQL statement that stores the body writes it.

    CloudEvents takes the number as text that sorts like the numbers: zero-padded to the length of the largest one.
    """
    number = b'"%019d"' % sequence if plain_format(form) == "cloudevents" else b"%d" % sequence
    return b"".join((head, NUMBER, number, tail))


def members_of_test(partner_id: str | None, program_name: str, now: datetime) -> dict[str, Any]:
    """Return the members of a test event's flat body in order."""
    return {
        "event": "test",
        "partner_id": partner_id,
        "timestamp": format_milliseconds(now),
        "message": f"Test webhook from {program_name}",
    }


def _attributes(data: Mapping[str, Any]) -> dict[str, Any]:
    names: Sequence[str] | None = data.get("attribute_names")
    given: Mapping[str, Any] = data.get("attributes") or {}
    chosen = DEFAULT_ATTRIBUTES if names is None else names
    return {name: given.get(name) for name in chosen if name not in RESERVED}
