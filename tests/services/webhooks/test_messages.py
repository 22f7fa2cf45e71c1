"""Formats, what partners see, messages shown in full and redacted, the catalog, the signature debugger."""

import base64
import hmac
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # one call does not need the stubs

from services.webhooks.usecases.describe_events import example_of
from shared.events import catalogue
from shared.events.envelope import EventData
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Post, Receiver

BUYER = {"id": "c-1", "email": "sarah@example.com", "is_first_order": True}
MODELS = [model for models in catalogue.PUBLISHED.values() for model in models]


async def sent(
    service: Service, merchant: Merchant, receiver: Receiver, format_: str, *, by_program: bool = False
) -> Post:
    """Deliver one event in a format."""
    key = merchant.program_key if by_program else merchant.partner_key
    await service.endpoint(key, receiver.url, format=format_)
    await service.consume(code_redeemed(merchant, customer=BUYER))
    await service.settled(1)
    return receiver.posts[0]


async def test_the_flat_body_is_the_documented_one(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    post = await sent(service, merchant, receiver, "flat")
    assert post.body.decode() == (
        f'{{"event":"code.redeemed","partner_id":"{merchant.partner_id}","code":"ACME-1A0A48C0","card_id":"a1b2c3d4",'
        '"recipient_name":"Zoë","occasion":"mother","timestamp":"2026-03-16T20:15:00.000Z","codes_remaining":49823}'
    )
    assert post.headers["Content-Type"] == "application/json"


async def test_the_standard_body_has_type_timestamp_and_data(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    post = await sent(service, merchant, receiver, "standard")
    body = json.loads(post.body)
    assert list(body) == ["type", "timestamp", "sequence", "data"]
    assert (body["type"], body["timestamp"]) == ("code.redeemed", "2026-03-16T20:15:00.000Z")
    assert body["data"]["code"] == "ACME-1A0A48C0"


async def test_a_cloudevent_is_named_as_the_event_was(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    post = await sent(service, merchant, receiver, "cloudevents", by_program=True)
    body = json.loads(post.body)
    assert list(body) == ["specversion", "id", "source", "type", "time", "sequence", "datacontenttype", "data"]
    assert (body["specversion"], body["source"], body["type"]) == ("1.0", "/mintwire/redemption", "code.redeemed")
    assert post.headers["Content-Type"] == "application/cloudevents+json"
    assert body["data"]["customer"] == BUYER


@pytest.mark.parametrize("format_", ["standard", "cloudevents", "thin"])
async def test_partners_learn_nothing_of_customer_and_basket(
    service: Service, merchant: Merchant, receiver: Receiver, format_: str
) -> None:
    """Both get the same event in the same format, but not the same body."""
    program = await service.endpoint(merchant.program_key, receiver.url, format=format_)
    post = await sent(service, merchant, receiver, format_)
    await service.settled(2)
    partner_sees = await service.send("GET", f"/messages/{post.id}", merchant.partner_key)
    program_sees = await service.send("GET", f"/messages/{post.id}", merchant.program_key)
    assert "customer" not in partner_sees.data["data"]
    assert program_sees.data["data"]["customer"] == BUYER
    assert partner_sees.data["data"]["attributes"] == program_sees.data["data"]["attributes"]
    if format_ != "thin":
        assert sorted(b"sarah@example.com" in each.body for each in receiver.posts) == [False, True]
    assert program["format"] == format_


async def test_a_thin_message_says_what_to_fetch(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    post = await sent(service, merchant, receiver, "thin")
    body = json.loads(post.body)
    assert body == {
        "type": "code.redeemed",
        "timestamp": "2026-03-16T20:15:00.000Z",
        "sequence": 1,
        "data": {"id": post.id, "url": f"/v1/webhooks/messages/{post.id}"},
    }
    headers = {"X-Partner-Key": merchant.partner_key}
    async with service.http.get(body["data"]["url"], headers=headers) as response:
        fetched = (await response.json())["data"]
    assert (fetched["id"], fetched["data"]["code"]) == (post.id, "ACME-1A0A48C0")


@pytest.mark.parametrize("format_", ["flat", "standard", "thin", "cloudevents"])
async def test_the_test_event_comes_in_the_endpoints_format(
    service: Service, merchant: Merchant, receiver: Receiver, format_: str
) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url, format=format_)
    tried = await service.send("POST", f"/endpoints/{made['id']}/test", merchant.partner_key)
    assert tried.data["outcome"] == "succeeded"
    receiver.posts[0].verify(made["secret"])
    body = json.loads(receiver.posts[0].body)
    assert body.get("event", body.get("type")) == "test"
    shown = await service.send("GET", f"/messages/{receiver.posts[0].id}", merchant.partner_key)
    assert "CinematicCard" in shown.data["data"]["message"]


async def test_bytes_are_sent_as_they_were_signed(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """The order of members, non-ASCII letters, and numbers that a float cannot hold must not change."""
    made = await service.endpoint(merchant.program_key, receiver.url, format="standard")
    await service.consume(
        code_redeemed(merchant, attributes={"z": "\u2028é漢", "a": "1e400"}, times_redeemed=2**53 + 1)
    )
    await service.settled(1)
    receiver.posts[0].verify(made["secret"])
    assert b"9007199254740993" in receiver.posts[0].body
    assert "\u2028é漢".encode() in receiver.posts[0].body


async def test_a_redacted_message_is_gone_and_what_waits_of_it_is_canceled(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    delivery = (await service.send("GET", "/deliveries", merchant.partner_key)).data[0]
    path = f"/messages/{delivery['message_id']}"
    forbidden = await service.send("DELETE", f"{path}/content", merchant.partner_key)
    assert (forbidden.status, forbidden.body["code"]) == (403, "scope_missing")
    for _ in range(2):
        redacted = await service.send("DELETE", f"{path}/content", merchant.program_key)
        assert (redacted.status, redacted.data["data"]) == (200, None)
        assert redacted.data["redacted_at"] is not None
    shown = (await service.send("GET", f"/deliveries/{delivery['id']}", merchant.partner_key)).data
    assert (shown["status"], shown["body"]) == ("canceled", None)
    assert await service.query("SELECT * FROM webhooks.messages WHERE body IS NOT NULL") == []


async def test_a_message_that_is_being_sent_is_not_redacted(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    release = receiver.hang()
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    delivery = (await service.send("GET", "/deliveries", merchant.partner_key)).data[0]
    path = f"/messages/{delivery['message_id']}/content"
    refused = await service.send("DELETE", path, merchant.program_key)
    assert (refused.status, refused.body["code"]) == (409, "delivery_under_way")
    release.set()
    await service.settled(1)
    assert (await service.send("DELETE", path, merchant.program_key)).status == 200


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.type))
def test_every_type_has_an_example_that_its_schema_takes(model: type[EventData]) -> None:
    example = example_of(model)
    Draft202012Validator(model.model_json_schema()).validate(example)
    model.model_validate_json(json.dumps(example))


async def test_the_catalogue_lists_what_can_be_subscribed(service: Service, merchant: Merchant) -> None:
    for key in (merchant.partner_key, merchant.program_key):
        listed = await service.send("GET", "/event-types", key)
        names = [each["name"] for each in listed.data]
        assert {"code.redeemed", "test", "webhook.delivery_dead"} <= set(names)
        made = await service.send("POST", "/endpoints", key, {"url": "https://example.com/", "event_types": names})
        assert made.status == 201
        redeemed = next(each for each in listed.data if each["name"] == "code.redeemed")
        assert list(redeemed["bodies"]) == ["flat", "standard", "thin", "cloudevents"]
        assert redeemed["bodies"]["flat"]["recipient_name"] == "Sarah"
        assert ("customer" in redeemed["bodies"]["standard"]["data"]) == (key == merchant.program_key)
        one = await service.send("GET", "/event-types/code.redeemed", key)
        assert one.data == redeemed
    assert (await service.send("GET", "/event-types/no.such", merchant.partner_key)).status == 404


GOOD: dict[str, Any] = {
    "headers": {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    "body": '{"test": 2432232314}',
    "key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "tolerance_seconds": 10 * 365 * 86_400,
}


def with_headers(**changes: str | None) -> dict[str, Any]:
    headers = {**GOOD["headers"], **{f"webhook-{name}": value for name, value in changes.items()}}
    return {"headers": {name: value for name, value in headers.items() if value is not None}}


def signed_with_text() -> str:
    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    return "v1," + base64.b64encode(hmac.digest(GOOD["key"].encode(), content, "sha256")).decode()


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({}, []),
        ({"headers": {name.upper(): value for name, value in GOOD["headers"].items()}}, []),
        (with_headers(signature="v1,AAAA v2,zzz " + GOOD["headers"]["webhook-signature"]), []),
        (with_headers(id=None), ["header_missing"]),
        (with_headers(timestamp="soon"), ["timestamp_malformed"]),
        ({"tolerance_seconds": 300}, ["timestamp_too_old"]),
        (with_headers(timestamp="99999999999"), ["timestamp_too_new", "no_match"]),
        (with_headers(signature="g0hM9SsE"), ["signature_malformed"]),
        (with_headers(signature=GOOD["headers"]["webhook-signature"].replace("v1", "v1a")), ["no_signature_for_key"]),
        ({"body": '{"test":2432232314}'}, ["body_changed"]),
        ({"body": '{"test": 2432232314}\n'}, ["body_changed"]),
        ({"body": '{"test": 1}'}, ["no_match"]),
        ({"body": "[" * 20_000}, ["no_match"]),
        ({"body": '"\\ud800"'}, ["no_match"]),
        (with_headers(signature="v1,AAAA " * 500), ["no_match"]),
        ({"key": "whsec_" + base64.b64encode(b"x" * 24).decode()}, ["no_match"]),
        (with_headers(signature=signed_with_text()), ["secret_not_decoded"]),
    ],
)
async def test_the_debugger_says_what_is_wrong(
    service: Service, merchant: Merchant, change: dict[str, Any], problems: list[str]
) -> None:
    answer = await service.send("POST", "/verify-signature", merchant.partner_key, {**GOOD, **change})
    assert answer.status == 200, answer.body
    assert answer.data["valid"] == (not problems)
    assert [each["code"] for each in answer.data["problems"]] == problems
    assert (answer.data["verified_by"] == "given") == (problems in ([], ["timestamp_too_old"]))


async def test_the_debugger_verifies_with_the_keys_of_an_endpoint(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url, signing="ed25519")
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    post = receiver.posts[0]
    sent_headers = {name: value for name, value in post.headers.items() if name.lower().startswith("webhook-")}
    body = {"headers": sent_headers, "body": post.body.decode()}
    for key in ({"endpoint_id": made["id"]}, {"key": made["public_key"]}):
        answer = await service.send("POST", "/verify-signature", merchant.partner_key, {**body, **key})
        assert (answer.data["valid"], answer.data["problems"]) == (True, [])
    for members in ({}, {"key": "x", "endpoint_id": str(new_id())}, {"key": "nonsense"}):
        refused = await service.send("POST", "/verify-signature", merchant.partner_key, {**body, **members})
        assert (refused.status, list(refused.body["errors"])) == (422, ["key"])
