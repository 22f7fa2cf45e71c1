"""What partners may see of events: every type, format and member, and every route that shows them."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, get_args

import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # one call does not need the stubs

from services.webhooks.domain.bodies import message_format
from services.webhooks.domain.endpoints import Format, Owner
from services.webhooks.domain.event_types import TEST
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.domain.partner_view import SHOWN
from services.webhooks.usecases.describe_events import MODELS, event_type, example_of
from services.webhooks.usecases.write_bodies import write_body
from shared.events.envelope import OutboxEvent, envelope_head
from shared.ids import new_id
from tests.servers import ROOT
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver

NOW = datetime(2026, 3, 16, 20, 15, tzinfo=UTC)
FORMATS: tuple[Format, ...] = get_args(Format)
PARTNER_MODELS = {name: model for name, model in MODELS.items() if "partner_id" in model.model_fields}
# Members that partners must not see. A new member of an event belongs here or on the list of what partners see.
HIDDEN = {
    "code.redeemed": {
        *(
            "customer",
            "order",
            "attribute_names",
            "attributes_left_out",
            "details_left_out",
            "is_self_referral",
            "coupon_times_redeemed",
            "coupon_times_redeemed_version",
        ),
    },
    "code.redemption_rejected": {"codes", "detail"},
    "code.redemption_skipped": {"detail", "blocked_by"},
    "code.redemption_voided": {"customer_id", "reason", "coupon_times_redeemed", "coupon_times_redeemed_version"},
}
# The documented example has exactly these.
SHORT = {"partner_id", "code", "codes_remaining", "attributes"}
CHOSEN = ("card_id", "recipient_name", "occasion")
CANARY = "canary"


class Canaries:
    """Data of a model in which every value is unique, with an unknown member at each level."""

    def __init__(self, type_: str) -> None:
        self.by_path: dict[tuple[str, ...], str] = {}
        self._numbers = count(10_000_001)
        schema = MODELS[type_].model_json_schema()
        self.data = self._object((), schema, schema.get("$defs", {}))

    def _object(self, path: tuple[str, ...], schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
        found = {
            name: self._value((*path, name), node, definitions) for name, node in schema.get("properties", {}).items()
        }
        if path[-1:] == ("attributes",):
            found |= {name: self._text((*path, name)) for name in (*CHOSEN, "not_chosen")}
        elif path[-1:] == ("attribute_names",):
            return found
        found["new_text"] = self._text((*path, "new_text"))
        found["new_object"] = {"inside": self._text((*path, "new_object"))}
        found["new_list"] = [{"inside": self._text((*path, "new_list"))}]
        return found

    def _value(self, path: tuple[str, ...], node: dict[str, Any], definitions: dict[str, Any]) -> Any:
        if path == ("attribute_names",):
            return list(CHOSEN)
        if "$ref" in node:
            return self._value(path, definitions[node["$ref"].rpartition("/")[2]], definitions)
        if "anyOf" in node:
            node = next(each for each in node["anyOf"] if each.get("type") != "null")
            return self._value(path, node, definitions)
        match node.get("type"):
            case "object":
                return self._object(path, node, definitions)
            case "array":
                return [self._text(path)]
            case "integer":
                number = next(self._numbers)
                self.by_path[path] = str(number)
                return number
            case "boolean":
                return True
            case _:
                return self._text(path)

    def _text(self, path: tuple[str, ...]) -> str:
        self.by_path[path] = f"{CANARY}-{next(self._numbers)}"
        return self.by_path[path]

    def seen_in(self, raw: bytes) -> set[tuple[str, ...]]:
        """Return the paths of the values that appear in some bytes."""
        return {path for path, canary in self.by_path.items() if canary.encode() in raw}


def written(type_: str, data: dict[str, Any], kept: str) -> bytes:
    """Return everything stored of an event in a form."""
    event = IncomingEvent(
        event_id="id",
        source="/mintwire/test",
        type=type_,
        program_id=new_id(),
        partner_id=new_id(),
        occurred_at=NOW,
        data=data,
    )
    return b"".join(part or b"" for part in write_body(event, kept, "msg_1"))


def expected(type_: str, canaries: Canaries, format_: str) -> Iterator[tuple[str, ...]]:
    for path in canaries.by_path:
        is_new = any(step.startswith("new_") for step in path) or path[-1] == "not_chosen"
        is_short = type_ == "code.redeemed" and format_ == "flat"
        if not is_new and path[0] not in (HIDDEN.get(type_, set())) and (not is_short or path[0] in SHORT):
            yield path


def test_every_type_that_says_whose_it_is_has_a_list() -> None:
    """A new type without a list would silently never reach partners."""
    assert set(SHOWN) == {*PARTNER_MODELS, TEST}


def test_the_guide_names_what_partners_do_not_see() -> None:
    guide = (ROOT / "docs/guides/webhook-receiver.md").read_text("utf-8")
    section = guide.partition("## What partners see\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \| ((?:`[a-z_]+`(?:, )?)+)", section, re.MULTILINE)
    assert {type_: set(re.findall("`([a-z_]+)`", members)) for type_, members in rows} == HIDDEN


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("type_", sorted(PARTNER_MODELS))
def test_partners_see_what_is_listed_and_nothing_else(type_: str, format_: Format) -> None:
    """A member added to an event, at any depth, stays hidden until it is listed; so do other attributes."""
    canaries = Canaries(type_)
    raw = written(type_, canaries.data, message_format(format_, new_id()))
    assert canaries.seen_in(raw) == set(expected(type_, canaries, format_))
    assert {name for name in MODELS[type_].model_fields if name not in SHOWN[type_]} == HIDDEN.get(type_, set())


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("type_", sorted(MODELS))
def test_programs_see_all_of_their_events(type_: str, format_: Format) -> None:
    canaries = Canaries(type_)
    seen = canaries.seen_in(written(type_, canaries.data, message_format(format_, None)))
    if type_ == "code.redeemed" and format_ == "flat":
        assert {path[0] for path in seen} == SHORT
    else:
        assert seen == set(canaries.by_path)


def test_a_list_says_nothing_of_values_that_become_objects() -> None:
    """A text that becomes an object in a later version was never reviewed by the author of the list."""
    raw = written("quota.low", {"threshold": {"inside": CANARY}, "codes_remaining": [[CANARY]]}, "standard-partner")
    assert CANARY.encode() not in raw


@pytest.mark.parametrize("type_", sorted(PARTNER_MODELS))
def test_a_partner_s_example_and_schema_fit_what_it_gets(type_: str) -> None:
    """A partner would build against members that it never receives."""
    described = event_type(Owner(new_id(), new_id()), type_)
    assert described is not None
    for data in (described.example, described.bodies["standard"]["data"]):
        Draft202012Validator({**described.schema, "additionalProperties": False}).validate(data)
    assert set(described.schema["properties"]) == set(SHOWN[type_])


def event_of(type_: str, merchant: Merchant) -> OutboxEvent:
    """Return an event in which everything that is not the partner's is a canary."""
    data = example_of(MODELS[type_])
    data |= {"program_id": str(merchant.program_id), "partner_id": str(merchant.partner_id), "new_text": CANARY}
    hidden: dict[str, Any] = {
        "customer": {"id": CANARY, "email": f"{CANARY}@example.com", "is_first_order": None},
        "order": {"currency": "EUR", "subtotal": 1, "items": [{"product_id": CANARY}]},
        **dict.fromkeys(("coupon_times_redeemed", "coupon_times_redeemed_version"), 987_654_321),
        "codes": [CANARY],
        "detail": CANARY,
        "customer_id": CANARY,
        "reason": CANARY,
    }
    data |= {name: hidden[name] for name in HIDDEN.get(type_, set()) & hidden.keys()}
    if "attributes" in data:
        data["attributes"]["not_chosen"] = CANARY
    if "discount" in data:
        data["discount"]["new_text"] = CANARY
    event_id = new_id()
    body = envelope_head(MODELS[type_], event_id, NOW) + orjson.dumps(data) + b"}"
    return OutboxEvent(event_id, type_, body)


async def test_no_way_that_a_partner_looks_shows_more(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """Endpoints in every format, a listener, messages and deliveries by API, resends, replays of each kind, tests."""
    key, types = merchant.partner_key, ["*", "webhook.*"]
    made = [await service.endpoint(key, receiver.url, event_types=types, format=format_) for format_ in FORMATS]
    listener = (await service.send("POST", "/listeners", key, {"event_types": types, "format": "standard"})).data
    events = [event_of(type_, merchant) for type_ in sorted(PARTNER_MODELS)]
    assert await service.consume(*events) == [None] * len(events)
    await service.settled(len(events) * len(FORMATS))
    seen = [post.body for post in receiver.posts]
    assert len(seen) == len(events) * len(FORMATS)
    handed = []
    for _ in range(3):
        question = {"wait_seconds": 0, "limit": 10}
        handed += (await service.send("POST", f"/listeners/{listener['id']}/next", key, question)).data
    assert len(handed) == len(events)
    messages = await service.pages("/messages", key)
    assert len(messages) == len(events)
    shown = [(await service.send("GET", f"/messages/{each['id']}", key)).body for each in messages]
    shown += [(await service.send("GET", f"/deliveries/{each['id']}", key)).body for each in await deliveries(service)]
    for each in messages:
        assert (await service.send("POST", f"/messages/{each['id']}/resend", key)).status == 202
    since = {"since": "2020-01-01T00:00:00Z"}
    for endpoint in made:
        for which in ("all", "missing"):
            body = {"endpoint_id": endpoint["id"], "which": which, **since}
            assert (await service.send("POST", "/replays", key, body)).status == 202
        for type_ in sorted(PARTNER_MODELS):
            tried = await service.send("POST", f"/endpoints/{endpoint['id']}/test", key, {"event_type": type_})
            assert tried.data["outcome"] == "succeeded"
    await service.attempted(len(events) * len(FORMATS) * 2 + len(PARTNER_MODELS) * len(FORMATS))
    seen += [post.body for post in receiver.posts]
    for raw in (*seen, *(json.dumps(each).encode() for each in (*handed, *shown))):
        assert CANARY.encode() not in raw
        assert b"987654321" not in raw


async def deliveries(service: Service) -> list[dict[str, Any]]:
    return await service.query(
        "SELECT d.id FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id"
        " WHERE e.listens_until IS NULL"
    )


async def test_programs_see_by_api_what_their_partners_do_not(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Whatever forms a message has, the program is shown the most complete one."""
    for format_ in ("flat", "standard"):
        await service.endpoint(merchant.partner_key, receiver.url, event_types=["*"], format=format_)
    program = await service.endpoint(merchant.program_key, receiver.url, event_types=["*"], format="flat")
    for type_ in ("code.redemption_rejected", "code.redemption_voided"):
        receiver.posts.clear()
        await service.consume(event_of(type_, merchant))
        await service.settled(3)
        await service.query("DELETE FROM webhooks.deliveries")
        [post] = [each for each in receiver.posts if CANARY.encode() in each.body]
        post.verify(program["secret"])
        shown = await service.send("GET", f"/messages/{post.id}", merchant.program_key)
        assert all(CANARY in str(shown.data["data"][name]) for name in HIDDEN[type_] if "times" not in name)


async def test_the_flat_body_of_a_redeemed_code_is_the_documented_one_for_both(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    for key in (merchant.partner_key, merchant.program_key):
        await service.endpoint(key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(2)
    documented = (
        f'{{"event":"code.redeemed","partner_id":"{merchant.partner_id}","code":"ACME-1A0A48C0","card_id":"a1b2c3d4",'
        '"recipient_name":"Zoë","occasion":"mother","timestamp":"2026-03-16T20:15:00.000Z","codes_remaining":49823}'
    )
    assert [post.body.decode() for post in receiver.posts] == [documented] * 2


async def test_what_a_program_publishes_is_shown_whole_to_the_partner_that_it_names(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Whatever its members are called: the program has written them for this partner."""
    for format_ in FORMATS:
        await service.endpoint(merchant.partner_key, receiver.url, event_types=["custom.*"], format=format_)
    payload = {"customer": {"id": "c-1"}, "codes": ["A"], "reason": "spring", "detail": [{"deep": 1}]}
    body = {"event_type": "custom.sent", "payload": payload, "partner_id": str(merchant.partner_id)}
    made = await service.send("POST", "/messages", merchant.program_key, body)
    await service.settled(len(FORMATS))
    shown = await service.send("GET", f"/messages/{made.data['id']}", merchant.partner_key)
    assert shown.data["data"] == payload
    for raw in (post.body for post in receiver.posts):
        found = json.loads(raw)
        assert "url" in found.get("data", {}) or payload.items() <= found.get("data", found).items()


async def test_an_event_of_a_type_without_a_list_reaches_no_partner(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Such as one from a newer version of another service."""
    for key in (merchant.partner_key, merchant.program_key):
        await service.endpoint(key, receiver.url, event_types=["*"])
    listener = (await service.send("POST", "/listeners", merchant.partner_key, {"event_types": ["*"]})).data
    event = code_redeemed(merchant)
    new = OutboxEvent(event.id, event.type, event.body.replace(b'"code.redeemed"', b'"code.admired"', 1))
    assert await service.consume(new) == [None]
    await service.settled(1)
    await service.stays_idle()
    assert len(receiver.posts) == 1
    question = {"wait_seconds": 0}
    handed = await service.send("POST", f"/listeners/{listener['id']}/next", merchant.partner_key, question)
    assert handed.data == []
    assert (await service.send("GET", "/messages", merchant.partner_key)).data == []
