"""Dead letters: listed and replayed, one or many, by their owners only."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_merchant
from tests.services.webhooks.receiver import Receiver


async def make_dead(service: Service, merchant: Merchant, receiver: Receiver, count: int) -> str:
    """Leave this many dead letters at an endpoint that is active again."""
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
    filters: list[tuple[dict[str, Any], int]] = [
        ({"event_type": "codes.generated"}, 0),
        ({"endpoint_id": str(new_id())}, 0),
        ({"since": "2999-01-01T00:00:00Z"}, 0),
        ({"endpoint_id": endpoint_id, "limit": 3}, 3),
        ({"event_type": "code.redeemed", "since": "2020-01-01T00:00:00Z"}, 4),
    ]
    for body, count in filters:
        replayed = await service.send("POST", "/dead-letters/replay", merchant.partner_key, body)
        assert (replayed.status, replayed.data) == (200, {"replayed": count, "is_whole": "limit" not in body}), body
    await service.settled(7)
    assert len({post.id for post in receiver.posts}) == 7
    refused = await service.send("POST", "/dead-letters/replay", merchant.partner_key, {"limit": 10_001})
    assert refused.status == 422


async def test_what_is_purged_is_canceled_and_cannot_be_replayed(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint_id = await make_dead(service, merchant, receiver, 5)
    stranger = await make_merchant(service.admin, service.clock())
    for key, body, count in (
        (stranger.program_key, {}, 0),
        (merchant.partner_key, {"reason": "endpoint_gone"}, 0),
        (merchant.partner_key, {"event_type": "codes.generated"}, 0),
        (merchant.partner_key, {"reason": "expired", "endpoint_id": endpoint_id, "limit": 3}, 3),
    ):
        purged = await service.send("POST", "/dead-letters/purge", key, body)
        assert (purged.status, purged.data) == (200, {"purged": count, "is_whole": "limit" not in body}), body
    assert len((await service.send("GET", "/dead-letters?reason=expired", merchant.partner_key)).data) == 2
    assert (await service.send("GET", "/dead-letters?reason=aborted", merchant.partner_key)).data == []
    listed = await service.send("GET", f"/endpoints/{endpoint_id}/deliveries?status=canceled", merchant.partner_key)
    assert len(listed.data) == 3
    refused = await service.send("POST", f"/dead-letters/{listed.data[0]['id']}/replay", merchant.partner_key)
    assert (refused.status, refused.body["code"]) == (409, "delivery_not_replayable")
    assert (await service.send("POST", "/dead-letters/replay", merchant.partner_key)).data == {
        "replayed": 2,
        "is_whole": True,
    }


async def test_purges_and_replays_at_once_take_each_letter_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await make_dead(service, merchant, receiver, 12)
    replies = await asyncio.gather(
        *(
            service.send("POST", f"/dead-letters/{word}", merchant.partner_key, {"limit": 2})
            for word in ("purge", "replay") * 4
        )
    )
    taken = {"purged": 0, "replayed": 0}
    for reply in replies:
        for name in taken:
            taken[name] += reply.data.get(name, 0)
    left = len(await service.query("SELECT * FROM webhooks.dead_letters"))
    assert sum(taken.values()) + left == 12
    await service.settled(taken["replayed"])
    assert len(receiver.posts) == taken["replayed"]
    canceled = await service.query("SELECT * FROM webhooks.deliveries WHERE status = 'canceled'")
    assert len(canceled) == taken["purged"]


async def test_what_a_purged_letter_has_held_up_goes_on(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    members = {"ordering": "strict", "on_exhausted": "block", "schedule": [1]}
    await service.endpoint(merchant.partner_key, receiver.url, **members)
    receiver.status, receiver.headers = 500, {"webhook-delivery": "abort-message"}
    await service.consume(code_redeemed(merchant, "FIRST"))
    await service.settled(1, "dead")
    receiver.status, receiver.headers = 204, {}
    await service.consume(code_redeemed(merchant, "SECOND"))
    waiting = await service.query("SELECT visible_at = 'infinity' AS waits FROM webhooks.delivery_queue")
    assert [row["waits"] for row in waiting] == [True]
    purged = await service.send("POST", "/dead-letters/purge", merchant.partner_key)
    assert purged.data == {"purged": 1, "is_whole": True}
    await service.settled(1)
    assert json.loads(receiver.posts[-1].body)["code"] == "SECOND"


async def test_dead_letters_are_paged_and_filtered(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint_id = await make_dead(service, merchant, receiver, 5)
    first = await service.send("GET", f"/dead-letters?limit=3&endpoint_id={endpoint_id}", merchant.partner_key)
    cursor = first.body["meta"]["next_cursor"]
    rest = await service.send(
        "GET", f"/dead-letters?limit=3&endpoint_id={endpoint_id}&cursor={cursor}", merchant.partner_key
    )
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
        assert (await service.send("POST", "/dead-letters/replay", key)).data == {"replayed": 0, "is_whole": True}


async def test_a_replay_with_an_idempotency_key_happens_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await make_dead(service, merchant, receiver, 2)
    first = await service.send("POST", "/dead-letters/replay", merchant.partner_key, idempotency="again")
    again = await service.send("POST", "/dead-letters/replay", merchant.partner_key, idempotency="again")
    assert first.data == again.data == {"replayed": 2, "is_whole": True}
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_receivers_fault_is_told_by_an_event_and_only_ours_are_rejected(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    """Rejected messages land in the broker's dead queue, which an operator has to look into."""
    await service.endpoint(merchant.partner_key, receiver.url)
    watching = ["webhook.delivery_dead", "webhook.endpoint_disabled"]
    await service.endpoint(merchant.program_key, second_receiver.url, event_types=watching)
    receiver.status = 410
    assert await service.consume(code_redeemed(merchant)) == [None]
    await service.settled(1, "dead")
    await service.heard("webhook.delivery_dead")
    [told] = [event for event in service.handed_over if event.type == "webhook.delivery_dead"]
    second_receiver.status = 410
    assert await service.consume(told) == [None]
    await service.settled(2, "dead")
    assert json.loads(second_receiver.posts[0].body)["reason"] == "endpoint_gone"
    # A failing operational delivery emits no further event.
    assert len(service.events("webhook.delivery_dead")) == 1
    spoiled = replace(code_redeemed(merchant), body=b"{}")
    [rejected] = await service.consume(spoiled)
    assert rejected is not None
    assert rejected.reason == "invalid_envelope"


async def test_a_refused_replay_is_judged_again_under_its_idempotency_key(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    receiver.status = 500
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    [delivery] = (await service.send("GET", "/deliveries", merchant.partner_key)).data
    path = f"/dead-letters/{delivery['id']}/replay"
    early = await service.send("POST", path, merchant.partner_key, idempotency="one")
    assert (early.status, early.body["code"]) == (409, "delivery_pending")
    receiver.status = 410
    service.clock.advance(hours=1)
    await service.settled(1, "dead")
    again = await service.send("POST", path, merchant.partner_key, idempotency="one")
    assert (again.status, "Idempotent-Replayed" in again.headers) == (200, False), again.body
