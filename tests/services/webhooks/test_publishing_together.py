"""Messages that programs publish concurrently: one transaction, and each as if it had come alone."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.services.webhooks.conftest import Merchant, Reply, Service, make_merchant

TYPE = "custom.card.sent"
URL = "https://example.com/hooks"


async def publish(service: Service, merchant: Merchant, key: str | None = None, **members: Any) -> Reply:
    body = {"event_type": TYPE, "payload": {"n": 1}, **members}
    return await service.send("POST", "/messages", merchant.program_key, body, idempotency=key)


def codes(replies: Sequence[Reply]) -> list[tuple[int, str]]:
    return [(reply.status, "" if reply.status < 300 else reply.body["code"]) for reply in replies]


async def test_each_of_a_group_is_answered_as_if_it_had_come_alone(service: Service, merchant: Merchant) -> None:
    other = await make_merchant(service.admin, service.clock())
    endpoint = await service.endpoint(merchant.program_key, URL, event_types=["custom.*"], status="paused")
    assert endpoint["status"] == "paused"
    await publish(service, merchant, event_id="before")
    replies = await asyncio.gather(
        publish(service, merchant, event_id="e-1"),
        publish(service, merchant, event_id="e-1"),
        publish(service, merchant, event_id="e-1", payload={"n": 2}),
        publish(service, merchant, event_id="before"),
        publish(service, merchant, event_id="before", payload={"n": 2}),
        publish(service, other, event_id="e-1", payload={"n": 3}),
        publish(service, merchant, event_id="e-2", partner_id=str(merchant.partner_id)),
        publish(service, merchant, event_id="e-3", partner_id=str(other.partner_id)),
        publish(service, merchant, event_id="e-4", occurred_at="2999-01-01T00:00:00Z"),
        publish(service, merchant),
        publish(service, merchant),
    )
    assert Counter(codes(replies[:3])) == {(201, ""): 1, (200, ""): 1, (409, "event_id_conflict"): 1} or Counter(
        codes(replies[:3])
    ) == {(201, ""): 1, (409, "event_id_conflict"): 2}
    assert codes(replies[3:5]) == [(200, ""), (409, "event_id_conflict")]
    assert [status for status, _ in codes(replies[5:])] == [201, 201, 422, 422, 201, 201]
    assert [list(reply.body["errors"]) for reply in replies[7:9]] == [["partner_id"], ["occurred_at"]]
    assert [reply.data["deliveries"] for reply in (replies[5], replies[6], replies[9])] == [0, 1, 1]
    mine = [reply.data["id"] for reply in (*replies, *replies) if reply.status < 300]
    assert len(set(mine)) == 6


async def test_of_64_requests_of_16_keys_each_key_publishes_one_message(service: Service, merchant: Merchant) -> None:
    """Without an event id only the key keeps a repeat from becoming another message."""
    await service.endpoint(merchant.program_key, URL, event_types=["custom.*"], status="paused")

    async def until_answered(key: str) -> Reply:
        while (reply := await publish(service, merchant, key)).status == 409:
            assert reply.body["code"] == "idempotency_in_progress"
        return reply

    replies = await asyncio.gather(*(until_answered(f"key-{n % 16}") for n in range(64)))
    assert Counter(reply.status for reply in replies) == {201: 64}
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 16
    assert len({reply.data["id"] for reply in replies}) == 16
    assert len(await service.query("SELECT FROM webhooks.deliveries")) == 16
    refused = await publish(service, merchant, "key-0", payload={"n": 2})
    assert codes([refused]) == [(422, "idempotency_key_reused")]
