"""Listeners: messages handed to clients that poll, signed as always, and handed out again without a result."""

import asyncio
import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from services.webhooks.domain.messages import MAX_PAYLOAD_BYTES
from services.webhooks.domain.retention import Retention
from services.webhooks.store import listeners
from services.webhooks.usecases.listen import LEASE, LIVES_ON, NAMED_LIVES_ON
from services.webhooks.usecases.maintain_endpoints import MaintainEndpoints
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Reply, Service, code_redeemed, look_after_endpoints


async def opened(service: Service, merchant: Merchant, **members: Any) -> Any:
    answer = await service.send("POST", "/listeners", merchant.partner_key, members)
    assert answer.status == 201, answer.body
    return answer.data


async def ask(service: Service, merchant: Merchant, listener: Any, **members: Any) -> Reply:
    body = {"wait_seconds": 0, **members}
    return await service.send("POST", f"/listeners/{listener['id']}/next", merchant.partner_key, body)


def result(handed: Any, **members: Any) -> dict[str, Any]:
    return {"delivery_id": handed["delivery_id"], "token": handed["token"], "status": 204, **members}


def verify(handed: Any, listener: Any) -> None:
    headers = {name.lower(): value for name, value in handed["headers"].items()}
    Webhook(listener["secret"]).verify(handed["body"].encode(), headers)


async def test_what_happens_is_handed_over_signed_and_settled_by_its_result(
    service: Service, merchant: Merchant
) -> None:
    listener = await opened(service, merchant, event_types=["code.redeemed"])
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    handed = (await ask(service, merchant, listener)).data
    assert [each["event_type"] for each in handed] == ["code.redeemed"] * 2
    for each in handed:
        verify(each, listener)
    results = [result(handed[0]), result(handed[1], status=500, response="no\x00", duration_ms=7)]
    assert (await ask(service, merchant, listener, results=results)).status == 422
    results[1]["response"] = "no"
    assert (await ask(service, merchant, listener, results=results)).data == []
    deliveries = (await service.send("GET", "/deliveries", merchant.partner_key)).data
    assert sorted(each["status"] for each in deliveries) == ["failed", "succeeded"]
    failed = next(each for each in deliveries if each["status"] == "failed")
    [attempt] = (await service.send("GET", f"/deliveries/{failed['id']}/attempts", merchant.partner_key)).data
    assert (attempt["trigger"], attempt["status"], attempt["response"]) == ("listen", 500, "no")


async def test_a_question_has_the_size_of_every_other_request(service: Service, merchant: Merchant) -> None:
    listener = await opened(service, merchant)
    results = [{"delivery_id": str(new_id()), "token": 1, "status": 204, "response": "x" * 16_000}] * 5
    refused = await ask(service, merchant, listener, results=results)
    assert (refused.status, refused.body["code"]) == (413, "too_large")


async def test_a_question_waits_for_what_comes(service: Service, merchant: Merchant) -> None:
    listener = await opened(service, merchant)
    question = asyncio.create_task(ask(service, merchant, listener, wait_seconds=10))
    await asyncio.sleep(0)
    await service.consume(code_redeemed(merchant))
    handed = (await question).data or (await ask(service, merchant, listener, wait_seconds=10)).data
    assert len(handed) == 1
    verify(handed[0], listener)


async def test_of_large_messages_as_many_come_at_once_as_fit_into_an_answer(
    service: Service, merchant: Merchant
) -> None:
    """A hundred at once would hold up everyone for a second; one larger than a response comes alone."""
    key = merchant.program_key
    listener = (await service.send("POST", "/listeners", key, {"event_types": ["custom.*"]})).data
    letters = MAX_PAYLOAD_BYTES - 20
    for nth in range(7):
        message = {"event_type": "custom.large", "payload": {"nth": nth, "text": "x" * letters}}
        assert (await service.send("POST", "/messages", key, message)).status == 201
    handed: list[list[int]] = []
    while found := (await service.send("POST", f"/listeners/{listener['id']}/next", key, {"limit": 100})).data:
        assert sum(len(each["body"]) for each in found[:-1]) < listeners.BYTES_AT_ONCE
        handed.append([json.loads(each["body"])["nth"] for each in found])
    assert [nth for page in handed for nth in page] == list(range(7))
    assert len(handed) > 1
    service.clock.advance(seconds=LEASE.total_seconds() + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listeners, "BYTES_AT_ONCE", 1)
        assert len((await service.send("POST", f"/listeners/{listener['id']}/next", key, {"limit": 100})).data) == 1


async def test_without_a_result_it_comes_again_and_a_late_result_counts_for_nothing(
    service: Service, merchant: Merchant
) -> None:
    """A client that crashed would lose its messages, or a stale one would settle those of its successor."""
    listener = await opened(service, merchant)
    await service.consume(code_redeemed(merchant))
    [first] = (await ask(service, merchant, listener)).data
    assert (await ask(service, merchant, listener)).data == []
    service.clock.advance(seconds=LEASE.total_seconds() + 1)
    [second] = (await ask(service, merchant, listener)).data
    assert (second["message_id"], second["body"]) == (first["message_id"], first["body"])
    await ask(service, merchant, listener, results=[result(first, status=500)])
    assert await service.query("SELECT * FROM webhooks.attempts") == []
    await ask(service, merchant, listener, results=[result(second)])
    assert (await service.send("GET", "/deliveries", merchant.partner_key)).data[0]["status"] == "succeeded"


async def test_a_listener_is_no_endpoint(service: Service, merchant: Merchant) -> None:
    listener = await opened(service, merchant)
    assert (await service.send("GET", "/endpoints", merchant.partner_key)).data == []
    for method, tail, body in (("GET", "", None), ("PATCH", "", {"status": "active"}), ("POST", "/test", None)):
        answer = await service.send(method, f"/endpoints/{listener['id']}{tail}", merchant.partner_key, body)
        assert answer.status == 404
    endpoint = await service.endpoint(merchant.partner_key, "https://example.com/")
    assert (await ask(service, merchant, endpoint)).status == 404


async def test_a_closed_listener_leaves_nothing_pending(service: Service, merchant: Merchant) -> None:
    listener = await opened(service, merchant)
    await service.consume(code_redeemed(merchant))
    closed = await service.send("DELETE", f"/listeners/{listener['id']}", merchant.partner_key)
    assert closed.status == 200
    assert (await ask(service, merchant, listener)).status == 404
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []
    await service.consume(code_redeemed(merchant, "LATER"))
    assert len((await service.send("GET", "/deliveries", merchant.partner_key)).data) == 1


async def test_a_deserted_listener_closes_itself_and_one_that_asks_does_not(
    service: Service, merchant: Merchant
) -> None:
    deserted, alive = await opened(service, merchant), await opened(service, merchant)
    maintenance = MaintainEndpoints(
        service.pool,
        service.clock,
        Retention(LIVES_ON, LIVES_ON, LIVES_ON),
        lambda _: None,
        service.acts.extend,
    )
    service.clock.advance(seconds=LIVES_ON.total_seconds() - 1)
    assert (await ask(service, merchant, alive)).status == 200
    service.clock.advance(seconds=2)
    await look_after_endpoints(maintenance)
    assert (await ask(service, merchant, deserted)).status == 404
    assert (await ask(service, merchant, alive)).status == 200


async def reopened(service: Service, merchant: Merchant, **members: Any) -> Any:
    answer = await service.send("POST", "/listeners", merchant.partner_key, members)
    assert (answer.status, answer.data["is_resumed"]) == (200, True), answer.body
    return answer.data


async def test_a_listener_with_a_name_goes_on_where_it_stopped(service: Service, merchant: Merchant) -> None:
    """Messages that arrived meanwhile are not lost, and those with a reported result do not come again."""
    first = await opened(service, merchant, name="laptop")
    assert (first["name"], first["is_resumed"], first["waiting"]) == ("laptop", False, 0)
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    handed = (await ask(service, merchant, first)).data
    assert [each["is_repeated"] for each in handed] == [False, False]
    done, undone = handed
    assert (await ask(service, merchant, first, results=[result(done)], limit=0)).data == []
    await service.consume(code_redeemed(merchant, "C"))
    service.clock.advance(hours=71)
    maintenance = MaintainEndpoints(
        service.pool,
        service.clock,
        Retention(LIVES_ON, LIVES_ON, LIVES_ON),
        lambda _: None,
        service.acts.extend,
    )
    await look_after_endpoints(maintenance)
    again = await reopened(service, merchant, name="laptop")
    assert (again["id"], again["secret"], again["waiting"]) == (first["id"], first["secret"], 2)
    handed = (await ask(service, merchant, again)).data
    assert {each["message_id"]: each["is_repeated"] for each in handed}[undone["message_id"]] is True
    assert sorted(each["is_repeated"] for each in handed) == [False, True]
    assert done["message_id"] not in {each["message_id"] for each in handed}
    service.clock.advance(seconds=NAMED_LIVES_ON.total_seconds())
    await look_after_endpoints(maintenance)
    assert (await ask(service, merchant, again)).status == 404
    assert (await opened(service, merchant, name="laptop"))["id"] != first["id"]


async def test_a_listener_opened_from_now_on_gets_nothing_of_before(service: Service, merchant: Merchant) -> None:
    """Neither waiting messages nor those handed out to the previous client."""
    first = await opened(service, merchant, name="laptop")
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    [late] = (await ask(service, merchant, first, limit=1)).data
    again = await reopened(service, merchant, name="laptop", from_now=True)
    assert again["waiting"] == 0
    await service.consume(code_redeemed(merchant, "C"))
    service.clock.advance(seconds=LEASE.total_seconds() + 1)
    [handed] = (await ask(service, merchant, again, results=[result(late)])).data
    assert '"code":"C"' in handed["body"]
    statuses = await service.query("SELECT status FROM webhooks.deliveries ORDER BY id")
    assert [row["status"] for row in statuses] == ["canceled", "canceled", "pending"]


async def test_a_listener_is_opened_again_as_it_is_asked_for_now(service: Service, merchant: Merchant) -> None:
    first = await opened(service, merchant, name="laptop")
    again = await reopened(
        service, merchant, name="laptop", event_types=["codes.generated"], signing="both", format="standard"
    )
    assert (again["event_types"], again["format"], again["secret"]) == (
        ["codes.generated"],
        "standard",
        first["secret"],
    )
    assert again["public_key"].startswith("whpk_")
    assert (await reopened(service, merchant, name="laptop", signing="ed25519"))["public_key"] == again["public_key"]


async def test_of_listeners_opened_at_once_by_one_name_there_is_one_and_each_owner_has_its_own(
    service: Service, merchant: Merchant
) -> None:
    answers = await asyncio.gather(
        *(service.send("POST", "/listeners", merchant.partner_key, {"name": "laptop"}) for _ in range(6))
    )
    assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
    assert len({(answer.data["id"], answer.data["secret"]) for answer in answers}) == 1
    programs = await service.send("POST", "/listeners", merchant.program_key, {"name": "laptop"})
    assert programs.status == 201
    for_partner = {"name": "laptop", "partner_id": str(merchant.partner_id)}
    as_partner = await service.send("POST", "/listeners", merchant.program_key, for_partner)
    assert (as_partner.status, as_partner.data["id"]) == (200, answers[0].data["id"])
    # An endpoint with the same name is a different object.
    assert (await service.endpoint(merchant.partner_key, "https://example.com/", uid="laptop"))["uid"] == "laptop"


async def test_a_listener_is_refused_in_words(service: Service, merchant: Merchant) -> None:
    bad: Any
    for bad, field in (
        ({"name": "two words"}, "name"),
        ({"name": "listener/x"}, "name"),
        ({"event_types": ["no.such"]}, "event_types"),
        ({"format": "xml"}, "format"),
        ({"partner_id": str(new_id())}, "partner_id"),
    ):
        refused = await service.send("POST", "/listeners", merchant.partner_key, bad)
        assert (refused.status, list(refused.body["errors"])) == (422, [field])
    listener = await opened(service, merchant)
    for bad in ({"wait_seconds": 11}, {"limit": -1}, {"results": [{"token": 1}]}):
        assert (await ask(service, merchant, listener, **bad)).status == 422
