"""Events about endpoints, deliveries and replays: once each, to other endpoints only, never in a circle."""

import json
from typing import Any

from services.webhooks.domain.deliveries import FAILING_STEP
from services.webhooks.domain.retention import Retention
from services.webhooks.domain.schedule import STEPS
from services.webhooks.usecases.maintain_endpoints import MaintainEndpoints
from tests.services.webhooks.conftest import (
    KEPT,
    Merchant,
    Service,
    code_redeemed,
    look_after_endpoints,
    until,
)
from tests.services.webhooks.receiver import Receiver

URL = "https://example.com/hooks"


def told(service: Service) -> list[tuple[str, Any]]:
    """Return the events about endpoints since the last call."""
    found = [(event.type, json.loads(event.body)["data"]) for event in service.acts]
    service.acts.clear()
    return found


async def test_what_is_done_to_an_endpoint_is_told_in_order(service: Service, merchant: Merchant) -> None:
    key = merchant.partner_key
    made = await service.endpoint(key, URL, uid="shop-1")
    path = f"/endpoints/{made['id']}"
    [(kind, data)] = told(service)
    assert (kind, data["endpoint_id"], data["uid"]) == ("webhook.endpoint_created", made["id"], "shop-1")
    assert (data["partner_id"], data["event_types"]) == (str(merchant.partner_id), ["code.redeemed"])
    assert URL not in json.dumps(data)
    until_then = "2999-01-01T00:00:00Z"
    for method, tail, body, expected in (
        ("PATCH", "", {"url": URL, "status": "active"}, []),
        ("PATCH", "", {"timeout_seconds": 20, "metadata": {"a": "b"}, "url": URL}, [["metadata", "timeout_seconds"]]),
        ("PATCH", "", {"auth": {"type": "bearer", "token": "x"}}, [["auth"]]),
        ("POST", "/pause", {"until": until_then}, [("webhook.endpoint_paused", "paused_until")]),
        ("POST", "/pause", {"until": until_then}, []),
        ("POST", "/resume", None, [("webhook.endpoint_enabled", "paused")]),
        ("POST", "/resume", None, []),
        ("POST", "/disable", None, [("webhook.endpoint_disabled", "by_owner")]),
        ("POST", "/enable", None, [("webhook.endpoint_enabled", "disabled")]),
        ("PATCH", "", {"status": "paused", "uid": None}, [["uid"], ("webhook.endpoint_paused", None)]),
        ("POST", "/keys/rotate", None, [["keys"]]),
        ("DELETE", "", None, [("webhook.endpoint_archived", None)]),
    ):
        answer = await service.send(method, path + tail, key, body)
        assert answer.status in {200, 201}, answer.body
        found = told(service)
        assert len(found) == len(expected), (tail, body, found)
        for (kind, data), wanted in zip(found, expected, strict=True):
            assert data["endpoint_id"] == made["id"]
            if isinstance(wanted, list):
                assert (kind, data["changed"]) == ("webhook.endpoint_updated", wanted)
            else:
                assert (kind, wanted[1] is None or wanted[1] in json.dumps(data)) == (wanted[0], True)


async def test_a_refusal_is_not_told(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    told(service)
    path = f"/endpoints/{made['id']}"
    for method, tail, key, body in (
        ("PATCH", "", merchant.partner_key, {"event_types": ["no"]}),
        ("PATCH", "", merchant.partner_key, {"url": "http://10.0.0.1/"}),
        ("POST", "/keys/rotate", merchant.partner_key, {"secret": "whsec_x"}),
        ("DELETE", "", None, None),
    ):
        assert (await service.send(method, path + tail, key, body)).status >= 400
    assert told(service) == []
    assert len(await service.query("SELECT 1 FROM webhooks.outbox")) == 1


async def test_an_answer_that_is_repeated_is_told_once(service: Service, merchant: Merchant) -> None:
    for _ in range(2):
        body = {"url": URL, "event_types": ["code.redeemed"]}
        made = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="once")
        assert made.status == 201
    assert [kind for kind, _ in told(service)] == ["webhook.endpoint_created"]


async def test_a_pause_that_ends_by_itself_is_told_and_listeners_are_not(service: Service, merchant: Merchant) -> None:
    key = merchant.partner_key
    opened = await service.send("POST", "/listeners", key)
    await service.send("DELETE", f"/listeners/{opened.data['id']}", key)
    assert told(service) == []
    made = await service.endpoint(key, URL)
    soon = service.clock.now.isoformat().replace("+00:00", "Z")
    service.clock.advance(seconds=-60)
    await service.send("POST", f"/endpoints/{made['id']}/pause", key, {"until": soon})
    told(service)
    service.clock.advance(seconds=61)
    kept: Retention = KEPT
    maintenance = MaintainEndpoints(service.pool, service.clock, kept, lambda _: None, service.acts.extend)
    for expected in ([("webhook.endpoint_enabled", "paused")], []):
        await look_after_endpoints(maintenance)
        assert [(kind, data["was"]) for kind, data in told(service)] == expected


async def test_other_endpoints_hear_of_it_and_never_the_one_itself(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    own = await service.endpoint(merchant.partner_key, receiver.url, event_types=["webhook.*"])
    await service.endpoint(merchant.program_key, second_receiver.url, event_types=["webhook.endpoint_updated"])
    await service.send("PATCH", f"/endpoints/{own['id']}", merchant.partner_key, {"description": "x"})
    await service.consume(service.acts[-1])
    await until(lambda: len(second_receiver.posts) == 1)
    body = json.loads(second_receiver.posts[0].body)
    assert (body["event"], body["changed"]) == ("webhook.endpoint_updated", ["description"])
    assert receiver.posts == []


async def test_a_delivery_that_keeps_failing_is_told_once_and_so_is_its_arrival(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    for attempt in range(1, FAILING_STEP + 2):
        await service.attempted(attempt)
        if attempt == FAILING_STEP + 1:
            receiver.status = 204
        service.clock.advance(seconds=1.2 * STEPS[attempt] + 1)
    await service.settled(1)
    said = await service.said(2)
    assert [event.type for event in said] == ["webhook.delivery_failing", "webhook.delivery_recovered"]
    [failing] = service.events("webhook.delivery_failing")
    assert (failing["attempts"], failing["last_status"], failing["endpoint_id"]) == (4, 500, endpoint["id"])
    [recovered] = service.events("webhook.delivery_recovered")
    assert (recovered["attempts"], recovered["delivery_id"]) == (6, failing["delivery_id"])


async def test_a_report_that_keeps_failing_is_not_told(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, event_types=["webhook.*"])
    other = await service.endpoint(merchant.partner_key, URL)
    await service.send("PATCH", f"/endpoints/{other['id']}", merchant.partner_key, {"description": "x"})
    receiver.status = 500
    await service.consume(service.acts[-1])
    for attempt in range(1, FAILING_STEP + 1):
        await service.attempted(attempt)
        service.clock.advance(seconds=1.2 * STEPS[attempt] + 1)
    receiver.status = 204
    await service.settled(1)
    assert service.handed_over == []


async def test_a_replay_that_has_done_its_work_is_told(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    service.clock.advance(minutes=1)
    told(service)
    body = {"endpoint_id": endpoint["id"], "which": "all", "since": "2020-01-01T00:00:00Z"}
    dry = (await service.send("POST", "/replays", key, {**body, "dry_run": True})).data
    begun = (await service.send("POST", "/replays", key, body)).data
    await until(lambda: len(service.acts) >= 1, "the replay's end")
    [(kind, data)] = told(service)
    assert (kind, data["replay_id"], data["which"]) == ("webhook.replay_completed", begun["id"], "all")
    assert (data["matched"], data["enqueued"], data["skipped"]) == (1, 1, 0)
    assert dry["id"] != begun["id"]
