"""A single delivery: sent manually whatever its state, canceled, inspected, and redacted."""

import asyncio
from typing import Any

from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, until
from tests.services.webhooks.receiver import Receiver


async def delivered(service: Service, merchant: Merchant, receiver: Receiver, **members: Any) -> tuple[Any, Any]:
    """Return an endpoint and its only delivery, once it was attempted or waits in the queue."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, **members)
    await service.consume(code_redeemed(merchant))
    if members.get("status") != "paused":
        await service.attempted(1)
    return endpoint, (await service.send("GET", "/deliveries", merchant.partner_key)).data[0]


async def retry(service: Service, merchant: Merchant, delivery: Any) -> Any:
    answer = await service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.partner_key)
    assert answer.status == 200, answer.body
    return answer.data


async def test_a_success_by_hand_ends_a_pending_delivery(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    receiver.status = 500
    _, delivery = await delivered(service, merchant, receiver)
    receiver.status = 204
    attempt = await retry(service, merchant, delivery)
    assert (attempt["outcome"], attempt["trigger"], attempt["number"]) == ("succeeded", "manual", 2)
    shown = (await service.send("GET", f"/deliveries/{delivery['id']}", merchant.partner_key)).data
    assert (shown["status"], shown["attempts_made"], shown["next_attempt_at"]) == ("succeeded", 2, None)
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []
    assert receiver.posts[0].id == receiver.posts[1].id == delivery["message_id"]


async def test_a_failure_by_hand_leaves_schedule_and_health_as_they_were(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    receiver.status = 500
    endpoint, delivery = await delivered(service, merchant, receiver)
    health = f"/endpoints/{endpoint['id']}/health"
    queued = await service.query("SELECT visible_at, step, token FROM webhooks.delivery_queue")
    before = (await service.send("GET", health, merchant.partner_key)).data
    for number in (2, 3):
        attempt = await retry(service, merchant, delivery)
        assert (attempt["outcome"], attempt["number"]) == ("failed", number)
    assert await service.query("SELECT visible_at, step, token FROM webhooks.delivery_queue") == queued
    assert (await service.send("GET", health, merchant.partner_key)).data == before
    shown = (await service.send("GET", f"/deliveries/{delivery['id']}", merchant.partner_key)).data
    assert (shown["status"], shown["next_attempt_at"]) == ("pending", delivery["next_attempt_at"])


async def test_a_dead_letter_of_a_disabled_endpoint_is_sent_by_hand(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    receiver.status = 410
    endpoint, delivery = await delivered(service, merchant, receiver)
    await service.settled(1, "dead")
    assert (await retry(service, merchant, delivery))["outcome"] == "failed"
    assert len((await service.send("GET", "/dead-letters", merchant.partner_key)).data) == 1
    receiver.status = 200
    rotated = await service.send(
        "POST", f"/endpoints/{endpoint['id']}/keys/rotate", merchant.partner_key, {"grace_period_seconds": 0}
    )
    assert (await retry(service, merchant, delivery))["outcome"] == "succeeded"
    receiver.posts[-1].verify(rotated.data["secret"])
    assert (await service.send("GET", "/dead-letters", merchant.partner_key)).data == []
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert shown.data["status"] == "disabled"


async def test_what_is_being_sent_is_not_sent_twice_at_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A double click would POST the same delivery twice at the same moment."""
    release = receiver.hang()
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.posts, "the first POST")
    delivery = (await service.send("GET", "/deliveries", merchant.partner_key)).data[0]
    for verb in ("retry", "cancel"):
        refused = await service.send("POST", f"/deliveries/{delivery['id']}/{verb}", merchant.partner_key)
        assert (refused.status, refused.body["code"]) == (409, "delivery_under_way")
    release.set()
    await service.settled(1)
    assert len(receiver.posts) == 1


async def test_while_it_is_sent_by_hand_the_dispatcher_leaves_it_alone(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint, delivery = await delivered(service, merchant, receiver, status="paused")
    release = receiver.hang()
    by_hand = asyncio.create_task(retry(service, merchant, delivery))
    await until(lambda: receiver.posts, "the POST by hand")
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", merchant.partner_key)
    await service.consume(code_redeemed(merchant, "LATER"))
    await until(lambda: len(receiver.posts) == 2, "the later one")
    release.set()
    assert (await by_hand)["outcome"] == "succeeded"
    await service.settled(2)
    assert len(receiver.posts) == 2


async def test_a_pending_delivery_is_canceled_once(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint, delivery = await delivered(service, merchant, receiver, status="paused")
    path = f"/deliveries/{delivery['id']}/cancel"
    canceled = await service.send("POST", path, merchant.partner_key)
    assert (canceled.status, canceled.data["status"], canceled.data["next_attempt_at"]) == (200, "canceled", None)
    again = await service.send("POST", path, merchant.partner_key)
    assert (again.status, again.body["code"]) == (409, "delivery_not_pending")
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", merchant.partner_key)
    await service.consume(code_redeemed(merchant, "LATER"))
    await service.settled(1)
    assert [post.id for post in receiver.posts] != [delivery["message_id"]]


async def test_attempts_tell_what_was_sent_and_said_and_forget_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    receiver.status, receiver.headers = 500, {"X-Said": "no"}
    endpoint, delivery = await delivered(
        service, merchant, receiver, headers={"X-Shop": "acme"}, auth={"type": "bearer", "token": "very-secret"}
    )
    path = f"/deliveries/{delivery['id']}/attempts"
    [attempt] = (await service.send("GET", path, merchant.partner_key)).data
    assert receiver.posts[0].headers["Authorization"] == "Bearer very-secret"
    assert receiver.posts[0].headers["X-Shop"] == "acme"
    assert (attempt["status"], attempt["remote_ip"]) == (500, "127.0.0.1")
    sent = {name.lower(): value for name, value in attempt["request_headers"].items()}
    assert (sent["webhook-id"], sent["x-shop"]) == (delivery["message_id"], "acme")
    assert "very-secret" not in str(attempt)
    assert attempt["response_headers"]["X-Said"] == "no"
    assert attempt["duration_ms"] >= (attempt["ttfb_ms"] or 0)
    assert attempt["next_attempt_at"] is not None
    for _ in range(2):
        redacted = await service.send("DELETE", f"{path}/1/content", merchant.partner_key)
        [left] = redacted.data
        assert (left["response"], left["request_headers"], left["response_headers"]) == (None, None, None)
        assert (left["status"], left["redacted_at"] is None) == (500, False)
    assert (await service.send("DELETE", f"{path}/2/content", merchant.partner_key)).status == 404
    assert (await service.send("DELETE", f"{path}/x/content", merchant.partner_key)).status == 404
    assert endpoint["auth"] == {"type": "bearer", "name": None}


async def test_an_attempt_has_an_id_of_its_own(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    receiver.status = 500
    _, delivery = await delivered(service, merchant, receiver)
    await service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.partner_key)
    attempts = (await service.send("GET", f"/deliveries/{delivery['id']}/attempts", merchant.partner_key)).data
    digits = delivery["id"].replace("-", "")
    assert [each["id"] for each in attempts] == [f"att_{digits}_1", f"att_{digits}_2"]
    for each in attempts:
        shown = await service.send("GET", f"/attempts/{each['id']}", merchant.partner_key)
        assert (shown.status, shown.data) == (200, each)
    for _ in range(2):
        left = await service.send("DELETE", f"/attempts/att_{digits}_2/content", merchant.partner_key)
        assert (left.status, left.data["id"], left.data["request_headers"]) == (200, f"att_{digits}_2", None)
        assert left.data["redacted_at"] is not None
    first, second = (await service.send("GET", f"/deliveries/{delivery['id']}/attempts", merchant.partner_key)).data
    assert (first, second) == (attempts[0], left.data)
    others = (
        *(f"att_{digits}_{number}" for number in ("3", "0", "-1", "01", "x", "", "999999999", "1_1", "\u0661")),
        f"att_{digits}",
        f"att_{digits[:-1]}_1",
        f"att_{digits.upper()}_1",
        f"{digits}_1",
        f"att_{delivery['id']}_1",
        "att_" + "z" * 32 + "_1",
    )
    for name in others:
        assert (await service.send("GET", f"/attempts/{name}", merchant.partner_key)).status == 404, name
        assert (await service.send("DELETE", f"/attempts/{name}/content", merchant.partner_key)).status == 404, name


async def test_deliveries_are_filtered(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    _, first = await delivered(service, merchant, receiver)
    await service.settled(1)
    receiver.status = 500
    await service.consume(code_redeemed(merchant, "B"))
    await service.attempted(2)
    receiver.headers = {"webhook-delivery": "abort-message"}
    await service.consume(code_redeemed(merchant, "C"))
    await service.settled(1, "dead")

    async def found(query: str) -> list[str]:
        answer = await service.send("GET", f"/deliveries?{query}", merchant.partner_key)
        assert answer.status == 200, answer.body
        return [each["status"] for each in answer.data]

    assert await found("") == ["dead", "pending", "succeeded"]
    for status in ("dead", "pending", "succeeded"):
        assert await found(f"status={status}") == [status]
        assert await found(f"status={status}&event_type=codes.generated") == []
        assert await found(f"status={status}&until=2020-01-01T00:00:00Z") == []
        assert await found(f"status={status}&since=2020-01-01T00:00:00Z&limit=1") == [status]
    assert await found("status=dead,pending") == ["dead", "pending"]
    assert await found("status=paused,succeeded") == ["succeeded"]
    assert await found("status=paused,in_flight") == []
    assert await found(f"message_id={first['message_id']}&status=dead,succeeded") == ["succeeded"]
    assert await found("code=B&status=dead,succeeded") == []
    assert await found("code=B&status=dead,pending") == ["pending"]
    unknown = await service.send("GET", "/deliveries?status=dead,lost", merchant.partner_key)
    assert (unknown.status, list(unknown.body["errors"])) == (422, ["status"])
    assert await found(f"message_id={first['message_id']}") == ["succeeded"]
    assert await found(f"message_id={first['message_id']}&status=dead") == []
    refused = await service.send("GET", "/deliveries?message_id=1", merchant.partner_key)
    assert (refused.status, list(refused.body["errors"])) == (422, ["message_id"])


async def test_who_waits_for_its_turn_is_sent_by_hand_and_waits_on_after_a_failure(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    receiver.status = 500
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict")
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    await service.attempted(1)
    second, _ = (await service.send("GET", "/deliveries?status=pending", merchant.partner_key)).data
    assert second["next_attempt_at"] is None
    assert (await retry(service, merchant, second))["outcome"] == "failed"
    lines = await service.query("SELECT delivery_id FROM webhooks.delivery_queue WHERE visible_at = 'infinity'")
    assert [str(line["delivery_id"]) for line in lines] == [second["id"]]
    receiver.status = 204
    assert (await retry(service, merchant, second))["outcome"] == "succeeded"
    left = (await service.send("GET", "/deliveries?status=pending", merchant.partner_key)).data
    assert len(left) == 1


async def test_who_leaves_a_line_by_hand_makes_room_for_the_next(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, ordering="strict", status="paused")
    await service.consume(*(code_redeemed(merchant, code) for code in "ABC"))
    third, second, first = (await service.send("GET", "/deliveries", merchant.partner_key)).data

    async def due() -> list[str]:
        rows = await service.query("SELECT delivery_id FROM webhooks.delivery_queue WHERE visible_at <> 'infinity'")
        return [str(row["delivery_id"]) for row in rows]

    assert await due() == [first["id"]]
    await retry(service, merchant, first)
    assert await due() == [second["id"]]
    await service.send("POST", f"/deliveries/{second['id']}/cancel", merchant.partner_key)
    assert await due() == [third["id"]]
