"""Listeners: messages handed live to whoever asks, signed as always, and handed again where no result came."""

import asyncio
from typing import Any

from standardwebhooks import Webhook

from services.webhooks.domain.retention import Retention
from services.webhooks.usecases.keep_house import KeepHouse
from services.webhooks.usecases.listen import LEASE, LIVES_ON
from shared.database.sealing import Seal
from shared.ids import new_id
from tests.services.webhooks.conftest import SECRET_KEY, Merchant, Reply, Service, code_redeemed


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
    assert (await ask(service, merchant, listener, results=results)).status == 400
    results[1]["response"] = "no"
    assert (await ask(service, merchant, listener, results=results)).data == []
    deliveries = (await service.send("GET", "/deliveries", merchant.partner_key)).data
    assert sorted(each["status"] for each in deliveries) == ["failed", "succeeded"]
    failed = next(each for each in deliveries if each["status"] == "failed")
    [attempt] = (await service.send("GET", f"/deliveries/{failed['id']}/attempts", merchant.partner_key)).data
    assert (attempt["trigger"], attempt["status"], attempt["response"]) == ("listen", 500, "no")


async def test_a_question_waits_for_what_comes(service: Service, merchant: Merchant) -> None:
    listener = await opened(service, merchant)
    question = asyncio.create_task(ask(service, merchant, listener, wait_seconds=10))
    await asyncio.sleep(0)
    await service.consume(code_redeemed(merchant))
    handed = (await question).data
    assert len(handed) == 1
    verify(handed[0], listener)


async def test_without_a_result_it_comes_again_and_a_late_result_counts_for_nothing(
    service: Service, merchant: Merchant
) -> None:
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
    house = KeepHouse(
        service.pool, service.clock, Seal(SECRET_KEY), Retention(LIVES_ON, LIVES_ON, LIVES_ON), lambda _: None
    )
    service.clock.advance(seconds=LIVES_ON.total_seconds() - 1)
    assert (await ask(service, merchant, alive)).status == 200
    service.clock.advance(seconds=2)
    await house.look_after_endpoints()
    assert (await ask(service, merchant, deserted)).status == 404
    assert (await ask(service, merchant, alive)).status == 200


async def test_a_listener_is_refused_in_words(service: Service, merchant: Merchant) -> None:
    bad: Any
    for bad, field in (
        ({"event_types": ["no.such"]}, "event_types"),
        ({"format": "xml"}, "format"),
        ({"partner_id": str(new_id())}, "partner_id"),
    ):
        refused = await service.send("POST", "/listeners", merchant.partner_key, bad)
        assert (refused.status, list(refused.body["errors"])) == (422, [field])
    listener = await opened(service, merchant)
    for bad in ({"wait_seconds": 11}, {"limit": 0}, {"results": [{"token": 1}]}):
        assert (await ask(service, merchant, listener, **bad)).status == 422
