"""The catalog of event types: description, schema, an example, and the resulting bodies."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, get_args

import orjson

from services.webhooks.domain.bodies import members_of_test, message_format, numbered
from services.webhooks.domain.endpoints import Format, Owner
from services.webhooks.domain.event_types import TEST, is_operational
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.domain.partner_view import schema_for_partners, shown_to_partners
from services.webhooks.usecases.subscribable import PARTNER_TYPES, PROGRAM_TYPES
from services.webhooks.usecases.write_bodies import write_body
from shared.events import catalogue
from shared.events.envelope import EventData
from shared.modes import is_test

_MOMENT: Final = datetime(2026, 3, 16, 20, 15, tzinfo=UTC)
_SEQUENCE: Final = 4711
_ID: Final = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
# The newest version of each type that endpoints may subscribe to.
MODELS: Final = {
    model.type: model
    for models in catalogue.PUBLISHED.values()
    for model in models
    if model.type in catalogue.SUBSCRIBABLE
}
# Examples that are more telling than "text"; all others follow from the schema.
_EXAMPLES: Final[dict[str, Any]] = {
    "code": "PREFIX-1A0A48C0",
    "codes": ["PREFIX-1A0A48C0"],
    "currency": "EUR",
    "email": "sarah@example.com",
    "order_ref": "order-1001",
    "message_id": f"msg_{_ID.hex}",
    "event_type": "code.redeemed",
    "attributes": {"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
    "attribute_names": ["card_id", "recipient_name", "occasion"],
    "codes_remaining": 49823,
}


@dataclass(frozen=True, slots=True)
class EventType:
    """The description of a type: `example` is an event's data, `bodies` what a receiver gets in each format."""

    name: str
    description: str
    is_operational: bool
    schema: dict[str, Any]
    example: dict[str, Any]
    bodies: dict[str, dict[str, Any]]


def event_types(owner: Owner) -> list[EventType]:
    """Return the types that an endpoint of the owner may subscribe to, by name."""
    names = PROGRAM_TYPES if owner.partner_id is None else PARTNER_TYPES
    return [_describe(name, owner) for name in sorted(names)]


def event_type(owner: Owner, name: str) -> EventType | None:
    """Return one of these types."""
    names = PROGRAM_TYPES if owner.partner_id is None else PARTNER_TYPES
    return _describe(name, owner) if name in names else None


def example_of(model: type[EventData]) -> dict[str, Any]:
    """Return data that the model accepts."""
    schema = model.model_json_schema()
    found: dict[str, Any] = _example("", schema, schema.get("$defs", {}))
    # As in live mode, where the member is absent.
    found.pop("is_test", None)
    return found


def _describe(name: str, owner: Owner) -> EventType:
    if name == TEST:
        members = members_of_test(str(_ID), "CinematicCard", _MOMENT)
        data = {each: members[each] for each in ("partner_id", "message")}
        schema: dict[str, Any] = {"type": "object", "properties": {each: {"type": "string"} for each in data}}
        description = "Sent on request, to try an endpoint."
        if is_test(owner.program_id):
            data["is_test"] = True
        bodies = _bodies(name, data, owner) | {"flat": members}
    else:
        model = MODELS[name]
        data, schema = example_of(model), model.model_json_schema()
        if is_test(owner.program_id):
            data["is_test"] = True
        description = (model.__doc__ or "").strip()
        bodies = _bodies(name, data, owner)
        if owner.partner_id is not None:
            data, schema = shown_to_partners(name, data), schema_for_partners(name, schema)
    return EventType(name, description, is_operational(name), schema, data, bodies)


def _bodies(name: str, data: dict[str, Any], owner: Owner) -> dict[str, dict[str, Any]]:
    source = MODELS[name].source if name in MODELS else "/mintwire/webhooks"
    event = IncomingEvent(
        event_id=str(_ID), source=source, type=name, program_id=_ID, partner_id=_ID, occurred_at=_MOMENT, data=data
    )
    return {each: _body(event, message_format(each, owner.partner_id)) for each in get_args(Format)}


def _body(event: IncomingEvent, form: str) -> dict[str, Any]:
    head, tail, _ = write_body(event, form, f"msg_{_ID.hex}")
    # Tests have no number, and flat bodies show none.
    has_number = bool(tail) and event.type != TEST
    body: dict[str, Any] = orjson.loads(numbered(form, head, _SEQUENCE, tail) if has_number else head + tail)
    return body


def _example(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if "$ref" in schema:
        return _example(name, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        chosen = next((branch for branch in branches if branch.get("type") != "null"), branches[0])
        return _example(name, chosen, definitions)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {each: _example(each, node, definitions) for each, node in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(name, schema.get("items", {}), definitions)]
    if kind == "string":
        return {"uuid": str(_ID), "date-time": "2026-03-16T20:15:00Z"}.get(schema.get("format", ""), name or "text")
    return {"integer": 1, "number": 1, "boolean": True}.get(kind or "")
