"""The `webhooks` section of the API document: what receivers get, by event type and format."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.event_types import TEST
from services.webhooks.usecases.describe_events import MODELS, EventType, event_types
from shared.known_ids import NOBODY
from shared.web import Webhooks

_PROGRAM: Final = Owner(NOBODY, None)
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "description": "The value of `webhook-sequence`; absent without it."}
_SORTABLE_NUMBER: Final = {
    "type": "string",
    "pattern": "^[0-9]{19}$",
    "description": "The value of `webhook-sequence`, zero-padded so that it sorts as text; absent without it.",
}
_TIME: Final = {"type": "string", "format": "date-time"}
_HEADERS: Final = (
    ("webhook-id", "The id of the message, the same in every attempt and replay.", _TEXT),
    ("webhook-timestamp", "The time of this attempt, in seconds since 1970.", {"type": "integer"}),
    ("webhook-signature", "Space-separated signatures of id.timestamp.body: `v1,` or `v1a,` and base64.", _TEXT),
    (
        "traceparent",
        "The W3C trace context that caused the message, if known; the same in every attempt.",
        _TEXT,
    ),
    ("webhook-sequence", "The number of the message among those of its owner: newer messages have higher ones.", _TEXT),
)
_OPTIONAL: Final = frozenset({"webhook-sequence", "traceparent"})
_RESPONSES: Final = {
    "2XX": {"description": "The message was accepted."},
    "410": {"description": "The receiver is gone: the endpoint is disabled."},
    "429": {
        "description": "The receiver is overloaded (also 502, 503 and 504): nothing more is sent before Retry-After.",
        "headers": {"Retry-After": {"description": "Seconds, or a date.", "schema": _TEXT}},
    },
    "default": {"description": "The attempt failed and is retried by the endpoint's schedule."},
}


def webhooks() -> Webhooks:
    """Describe every event type."""
    refs, document = models_json_schema(
        [(model, "serialization") for model in MODELS.values()], ref_template="#/components/schemas/{model}"
    )
    data = {model.type: dict(refs[model, "serialization"]) for model in MODELS.values()}
    found = event_types(_PROGRAM)
    return Webhooks(
        {each.name: {"post": _operation(each, data.get(each.name, {"type": "object"}))} for each in found},
        document.get("$defs", {}),
    )


def _operation(described: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
    bodies = described.bodies
    plain = {
        "schema": {"anyOf": [_flat(described), _standard(data), _thin()]},
        "examples": {name: {"value": bodies[name]} for name in ("flat", "standard", "thin")},
    }
    cloudevents = {"schema": _cloudevent(data), "example": bodies["cloudevents"]}
    return {
        "operationId": f"webhooks_send_{described.name.replace('.', '_')}",
        "summary": described.description.partition("\n")[0],
        "tags": ["sent by Mintwire"],
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": name not in _OPTIONAL,
                "description": text,
                "schema": schema,
            }
            for name, text, schema in _HEADERS
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": plain, "application/cloudevents+json": cloudevents},
        },
        "responses": _RESPONSES,
    }


def _flat(described: EventType) -> dict[str, Any]:
    members = list(described.bodies["flat"])
    return {
        "title": "flat",
        "type": "object",
        "required": members if described.name in {TEST, "code.redeemed"} else ["event", "timestamp"],
        "properties": {"event": {"const": described.name}, "timestamp": _TIME},
    }


def _standard(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": "standard",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {"type": _TEXT, "timestamp": _TIME, "sequence": _NUMBER, "data": data},
    }


def _thin() -> dict[str, Any]:
    return {
        "title": "thin",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": _TEXT,
            "timestamp": _TIME,
            "sequence": _NUMBER,
            "data": {"type": "object", "required": ["id", "url"], "properties": {"id": _TEXT, "url": _TEXT}},
        },
    }


def _cloudevent(data: Mapping[str, Any]) -> dict[str, Any]:
    members = ["specversion", "id", "source", "type", "time", "datacontenttype", "data"]
    return {
        "type": "object",
        "required": members,
        "properties": dict.fromkeys([*members[:-1], "traceparent"], _TEXT)
        | {"time": _TIME, "sequence": _SORTABLE_NUMBER, "data": data},
    }
