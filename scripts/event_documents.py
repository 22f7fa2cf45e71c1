"""Generates the JSON Schema of every published event and the AsyncAPI document from the models and the topology."""

import inspect
import json
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.event_examples import envelope_example
from shared.broker.topology import BINDINGS, VHOST
from shared.events.catalogue import PUBLISHED
from shared.events.envelope import CONTENT_TYPE, EventData

ROOT = Path(__file__).resolve().parents[1]
EVENTS_FOLDER = ROOT / "docs" / "events"
ASYNCAPI_FILE = ROOT / "docs" / "asyncapi.yaml"
_TEXT: Final = {"type": "string"}
_TRACE: Final = "The trace (W3C Trace Context) that"
_HEADER = "# Made by `python -m scripts.generate_docs` from shared/events and shared/broker/topology.py.\n"


def schema_name(model: type[EventData]) -> str:
    """Return the file name of a model's schema."""
    return f"{model.type}.v{model.version}.json"


def event_schemas() -> dict[str, str]:
    """Return the JSON Schema of the `data` of every published event: file name to content.

    Our events are described as sent (with every member), a checkout's as accepted.
    """
    return {
        schema_name(model): _json(_schema(exchange, model))
        for exchange, models in PUBLISHED.items()
        for model in models
    }


def asyncapi() -> str:
    """Return the AsyncAPI 3 document."""
    models = [(exchange, model) for exchange, published in PUBLISHED.items() for model in published]
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mintwire events",
            "version": project_version(),
            "description": (
                "CloudEvents 1.0 in structured JSON mode over AMQP 0-9-1. Events arrive at least once and in no "
                "guaranteed order: keep the ids you have seen. Ignore members that you do not know."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "development": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "pathname": f"/{VHOST}",
                "description": "The port of a local run is in .run/stack.json.",
            }
        },
        "channels": {model.type: _channel(exchange, model) for exchange, model in models},
        "operations": {model.type: _operation(exchange, model) for exchange, model in models},
        "components": {"messages": {_message_name(model): _message(exchange, model) for exchange, model in models}},
    }
    return _HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def project_version() -> str:
    """Return the version in pyproject.toml."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return version


def _schema(exchange: str, model: type[EventData]) -> dict[str, Any]:
    made = model.model_json_schema(mode="validation" if exchange == "checkout" else "serialization")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": model.schema_urn()}
    return {**head, **made}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _message_name(model: type[EventData]) -> str:
    return f"{model.type}.v{model.version}"


def _summary(model: type[EventData]) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


def _channel(exchange: str, model: type[EventData]) -> dict[str, Any]:
    queues = [
        binding.queue
        for binding in BINDINGS
        if binding.exchange == exchange and binding.routing_key in {"#", model.type}
    ]
    name = _message_name(model)
    return {
        "address": model.type,
        "description": f"Routing key on the exchange `{exchange}`. Our queues on it: {', '.join(queues) or 'none'}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": exchange,
                    "type": "topic",
                    "durable": True,
                    "autoDelete": False,
                    "vhost": VHOST,
                },
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operation(exchange: str, model: type[EventData]) -> dict[str, Any]:
    name = _message_name(model)
    return {
        "action": "receive" if exchange == "checkout" else "send",
        "channel": {"$ref": f"#/channels/{model.type}"},
        "summary": _summary(model),
        "messages": [{"$ref": f"#/channels/{model.type}/messages/{name}"}],
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}},
    }


def _traceparent(exchange: str) -> dict[str, Any]:
    """Return the attribute of the Distributed Tracing extension, for events that have or may have it."""
    if exchange == "checkout":
        return {"traceparent": {**_TEXT, "description": f"{_TRACE} the checkout belongs to; ignored if not valid."}}
    if exchange == "redemption":
        text = f"{_TRACE} the checkout's event or request named that caused this event, if any."
        return {"traceparent": {**_TEXT, "description": text}}
    return {}


def _headers(exchange: str) -> dict[str, Any]:
    """Return the AMQP headers that we read."""
    if exchange != "checkout":
        return {}
    text = f"{_TRACE} the checkout belongs to, if the event has no valid attribute of this name."
    return {"headers": {"type": "object", "properties": {"traceparent": {**_TEXT, "description": text}}}}


def _message(exchange: str, model: type[EventData]) -> dict[str, Any]:
    # A checkout may name a schema of its own; ours always name ours.
    data_schema = {"type": "string"} if exchange == "checkout" else {"const": model.schema_urn()}
    text = {"type": "string", "minLength": 1, "maxLength": 255}
    return {
        "name": model.type,
        "title": model.__name__,
        "summary": _summary(model),
        "contentType": CONTENT_TYPE,
        **_headers(exchange),
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {**text, "description": "Unique per source; the same id again is the same event."},
                "source": {"type": "string", "minLength": 1, "maxLength": 2048},
                "type": {"const": model.type},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"const": "application/json"},
                "dataschema": data_schema,
                **_traceparent(exchange),
                "data": {"$ref": f"./events/{schema_name(model)}"},
            },
        },
        "bindings": {"amqp": {"messageType": model.type, "bindingVersion": "0.3.0"}},
        "examples": [{"name": model.type, "payload": envelope_example(model, _schema(exchange, model))}],
    }
