"""The committed documents say what the code does; a published event version may only gain optional members."""

import copy
import json
import shutil
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # one call does not need the stubs
import openapi_spec_validator
import pytest
import yaml

from scripts import api_documents, event_documents, generate_docs
from scripts.api_documents import OPENAPI_FOLDER, SERVICES
from scripts.compatibility import breaks
from scripts.event_documents import ASYNCAPI_FILE, EVENTS_FOLDER, asyncapi
from shared.events.catalogue import PUBLISHED
from shared.events.envelope import CONTENT_TYPE, EventData, decode_data, decode_envelope

# Made once for all tests here.
event_schemas = cache(event_documents.event_schemas)
openapi_documents = cache(api_documents.openapi_documents)


@cache
def committed_asyncapi() -> Any:
    return yaml.safe_load(ASYNCAPI_FILE.read_text("utf-8"))


def test_every_event_has_its_committed_schema_and_no_schema_is_left_over() -> None:
    assert {path.name for path in EVENTS_FOLDER.glob("*.json")} == set(event_schemas())


@pytest.mark.parametrize("name", event_schemas())
def test_a_published_event_version_breaks_no_receiver(name: str) -> None:
    """Receivers were built against the committed file: what they rely on stays, whatever is added beside it."""
    committed = (EVENTS_FOLDER / name).read_text("utf-8")
    assert breaks(json.loads(committed), json.loads(event_schemas()[name])) == []
    assert event_schemas()[name] == committed, "run: python -m scripts.generate_docs"


BEFORE: dict[str, Any] = {
    "$defs": {"Part": {"properties": {"a": {"type": "integer", "title": "A"}}, "required": ["a"], "type": "object"}},
    "properties": {
        "part": {"anyOf": [{"$ref": "#/$defs/Part"}, {"type": "null"}]},
        "reason": {"enum": ["x"], "type": "string"},
    },
    "required": ["part", "reason"],
    "type": "object",
}


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("properties.more", {"type": "string"}, None),
        ("properties.reason.enum", ["x", "y"], None),
        ("$defs.Part.properties.b", {"type": "string"}, None),
        ("$defs.Part.properties.a.title", "Other words", None),
        ("properties.reason.enum", ["y"], "data.reason: x removed"),
        ("properties.reason.type", "integer", "data.reason.type: changed"),
        ("properties.reason.maxLength", 5, "data.reason.maxLength: changed"),
        ("properties", {"reason": BEFORE["properties"]["reason"]}, "data.part: removed"),
        ("required", ["part", "reason", "more"], "data.more: required"),
        ("required", ["part"], "data.reason: no longer required"),
        ("$defs.Part.required", ["a", "b"], "data.part.anyOf[0].b: required"),
        ("$defs.Part.properties", {}, "data.part.anyOf[0].a: removed"),
        ("properties.part.anyOf", [{"$ref": "#/$defs/Part"}], "data.part.anyOf: changed"),
    ],
)
def test_optional_members_may_be_added_and_nothing_else_may_change(path: str, value: Any, fault: str | None) -> None:
    after = copy.deepcopy(BEFORE)
    *parents, name = path.split(".")
    target = after
    for parent in parents:
        target = target[parent]
    target[name] = value
    assert breaks(BEFORE, after) == ([] if fault is None else [fault])


@pytest.mark.parametrize("name", event_schemas())
def test_the_schemas_are_json_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(event_schemas()[name]))


def test_the_asyncapi_document_is_up_to_date() -> None:
    assert asyncapi() == ASYNCAPI_FILE.read_text("utf-8"), "run: python -m scripts.generate_docs"


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load(ASYNCAPI_FILE.read_text("utf-8"))
    references = list(_references(document))
    assert references
    for reference in references:
        file, _, pointer = reference.partition("#")
        if file:
            assert (ASYNCAPI_FILE.parent / file).is_file(), reference
        target = document
        for part in pointer.split("/")[1:]:
            target = target[part]


def test_the_asyncapi_document_describes_each_event_once_from_channel_to_message() -> None:
    """The rules of AsyncAPI 3.0 for what the document uses; the references themselves are followed above."""
    document = yaml.safe_load(ASYNCAPI_FILE.read_text("utf-8"))
    assert (document["asyncapi"], document["defaultContentType"]) == ("3.0.0", CONTENT_TYPE)
    assert {"title", "version"} <= set(document["info"])
    assert all({"host", "protocol"} <= set(server) for server in document["servers"].values())
    published = {model.type: (exchange, model) for exchange, models in PUBLISHED.items() for model in models}
    assert set(document["channels"]) == set(document["operations"]) == set(published)
    messages = document["components"]["messages"]
    assert set(messages) == {f"{model.type}.v{model.version}" for _, model in published.values()}
    for type_, (exchange, model) in published.items():
        name = f"{type_}.v{model.version}"
        channel, operation = document["channels"][type_], document["operations"][type_]
        assert channel["address"] == type_
        assert channel["messages"] == {name: {"$ref": f"#/components/messages/{name}"}}
        assert channel["bindings"]["amqp"]["exchange"]["name"] == exchange
        assert operation["action"] == ("receive" if exchange == "checkout" else "send")
        assert operation["channel"] == {"$ref": f"#/channels/{type_}"}
        assert operation["messages"] == [{"$ref": f"#/channels/{type_}/messages/{name}"}]
        assert messages[name]["summary"], name
        assert messages[name]["payload"]["properties"]["data"] == {"$ref": f"./events/{name}.json"}


@pytest.mark.parametrize(
    ("exchange", "model"),
    [(exchange, model) for exchange, models in PUBLISHED.items() for model in models],
    ids=[model.type for models in PUBLISHED.values() for model in models],
)
def test_every_event_has_an_example_that_its_schemas_and_its_model_accept(
    exchange: str, model: type[EventData]
) -> None:
    message = copy.deepcopy(committed_asyncapi()["components"]["messages"][f"{model.type}.v{model.version}"])
    [example] = message["examples"]
    event = example["payload"]
    envelope_schema = message["payload"]
    envelope_schema["properties"]["data"] = json.loads(event_schemas()[f"{model.type}.v{model.version}.json"])
    validator = jsonschema.Draft202012Validator(
        envelope_schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.validate(event)
    envelope = decode_envelope(json.dumps(event).encode())
    read = decode_data(envelope, model)
    # In live mode, which the examples are of, this member is absent.
    shown = set(type(read).model_fields) - {"is_test"}
    assert set(event["data"]) == shown, "An example shows every member."
    if exchange != "checkout":
        assert json.loads(read.to_event(uuid.UUID(event["id"]), envelope.time).body) == event


@pytest.mark.parametrize("service", SERVICES)
def test_the_openapi_document_is_up_to_date_and_valid(service: str) -> None:
    path = OPENAPI_FOLDER / f"{service}.json"
    text = path.read_text("utf-8")
    assert openapi_documents()[path] == text, "run: python -m scripts.generate_docs"
    openapi_spec_validator.validate(json.loads(text))


@pytest.mark.parametrize("service", SERVICES)
def test_every_moment_in_the_openapi_documents_is_a_date_time(service: str) -> None:
    """A client that is generated from the document reads all times as times, not some of them as plain texts."""
    schemas = json.loads(openapi_documents()[OPENAPI_FOLDER / f"{service}.json"])["components"]["schemas"]
    moments = {
        f"{schema}.{name}": json.dumps(member)
        for schema, parts in schemas.items()
        for name, member in parts.get("properties", {}).items()
        if name.endswith(("_at", "At"))
    }
    assert moments
    assert not [place for place, member in moments.items() if '"format": "date-time"' not in member]


def test_the_openapi_documents_name_the_trace_where_events_carry_it_on_and_nowhere_else() -> None:
    named = set()
    for service in SERVICES:
        paths = json.loads((OPENAPI_FOLDER / f"{service}.json").read_text("utf-8"))["paths"]
        for path, operations in paths.items():
            for method, operation in operations.items():
                if any(parameter["name"] == "traceparent" for parameter in operation.get("parameters", ())):
                    named.add(f"{method} {path}")
    assert named == {
        "post /v1/redemptions",
        "post /v1/redemptions/{redemption_id}/void",
        "post /v1/orders/{order_ref}/void",
        "post /v1/webhooks/messages",
        "put /v1/coupons",
        "put /v1/promotion-codes",
    }


def test_the_documents_say_that_webhooks_carry_the_trace() -> None:
    sent = json.loads((OPENAPI_FOLDER / "webhooks.json").read_text("utf-8"))["webhooks"]
    assert sent
    for item in sent.values():
        [header] = [each for each in item["post"]["parameters"] if each["name"] == "traceparent"]
        assert (header["in"], header["required"]) == ("header", False)
        body = item["post"]["requestBody"]["content"]["application/cloudevents+json"]["schema"]
        assert "traceparent" in body["properties"]
        assert "traceparent" not in body["required"]


def test_the_asyncapi_document_names_the_trace_where_events_have_it() -> None:
    messages = yaml.safe_load(ASYNCAPI_FILE.read_text("utf-8"))["components"]["messages"]
    for exchange, models in PUBLISHED.items():
        for model in models:
            message = messages[f"{model.type}.v{model.version}"]
            has_attribute = "traceparent" in message["payload"]["properties"]
            assert has_attribute == (exchange in {"checkout", "redemption"})
            assert ("traceparent" in message.get("headers", {}).get("properties", {})) == (exchange == "checkout")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


class TestTheGenerator:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        shutil.copytree(EVENTS_FOLDER, tmp_path / "events")
        monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
        monkeypatch.setattr(generate_docs, "EVENTS_FOLDER", tmp_path / "events")
        monkeypatch.setattr(generate_docs, "ASYNCAPI_FILE", tmp_path / "asyncapi.yaml")
        monkeypatch.setattr(generate_docs, "origin_maps", dict)
        monkeypatch.setattr(generate_docs, "openapi_documents", lambda: {tmp_path / "openapi/codes.json": "{}"})
        return tmp_path

    def test_writes_what_is_missing(self, folder: Path) -> None:
        (folder / "events" / "code.redeemed.v1.json").unlink()
        assert generate_docs.main() == 0
        assert (folder / "events" / "code.redeemed.v1.json").is_file()
        assert (folder / "asyncapi.yaml").is_file()
        assert (folder / "openapi" / "codes.json").is_file()

    def test_refuses_to_break_a_published_schema(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        planted = folder / "events" / "code.redeemed.v1.json"
        planted.write_text('{"properties": {"gone": {"type": "string"}}}\n')
        before = planted.read_text()
        assert generate_docs.main() == 1
        assert planted.read_text() == before
        told = capsys.readouterr().err
        assert "code.redeemed.v1.json is published and stays (" in told
        assert "data.gone: removed" in told

    def test_adds_what_breaks_nobody(self, folder: Path) -> None:
        planted = folder / "events" / "code.redeemed.v1.json"
        schema = json.loads(planted.read_text())
        del schema["properties"]["order_ref"]
        schema["required"].remove("order_ref")
        schema["properties"]["order"]["description"] = "Other words."
        current = planted.read_text()
        schema["required"].append("order_ref")
        planted.write_text(json.dumps(schema))
        assert generate_docs.main() == 0
        assert planted.read_text() == current
