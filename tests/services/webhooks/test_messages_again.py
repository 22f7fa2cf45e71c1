"""Messages listed page by page, and sent again to the endpoints that had them or to named ones."""

import asyncio
from typing import Any

import pytest

from services.webhooks.store import messages
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Reply, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver


async def resend(service: Service, key: str, message_id: str, *endpoints: Any, idempotency: str | None = None) -> Reply:
    body = {"endpoint_ids": [each["id"] for each in endpoints]} if endpoints else None
    return await service.send("POST", f"/messages/{message_id}/resend", key, body, idempotency=idempotency)


@pytest.mark.parametrize("scanned", [1, 3, 2000])
async def test_every_message_is_listed_once_whatever_its_forms(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    """Each message has three forms here, and a page may end between them."""
    monkeypatch.setattr(messages, "SCANNED_PER_PAGE", scanned)
    await service.endpoint(merchant.partner_key, "https://example.com/", status="paused")
    for format_ in ("standard", "cloudevents"):
        await service.endpoint(merchant.program_key, "https://example.com/", status="paused", format=format_)
    for n in range(3):
        await service.consume(code_redeemed(merchant, f"A{n}"), code_redeemed(merchant, f"B{n}"))
        service.clock.advance(seconds=1)
    for key in (merchant.program_key, merchant.partner_key):
        found = await service.pages("/messages", key)
        assert len({each["id"] for each in found}) == len(found) == 6
        assert found == sorted(found, key=lambda each: (each["created_at"], each["id"]), reverse=True)
    shown = await service.send("GET", f"/messages/{found[0]['id']}", merchant.partner_key)
    assert {name: shown.data[name] for name in found[0]} == found[0]


async def test_messages_are_chosen_by_type_and_time(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant, "A"))
    between = service.clock.now
    service.clock.advance(seconds=1)
    await service.send("POST", f"/endpoints/{made['id']}/test", merchant.partner_key)
    assert [each["event_type"] for each in await service.pages("/messages", merchant.partner_key)] == [
        "test",
        "code.redeemed",
    ]
    tests = await service.pages("/messages", merchant.partner_key, "&event_type=test")
    assert [each["event_type"] for each in tests] == ["test"]
    later = service.clock.now.isoformat().replace("+00:00", "Z")
    for query, expected in ((f"&since={later}", ["test"]), (f"&until={later}", ["code.redeemed"])):
        assert [
            each["event_type"] for each in await service.pages("/messages", merchant.partner_key, query)
        ] == expected
    earlier = between.isoformat().replace("+00:00", "Z")
    assert await service.pages("/messages", merchant.partner_key, f"&until={earlier}") == []
    refused = await service.send("GET", "/messages?cursor=nonsense", merchant.partner_key)
    assert (refused.status, list(refused.body["errors"])) == (422, ["cursor"])


async def test_a_partner_lists_no_message_that_it_may_not_see(service: Service, merchant: Merchant) -> None:
    """The program's message contains the customer, and the partner has no endpoint of its own."""
    await service.endpoint(merchant.program_key, "https://example.com/", status="paused", format="standard")
    await service.consume(code_redeemed(merchant))
    assert len(await service.pages("/messages", merchant.program_key)) == 1
    assert await service.pages("/messages", merchant.partner_key) == []


async def test_a_message_goes_again_to_all_whom_it_went_to(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    partners = await service.endpoint(merchant.partner_key, receiver.url)
    programs = await service.endpoint(merchant.program_key, second_receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(2)
    [message] = await service.pages("/messages", merchant.program_key)
    again = await resend(service, merchant.program_key, message["id"])
    assert again.status == 202
    assert {(each["endpoint_id"], each["is_due"]) for each in again.data} == {
        (partners["id"], True),
        (programs["id"], True),
    }
    await service.attempted(4)
    for posts in (receiver.posts, second_receiver.posts):
        assert posts[0].id == posts[1].id == message["id"]
        assert posts[0].body == posts[1].body
    own = await resend(service, merchant.partner_key, message["id"])
    assert [each["endpoint_id"] for each in own.data] == [partners["id"]]
    await service.attempted(5)
    assert (len(receiver.posts), len(second_receiver.posts)) == (3, 2)


async def test_repeats_and_requests_at_once_make_it_due_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    old = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    new = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    [message] = await service.pages("/messages", merchant.partner_key)
    replies = await asyncio.gather(*(resend(service, merchant.partner_key, message["id"], old, new) for _ in range(6)))
    assert {reply.status for reply in replies} == {202}
    assert len({str([each["delivery_id"] for each in reply.data]) for reply in replies}) == 1
    # The old one was pending all the time; the new one was created by one of the requests.
    assert sum(each["is_due"] for reply in replies for each in reply.data) == 1
    assert len(await service.query("SELECT * FROM webhooks.delivery_queue")) == 2
    assert len(await service.query("SELECT * FROM webhooks.deliveries")) == 2


async def test_one_idempotency_key_sends_it_again_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    [message] = await service.pages("/messages", merchant.partner_key)
    first = await resend(service, merchant.partner_key, message["id"], idempotency="one")
    await service.attempted(2)
    await service.settled(1)
    again = await resend(service, merchant.partner_key, message["id"], idempotency="one")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []
    assert len(receiver.posts) == 2


async def test_an_endpoint_that_never_had_it_gets_it_if_it_would_have(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, "https://example.com/", status="paused")
    await service.consume(code_redeemed(merchant))
    [message] = await service.pages("/messages", merchant.partner_key)
    late = await service.endpoint(merchant.partner_key, receiver.url)
    sent = await resend(service, merchant.partner_key, message["id"], late)
    assert [each["is_due"] for each in sent.data] == [True]
    await service.settled(1)
    assert [post.id for post in receiver.posts] == [message["id"]]
    receiver.posts[0].verify(late["secret"])
    other_type = await service.endpoint(merchant.partner_key, receiver.url, event_types=["codes.generated"])
    other_form = await service.endpoint(merchant.partner_key, receiver.url, format="standard")
    refused = await resend(service, merchant.partner_key, message["id"], late, other_type)
    assert (refused.status, list(refused.body["errors"])) == (422, ["endpoint_ids"])
    refused = await resend(service, merchant.partner_key, message["id"], late, other_form)
    assert (refused.status, refused.body["code"]) == (409, "form_missing")
    assert len(await service.query("SELECT * FROM webhooks.deliveries")) == 2


async def test_what_cannot_be_sent_again_says_why(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    [message] = await service.pages("/messages", merchant.partner_key)
    assert (await resend(service, merchant.partner_key, message["id"], {"id": str(new_id())})).status == 404
    assert (await resend(service, merchant.partner_key, message["id"], {"id": "nonsense"})).status == 422
    await service.send("DELETE", f"/messages/{message['id']}/content", merchant.program_key)
    gone = await resend(service, merchant.partner_key, message["id"])
    assert (gone.status, gone.body["code"]) == (409, "content_gone")
    await service.send("POST", f"/endpoints/{endpoint['id']}/test", merchant.partner_key)
    [test] = await service.pages("/messages", merchant.partner_key, "&event_type=test")
    refused = await resend(service, merchant.partner_key, test["id"])
    assert (refused.status, refused.body["code"]) == (409, "message_not_resendable")
