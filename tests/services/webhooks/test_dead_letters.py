"""Dead letters: listed, replayed one by one or many, by their owners only."""

import asyncio

import pytest

from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_merchant
from tests.services.webhooks.receiver import Receiver


async def make_dead(service: Service, merchant: Merchant, receiver: Receiver, count: int) -> str:
    """Leave so many dead letters behind at an endpoint that is active again."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "paused"})
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(count)))
    service.clock.advance(hours=97)
    await service.settled(count, "dead")
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "active"})
    return str(endpoint["id"])


async def test_a_replay_sends_the_same_message_with_todays_key(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 410
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    letter = (await service.send("GET", "/dead-letters", merchant.partner_key)).data[0]
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert shown.data["status"] == "disabled"
    rotated = await service.send(
        "POST", f"/endpoints/{endpoint['id']}/keys/rotate", merchant.partner_key, {"grace_period_seconds": 0}
    )
    receiver.status = 200
    replayed = await service.send("POST", f"/dead-letters/{letter['id']}/replay", merchant.partner_key)
    assert (replayed.status, replayed.data) == (200, {"id": letter["id"], "status": "pending"})
    await service.settled(1)
    first, second = receiver.posts
    assert (first.id, first.body) == (second.id, second.body) == (letter["message_id"], first.body)
    second.verify(rotated.data["secret"])
    shown = await service.send("GET", f"/deliveries/{letter['id']}", merchant.partner_key)
    assert [(a["number"], a["trigger"]) for a in shown.data["attempts"]] == [(1, "automatic"), (2, "replay")]
    assert (await service.send("GET", "/dead-letters", merchant.partner_key)).data == []
    again = await service.send("POST", f"/dead-letters/{letter['id']}/replay", merchant.partner_key)
    assert (again.status, again.body["code"]) == (409, "delivery_not_replayable")


async def test_what_is_pending_cannot_be_replayed(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    pending = (await service.send("GET", "/deliveries", merchant.partner_key)).data[0]
    refused = await service.send("POST", f"/dead-letters/{pending['id']}/replay", merchant.partner_key)
    assert (refused.status, refused.body["code"]) == (409, "delivery_pending")


async def test_two_replays_at_once_send_once(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await make_dead(service, merchant, receiver, 1)
    letter = (await service.send("GET", "/dead-letters", merchant.partner_key)).data[0]
    replies = await asyncio.gather(
        *(service.send("POST", f"/dead-letters/{letter['id']}/replay", merchant.partner_key) for _ in range(4))
    )
    assert sorted(reply.status for reply in replies)[0] == 200
    assert sum(reply.status == 200 for reply in replies) == 1
    await service.settled(1)
    assert len(receiver.posts) == 1


async def test_a_replay_has_a_fresh_schedule(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await make_dead(service, merchant, receiver, 1)
    receiver.status = 500
    letter = (await service.send("GET", "/dead-letters", merchant.partner_key)).data[0]
    await service.send("POST", f"/dead-letters/{letter['id']}/replay", merchant.partner_key)
    await service.attempted(1)
    rows = await service.query("SELECT step, ends_at, trigger FROM webhooks.delivery_queue")
    assert [(row["step"], row["trigger"]) for row in rows] == [(2, "replay")]
    assert (rows[0]["ends_at"] - service.clock()).total_seconds() == pytest.approx(96 * 3600, abs=5)


async def test_many_are_replayed_by_filter_up_to_a_limit(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint_id = await make_dead(service, merchant, receiver, 7)
    filters = [
        ({"event_type": "codes.generated"}, 0),
        ({"endpoint_id": str(new_id())}, 0),
        ({"since": "2999-01-01T00:00:00Z"}, 0),
        ({"endpoint_id": endpoint_id, "limit": 3}, 3),
        ({"event_type": "code.redeemed", "since": "2020-01-01T00:00:00Z"}, 4),
    ]
    for body, count in filters:
        replayed = await service.send("POST", "/dead-letters/replay", merchant.partner_key, body)
        assert (replayed.status, replayed.data) == (200, {"replayed": count}), body
    await service.settled(7)
    assert len({post.id for post in receiver.posts}) == 7
    refused = await service.send("POST", "/dead-letters/replay", merchant.partner_key, {"limit": 10_001})
    assert refused.status == 422


async def test_dead_letters_are_paged_and_filtered(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint_id = await make_dead(service, merchant, receiver, 5)
    first = await service.send("GET", f"/dead-letters?limit=3&endpoint_id={endpoint_id}", merchant.partner_key)
    cursor = first.body["meta"]["next_cursor"]
    rest = await service.send("GET", f"/dead-letters?limit=3&cursor={cursor}", merchant.partner_key)
    ids = [letter["id"] for letter in first.data + rest.data]
    assert len(set(ids)) == 5
    assert ids == sorted(ids, reverse=True)
    later = await service.send("GET", "/dead-letters?since=2999-01-01T00:00:00Z", merchant.partner_key)
    assert later.data == []


async def test_dead_letters_of_others_do_not_exist(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await make_dead(service, merchant, receiver, 1)
    stranger = await make_merchant(service.admin, service.clock())
    letter = (await service.send("GET", "/dead-letters", merchant.program_key)).data[0]
    for key in (stranger.partner_key, stranger.program_key):
        assert (await service.send("GET", "/dead-letters", key)).data == []
        assert (await service.send("POST", f"/dead-letters/{letter['id']}/replay", key)).status == 404
        assert (await service.send("POST", "/dead-letters/replay", key)).data == {"replayed": 0}


async def test_a_replay_with_an_idempotency_key_happens_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await make_dead(service, merchant, receiver, 2)
    first = await service.send("POST", "/dead-letters/replay", merchant.partner_key, idempotency="again")
    again = await service.send("POST", "/dead-letters/replay", merchant.partner_key, idempotency="again")
    assert first.data == again.data == {"replayed": 2}
    assert again.headers["Idempotent-Replayed"] == "true"
