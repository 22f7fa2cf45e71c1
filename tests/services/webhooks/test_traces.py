"""The trace that caused a message is sent with every attempt, whatever causes it and however late."""

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from multidict import CIMultiDict

from services.redemption.app import open_database
from services.webhooks.domain.schedule import STEPS
from shared.broker.messages import Received
from shared.events.envelope import OutboxEvent
from tests.databases import Database
from tests.services.redemption import merchant as shops
from tests.services.redemption.conftest import Decider
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
    until,
)
from tests.services.webhooks.receiver import Post, Receiver

PARENT: Final = "00f067aa0ba902b7"
GARBAGE: Final = [
    "",
    "00-x",
    f"00-{0:032x}-{PARENT}-01",
    f"FF-{1:032x}-{PARENT}-01",
    f"00-{1:032x}-{PARENT}-01\\r\\nx: y",
]


def trace(number: int) -> str:
    return f"00-{number:032x}-{PARENT}-01"


def traced(event: OutboxEvent, traceparent: str) -> OutboxEvent:
    """Return an event with the attribute of the Distributed Tracing extension."""
    attribute = f'"traceparent":"{traceparent}","data":'.encode()
    return OutboxEvent(event.id, event.type, event.body.replace(b'"data":', attribute, 1))


def traces(posts: Sequence[Post]) -> list[str | None]:
    return [post.headers.get("traceparent") for post in posts]


async def publish(service: Service, merchant: Merchant, *traceparents: str, **members: Any) -> Any:
    """Publish one of the program's own events in a trace."""
    body = {"event_type": "custom.card.sent", "payload": {"n": 1}, **members}
    key = ("Authorization", f"Bearer {merchant.program_key}")
    headers = CIMultiDict([key, *(("traceparent", each) for each in traceparents)])
    async with service.http.post("/v1/webhooks/messages", headers=headers, json=body) as answer:
        assert answer.status in (200, 201), await answer.text()
        return answer.status, (await answer.json())["data"]


async def test_it_leads_from_the_checkout_to_each_attempt_at_the_partner(
    database: Database, service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.endpoint(merchant.program_key, receiver.url, event_types=["code.redemption_rejected"])
    shop = shops.Merchant(service.admin)
    coupon = await shop.coupon(merchant.program_id)
    for number in range(3):
        await shop.code(merchant.program_id, coupon, f"CODE{number}", partner_id=merchant.partner_id)
    purchases = [shops.checkout(merchant.program_id, f"CODE{number}", ref=f"{number}") for number in (0, 1, 2, 9)]
    purchases[0] = json.dumps({**json.loads(purchases[0]), "traceparent": trace(1)}).encode()
    headers = [{}, {"traceparent": trace(2)}, {}, {"traceparent": trace(4)}]
    receiver.status = 500
    async with open_database(database.redemption, 2) as pool:
        decider = Decider(pool)
        batch = [
            Received(body, each, None, "checkout.completed", shops.NOW)
            for body, each in zip(purchases, headers, strict=True)
        ]
        assert await decider.handler(batch) == [None] * 4
    assert await service.consume(*decider.handed_over) == [None] * 4
    await service.attempted(4)
    expected = {"CODE0": trace(1), "CODE1": trace(2), "CODE2": None, "CODE9": trace(4)}
    assert {json.loads(post.body)["code"]: post.headers.get("traceparent") for post in receiver.posts} == expected
    receiver.status = 204
    service.clock.advance(seconds=2 * STEPS[1])
    await service.settled(4)
    again = receiver.posts[4:]
    assert {json.loads(post.body)["code"]: post.headers.get("traceparent") for post in again} == expected


async def test_a_process_that_claims_it_sends_it_too(database: Database, clock: HeldClock, receiver: Receiver) -> None:
    """The process that took the event in ends before anything is sent."""
    async with running_service(database, clock, sends=False) as first:
        first.dispatcher.sending.is_stopping = True
        merchant = await make_merchant(first.admin, clock())
        await first.endpoint(merchant.partner_key, receiver.url)
        events = [code_redeemed(merchant, f"C{number}") for number in range(3)]
        await first.consume(traced(events[0], trace(1)), events[1], traced(events[2], trace(3)))
    clock.advance(minutes=5)
    async with running_service(database, clock) as second:
        await second.settled(3)
    found = {json.loads(post.body)["code"]: post.headers.get("traceparent") for post in receiver.posts}
    assert found == {"C0": trace(1), "C1": None, "C2": trace(3)}


async def test_it_is_sent_by_hand_by_replay_and_to_whom_the_message_is_sent_again(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    receiver.status = 410
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(traced(code_redeemed(merchant), trace(1)))
    await service.settled(1, "dead")
    [delivery] = (await service.send("GET", "/deliveries", merchant.partner_key)).data
    by_hand = await service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.partner_key)
    assert by_hand.data["request_headers"]["traceparent"] == trace(1)
    receiver.status = 204
    replayed = await service.send("POST", f"/dead-letters/{delivery['id']}/replay", merchant.partner_key)
    assert replayed.status < 300, replayed.body
    await service.settled(1)
    other = await service.endpoint(merchant.partner_key, second_receiver.url)
    path = f"/messages/{delivery['message_id']}/resend"
    assert (await service.send("POST", path, merchant.partner_key, {"endpoint_ids": [other["id"]]})).status < 300
    await service.settled(2)
    assert traces(receiver.posts) == [trace(1)] * 3
    assert traces(second_receiver.posts) == [trace(1)]


async def test_a_listener_is_handed_it_as_a_header(service: Service, merchant: Merchant) -> None:
    listener = (await service.send("POST", "/listeners", merchant.partner_key, {})).data
    await service.consume(traced(code_redeemed(merchant, "A"), trace(1)), code_redeemed(merchant, "B"))
    question = {"wait_seconds": 0}
    handed = (await service.send("POST", f"/listeners/{listener['id']}/next", merchant.partner_key, question)).data
    found = {json.loads(each["body"])["code"]: each["headers"].get("traceparent") for each in handed}
    assert found == {"A": trace(1), "B": None}


async def test_of_the_bodies_only_that_of_cloudevents_has_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    for format_ in ("flat", "standard", "thin", "cloudevents"):
        for key in (merchant.program_key, merchant.partner_key):
            await service.endpoint(key, f"{receiver.url}?{format_}", format=format_)
    event = code_redeemed(merchant)
    await service.consume(event)
    await service.settled(8)
    plain = {row["format"]: row["body"] for row in await service.query("SELECT format, body FROM webhooks.messages")}
    for table in ("inbox", "delivery_queue", "attempts", "deliveries", "messages", "sequences"):
        await service.admin.execute(f"DELETE FROM webhooks.{table}")  # noqa: S608 - known names
    await service.consume(traced(event, trace(1)))
    await service.settled(8)
    bodies = {row["format"]: row["body"] for row in await service.query("SELECT format, body FROM webhooks.messages")}
    for kept in ("flat", "flat-program", "standard", "thin", "standard-partner", "thin-partner"):
        assert bodies[kept] == plain[kept]
    for kept in ("cloudevents", "cloudevents-partner"):
        assert json.loads(bodies[kept]) == {**json.loads(plain[kept]), "traceparent": trace(1)}
    assert len(plain) == 8
    assert traces(receiver.posts) == [None] * 8 + [trace(1)] * 8
    await service.send("DELETE", f"/messages/{receiver.posts[-1].id}/content", merchant.program_key)
    rows = await service.query("SELECT DISTINCT traceparent FROM webhooks.messages WHERE body IS NULL")
    assert [row["traceparent"] for row in rows] == [trace(1)]


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_event_that_is_read_the_general_way_has_it_too(
    service: Service, merchant: Merchant, receiver: Receiver, is_known: bool
) -> None:
    """Only `code.redeemed` in the known version is parsed the fast way."""
    await service.endpoint(merchant.program_key, receiver.url, event_types=["*"])
    event = code_redeemed(merchant)
    if not is_known:
        event = OutboxEvent(event.id, event.type, event.body.replace(b'"code.redeemed"', b'"code.admired"', 1))
    await service.consume(traced(event, trace(1)))
    await service.settled(1)
    assert traces(receiver.posts) == [trace(1)]


@pytest.mark.parametrize("type_", ["code.redeemed", "code.admired"])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_what_is_not_valid_in_an_event_is_ignored_and_not_kept(
    service: Service, merchant: Merchant, receiver: Receiver, type_: str, garbage: str
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, event_types=["*"], format="cloudevents")
    event = traced(code_redeemed(merchant), garbage)
    event = OutboxEvent(event.id, event.type, event.body.replace(b'"code.redeemed"', f'"{type_}"'.encode(), 1))
    assert await service.consume(event) == [None]
    await service.settled(1)
    assert traces(receiver.posts) == [None]
    assert b"traceparent" not in receiver.posts[0].body
    assert await service.query("SELECT traceparent FROM webhooks.messages") == [{"traceparent": None}]


async def test_what_a_program_publishes_has_that_of_its_request(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.*"], format="cloudevents")
    status, made = await publish(service, merchant, trace(1), event_id="e-1")
    assert status == 201
    again = await publish(service, merchant, trace(2), event_id="e-1")
    assert again == (200, made)
    await service.settled(1)
    assert traces(receiver.posts) == [trace(1)]
    assert json.loads(receiver.posts[0].body)["traceparent"] == trace(1)


@pytest.mark.parametrize("sent", [[], [trace(1), trace(1)], [trace(1).upper()], [f"{trace(1)}, {trace(1)}"]])
async def test_a_header_that_is_not_valid_or_comes_twice_is_ignored(
    service: Service, merchant: Merchant, receiver: Receiver, sent: list[str]
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.*"], format="cloudevents")
    assert (await publish(service, merchant, *sent))[0] == 201
    await service.settled(1)
    assert traces(receiver.posts) == [None]
    assert b"traceparent" not in receiver.posts[0].body


async def test_a_test_is_in_no_trace(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url)
    headers = {"Authorization": f"Bearer {merchant.partner_key}", "traceparent": trace(1)}
    async with service.http.post(f"/v1/webhooks/endpoints/{made['id']}/test", headers=headers) as answer:
        assert answer.status == 200
    await until(lambda: receiver.posts)
    assert traces(receiver.posts) == [None]
