"""The webhooks part of a customer's export and erasure: messages in every form, responses, and late events."""

import asyncio
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from services.webhooks.consumers import read_event
from services.webhooks.usecases.customer_parts import CustomerMessages
from shared.database.customer_parts import CustomerParts, Outside
from shared.erasing import Erasing
from shared.events.envelope import OutboxEvent
from tests.canary import found_in
from tests.customer_jobs import ready_for_others
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, until
from tests.services.webhooks.receiver import Post, Receiver

CANARY, EMAIL = "canary-7", "Canary.Bird+x@example.org"
DIGEST, MAIL_DIGEST = "erased:11", "erased:22"
DIGESTS = {f"id:{CANARY}": DIGEST, "email:canary.bird@example.org": MAIL_DIGEST}
BUYER = {"id": CANARY, "email": EMAIL, "is_first_order": True}
NAMES = {"card_id": "canary-card", "recipient_name": "Canary", "occasion": "mother"}
FORMATS = ("flat", "standard", "thin", "cloudevents")
TEXTS = ("canary",)


@pytest.fixture
def parts(service: Service) -> CustomerParts:
    async def no_letters(_: object) -> int:
        return 0

    messages = CustomerMessages(service.pool, service.take_in, read_event, Outside(no_letters, "dead_letters"))
    return CustomerParts(service.pool, service.clock, messages.steps)


def hers(merchant: Merchant) -> OutboxEvent:
    return code_redeemed(merchant, customer=BUYER, attributes=NAMES)


def erased(event: OutboxEvent) -> bytes:
    """Return the event as redemption stores it once its customer is erased."""
    body = Erasing(DIGESTS, is_about=True).body(event.body)
    assert body is not None
    return body


async def endpoints(service: Service, merchant: Merchant, url: str) -> None:
    for key in (merchant.program_key, merchant.partner_key):
        for format_ in FORMATS:
            await service.endpoint(key, url, format=format_)


async def finish(service: Service, parts: CustomerParts) -> None:
    """Run the part, then let redemption forget the names, as it does at the end."""
    await parts()
    await service.admin.execute("UPDATE redemption.customer_jobs SET state = 'done', keys = '{}', finished_at = now()")


async def bodies(service: Service) -> dict[str, Any]:
    rows = await service.query("SELECT format, body, content FROM webhooks.messages")
    return {row["format"]: (json.loads(row["body"]), row["content"] and json.loads(row["content"])) for row in rows}


async def test_every_form_loses_the_customer_and_keeps_the_rest(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """An erased customer would live on in one of the stored formats."""
    await endpoints(service, merchant, receiver.url)
    event = hers(merchant)
    await service.consume(event, code_redeemed(merchant, "OTHER-1"))
    await service.settled(16)
    before = await service.query("SELECT count(*) FROM webhooks.messages")
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, {event.id: erased(event)})
    await finish(service, parts)
    assert await found_in(service.admin, TEXTS) == []
    assert await service.query("SELECT count(*) FROM webhooks.messages") == before
    rows = await service.query(
        "SELECT format, body, content FROM webhooks.messages WHERE convert_from(body, 'UTF8') NOT LIKE '%OTHER-1%'"
    )
    kept = {row["format"]: json.loads(row["content"] or row["body"]) for row in rows}
    data = kept["standard"]["data"]
    assert data["customer"] == {"id": DIGEST, "email": MAIL_DIGEST, "is_first_order": True}
    assert data["attributes"] == dict.fromkeys(NAMES)
    assert kept["standard-partner"]["data"]["attributes"] == dict.fromkeys(NAMES)
    assert (kept["flat"]["code"], kept["flat"]["recipient_name"]) == ("ACME-1A0A48C0", None)
    others = await service.query("SELECT 1 FROM webhooks.messages WHERE convert_from(body, 'UTF8') LIKE '%Zoë%'")
    assert others


async def test_what_is_due_goes_out_erased_under_its_id_and_verifies(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """The name would still leave the system after the erasure, or the webhook would not verify."""
    made = await service.endpoint(merchant.program_key, receiver.url, format="standard")
    receiver.status = 500
    event = hers(merchant)
    await service.consume(event)
    await service.attempted(1)
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, {event.id: erased(event)})
    await finish(service, parts)
    receiver.status = 204
    service.clock.advance(minutes=2)
    service.dispatcher.sending.wake()
    await service.settled(1)
    first, second = receiver.posts[0], receiver.posts[-1]
    assert first.id == second.id
    assert b"anary" in first.body
    assert b"anary" not in second.body
    assert json.loads(second.body)["data"]["customer"]["id"] == DIGEST
    assert made["id"]


async def test_what_was_missed_is_told_erased_and_its_late_copy_is_dropped(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """An event may wait in the queue, or be a dead letter, while its customer is erased."""
    await service.endpoint(merchant.program_key, receiver.url, format="standard")
    event = hers(merchant)
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, {event.id: erased(event)})
    await finish(service, parts)
    await service.settled(1)
    assert json.loads(receiver.posts[0].body)["data"]["customer"]["id"] == DIGEST
    # The original and the erased event, in either order: no conflict, and nothing is sent again.
    again = replace(event, body=erased(event))
    assert await service.consume(event) == [None]
    assert await service.consume(again, event, again) == [None] * 3
    await service.stays_idle()
    assert len(receiver.posts) == 1
    assert await found_in(service.admin, TEXTS) == []


async def test_a_program_s_own_messages_are_looked_through(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.card.sent"], format="standard")
    person = {**BUYER, "name": "Canary Bird", "phone": 4930123, "address": {"street": "Canary Road"}}
    payload = {"customer": person, "attributes": NAMES, "note": f"ask <{EMAIL}>, or zoe@example.org"}
    for event_id, said in (("a", payload), ("b", {"customer": {"id": "other"}, "attributes": {"x": "y"}})):
        message = {"event_type": "custom.card.sent", "event_id": event_id, "payload": said}
        assert (await service.send("POST", "/messages", merchant.program_key, message)).status in (200, 201, 202)
    await service.settled(2)
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS)
    await finish(service, parts)
    assert await found_in(service.admin, TEXTS) == []
    rows = await service.query("SELECT body FROM webhooks.messages")
    kept = [json.loads(row["body"])["data"] for row in rows]
    assert {"customer": {"id": "other"}, "attributes": {"x": "y"}} in kept
    assert any(each.get("note") == f"ask <{MAIL_DIGEST}>, or zoe@example.org" for each in kept)


async def test_own_messages_of_any_shape_and_what_others_orders_note_lose_the_customer(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """Nobody knows how a program names its members, nor for whom another customer's order is a present."""
    for format_ in FORMATS:
        await service.endpoint(merchant.program_key, receiver.url, event_types=["*"], format=format_)
    payload = {
        "buyer": CANARY,
        "customer_ids": [CANARY, "other"],
        "deep": [{"any": {"of": [CANARY, EMAIL.upper()]}}],
        "link": "https://x.example/?to=Canary.Bird%2Bx%40example.org&n=1",
        "raw": json.dumps({"buyer": {"id": CANARY, "phone": "canary-phone"}}),
    }
    message = {"event_type": "custom.card.sent", "payload": payload, "ordering_key": EMAIL}
    assert (await service.send("POST", "/messages", merchant.program_key, message)).status == 201
    present = code_redeemed(merchant, attributes={"card_id": CANARY, "recipient_name": f"mail {EMAIL}"})
    await service.consume(present)
    await service.settled(8)
    body = Erasing(DIGESTS).body(present.body)
    assert body is not None
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, {present.id: body}, is_whole=False)
    await finish(service, parts)
    assert await found_in(service.admin, TEXTS) == []
    rows = await service.query("SELECT body FROM webhooks.messages WHERE format = 'standard'")
    kept = [json.loads(row["body"])["data"] for row in rows]
    [own] = [each for each in kept if "buyer" in each]
    assert (own["buyer"], own["customer_ids"]) == (DIGEST, [DIGEST, "other"])
    [theirs] = [each for each in kept if "attributes" in each]
    assert theirs["attributes"] == {"card_id": DIGEST, "recipient_name": f"mail {MAIL_DIGEST}"}


async def test_an_answer_that_comes_after_the_erasure_is_not_kept(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """Deliveries in flight name the customer, and a receiver that knows the name may repeat it at any time."""
    release = asyncio.Event()

    async def echo(post: Post) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=500, text=f"{post.body.decode()} is {EMAIL}", headers={"X-Customer": CANARY})

    receiver.answer = echo
    await service.endpoint(merchant.program_key, receiver.url, format="standard")
    event = hers(merchant)
    await service.consume(event)
    await until(lambda: len(receiver.posts) == 1, "the webhook")
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, {event.id: erased(event)})
    await parts()
    assert not await service.query("SELECT FROM webhooks.customer_parts WHERE done_at IS NOT NULL")
    release.set()
    await service.attempted(1)
    await finish(service, parts)
    assert await service.query("SELECT FROM webhooks.customer_parts WHERE done_at IS NOT NULL")
    assert await found_in(service.admin, TEXTS) == []
    service.clock.advance(minutes=2)
    service.dispatcher.sending.wake()
    await service.attempted(2)
    [delivery] = (await service.send("GET", "/deliveries", merchant.program_key)).data
    await service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.program_key)
    await service.attempted(3)
    assert await found_in(service.admin, TEXTS) == []
    kept = await service.query("SELECT response, response_headers FROM webhooks.attempts ORDER BY number")
    assert [(row["response"], row["response_headers"]) for row in kept] == [("erased", None)] * 3


async def test_what_receivers_answered_is_erased_in_headers_too_and_of_messages_that_are_gone(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """Receivers echo what they were sent, and attempts are kept longer than messages may be."""

    async def echo(post: Post) -> web.StreamResponse:
        return web.Response(body=post.body, headers={"X-Customer": CANARY})

    receiver.answer = echo
    await service.endpoint(merchant.program_key, receiver.url, format="standard")
    events = [hers(merchant), hers(merchant)]
    await service.consume(*events)
    await service.attempted(2)
    [message, _] = (await service.send("GET", "/messages", merchant.program_key)).data
    redacted = await service.send("DELETE", f"/messages/{message['id']}/content", merchant.program_key)
    assert redacted.status in (200, 204)
    assert len(await found_in(service.admin, TEXTS)) > 2
    erased_events = {event.id: erased(event) for event in events}
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, erased_events)
    await finish(service, parts)
    assert await found_in(service.admin, TEXTS) == []


async def test_an_export_has_messages_and_attempts(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, format="standard")
    event = hers(merchant)
    await service.consume(event, code_redeemed(merchant, "OTHER-1"))
    await service.settled(2)
    await service.attempted(2)
    job = await ready_for_others(service.admin, merchant.program_id, "export", DIGESTS, {event.id: event.body})
    await parts()
    rows = await service.query("SELECT line FROM webhooks.customer_lines_v1 WHERE job_id = $1 ORDER BY nth", job.id)
    lines = [json.loads(row["line"]) for row in rows]
    assert [line["kind"] for line in lines] == ["message", "attempt"]
    assert lines[0]["data"]["body"]["data"]["customer"] == BUYER


async def test_the_mailbox_beside_another_s_id_goes_alone(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    await service.endpoint(merchant.program_key, receiver.url, format="standard")
    event = code_redeemed(merchant, customer={"id": "other", "email": EMAIL}, attributes={"card_id": "theirs"})
    await service.consume(event)
    await service.settled(1)
    body = Erasing(DIGESTS).body(event.body)
    assert body is not None
    await ready_for_others(service.admin, merchant.program_id, "erase", DIGESTS, {event.id: body}, is_whole=False)
    await finish(service, parts)
    [(kept, _)] = (await bodies(service)).values()
    assert kept["data"]["customer"]["id"] == "other"
    assert kept["data"]["customer"]["email"] == MAIL_DIGEST
    assert kept["data"]["attributes"] == {"card_id": "theirs"}


async def test_a_foreign_program_s_messages_stay(
    service: Service, merchant: Merchant, receiver: Receiver, parts: CustomerParts
) -> None:
    """The same e-mail address is a customer of another program too, which has asked for nothing."""
    await service.endpoint(merchant.program_key, receiver.url, format="standard")
    event = hers(merchant)
    await service.consume(event)
    await service.settled(1)
    messages = "SELECT body FROM webhooks.messages WHERE program_id = $1"
    before = await service.query(messages, merchant.program_id)
    await ready_for_others(service.admin, uuid.uuid4(), "erase", DIGESTS)
    await parts()
    assert await service.query(messages, merchant.program_id) == before
