"""Pending deliveries of a disabled endpoint become dead letters at once, so that a replay finds all of them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.webhooks.usecases import close_endpoints
from services.webhooks.usecases.close_endpoints import CloseEndpoints
from shared.database import outbox
from shared.ids import new_id
from shared.periodic import ElementsFailed
from tests.databases import Database
from tests.services.webhooks.conftest import HeldClock, Merchant, Service, code_redeemed, running_service, until
from tests.services.webhooks.receiver import Receiver


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close_endpoints, "GIVEN_UP_AT_ONCE", 4)


def closer(service: Service) -> CloseEndpoints:
    return CloseEndpoints(service.pool, service.clock, service.acts.extend)


async def pending(service: Service, merchant: Merchant, receiver: Receiver, count: int, **members: Any) -> str:
    """Create an endpoint with this many deliveries waiting for their next attempt, and return its path."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, **members)
    receiver.status = 500
    # Few enough at a time that no breaker opens.
    await service.consume(*(code_redeemed(merchant, f"C{number}") for number in range(count)))
    await service.attempted(min(count, 4))
    return f"/endpoints/{endpoint['id']}"


async def statuses(service: Service) -> dict[str, int]:
    rows = await service.query("SELECT status, count(*) AS count FROM webhooks.deliveries GROUP BY 1")
    return {row["status"]: row["count"] for row in rows}


async def letters(service: Service, merchant: Merchant) -> list[str]:
    return [each["reason"] for each in await service.pages("/dead-letters", merchant.partner_key)]


async def queued(service: Service) -> int:
    return len(await service.query("SELECT 1 FROM webhooks.delivery_queue"))


async def is_closing(service: Service) -> bool:
    rows = await service.query("SELECT 1 FROM webhooks.endpoints WHERE is_closing")
    return bool(rows)


async def test_by_hand_it_is_done_in_the_answer(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """They waited for their next attempt, up to a day, and a replay of failed deliveries missed them meanwhile."""
    path = await pending(service, merchant, receiver, 3)
    assert (await service.send("POST", f"{path}/disable", merchant.partner_key)).status == 200
    assert await statuses(service) == {"dead": 3}
    assert await letters(service, merchant) == ["endpoint_disabled"] * 3
    assert (await queued(service), await is_closing(service)) == (0, False)
    dead = [event for event in service.acts if event.type == "webhook.delivery_dead"]
    assert len(dead) == 3
    receiver.status = 204
    service.clock.advance(minutes=1)
    replay = {"endpoint_id": path.rpartition("/")[2], "which": "failed", "since": "2020-01-01T00:00:00Z"}
    assert (await service.send("POST", "/replays", merchant.partner_key, replay)).status == 202
    await service.settled(3)


@pytest.mark.parametrize("door", ["disable", "patch", "gone", "asked", "failing"])
async def test_whoever_disables_it_the_rest_follows_in_chunks(
    service: Service, merchant: Merchant, receiver: Receiver, door: str
) -> None:
    path = await pending(service, merchant, receiver, 4)
    await service.query("UPDATE webhooks.delivery_queue SET visible_at = visible_at + interval '1 day'")
    await copies(service, 7)
    if door == "disable":
        await service.send("POST", f"{path}/disable", merchant.partner_key)
    elif door == "patch":
        await service.send("PATCH", path, merchant.partner_key, {"status": "disabled"})
    else:
        await disabled_by_an_answer(service, merchant, receiver, door)
    first = await statuses(service)
    # Deliveries that failed for long enough are put back first, and belong to the chunk.
    assert first["pending"] == (8 if door == "failing" else 7), first
    await closer(service)()
    after = await statuses(service)
    assert "pending" not in after
    assert sum(after.values()) == sum(first.values())
    assert (await queued(service), await is_closing(service)) == (0, False)
    shown = await service.send("GET", path, merchant.partner_key)
    assert shown.data["status"] == "disabled"
    assert len(await letters(service, merchant)) == sum(after.values())


async def copies(service: Service, count: int) -> None:
    """Add this many waiting deliveries, copied from one."""
    for _ in range(count):
        await service.query(
            """
            WITH made AS (
                INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, format, event_type, created_at)
                SELECT gen_random_uuid(), endpoint_id, gen_random_uuid(), format, event_type, created_at
                FROM webhooks.deliveries WHERE status = 'pending' LIMIT 1 RETURNING id, endpoint_id, message_id
            )
            INSERT INTO webhooks.delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger,
                                                 step, visible_at, ends_at)
            SELECT made.id, made.endpoint_id, made.message_id, q.format, q.event_type, q.trigger, q.step,
                   q.visible_at + interval '1 day', q.ends_at
            FROM made, (SELECT * FROM webhooks.delivery_queue LIMIT 1) AS q
            """
        )


async def disabled_by_an_answer(service: Service, merchant: Merchant, receiver: Receiver, door: str) -> None:
    if door == "gone":
        receiver.status = 410
    elif door == "asked":
        receiver.headers = {"webhook-delivery": "disable"}
    else:
        week = service.clock() - timedelta(days=6)
        await service.query(
            "UPDATE webhooks.endpoints SET failing_since = $1, last_failure_at = $2, version = version + 1",
            week,
            week + timedelta(days=5),
        )
    await service.consume(code_redeemed(merchant, "LAST"))
    await service.heard("webhook.endpoint_disabled")


async def test_a_process_that_dies_between_chunks_leaves_the_rest_to_the_next_one(
    service: Service, merchant: Merchant, receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk is atomic: dead letters, events and the queue agree at any moment."""
    path = await pending(service, merchant, receiver, 4)
    await copies(service, 9)
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    written, chunks = outbox.insert_events, 0

    async def dies(connection: Any, events: Any) -> None:
        nonlocal chunks
        chunks += 1
        await written(connection, events)
        if chunks == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr(outbox, "insert_events", dies)
    with pytest.raises(ElementsFailed):
        await closer(service)()
    assert await statuses(service) == {"dead": 8, "pending": 5}
    assert len(await letters(service, merchant)) == 8
    monkeypatch.setattr(outbox, "insert_events", written)
    async with running_service(database, service.clock, sends=False) as other:
        await asyncio.gather(closer(other)(), closer(service)())
        await closer(other)()
    assert await statuses(service) == {"dead": 13}
    events = await service.query("SELECT id FROM webhooks.events WHERE type = 'webhook.delivery_dead'")
    assert (len(events), len(await letters(service, merchant))) == (13, 13)


async def test_a_replay_waits_until_all_that_was_pending_is_found(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """The replay would miss the dead letters that are created a moment later."""
    path = await pending(service, merchant, receiver, 4)
    await service.send("POST", f"{path}/pause", merchant.partner_key)
    await service.consume(*(code_redeemed(merchant, f"P{number}") for number in range(6)))
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    assert (await statuses(service))["pending"] == 6
    service.clock.advance(minutes=1)
    made = {"endpoint_id": path.rpartition("/")[2], "which": "failed", "since": "2020-01-01T00:00:00Z", "dry_run": True}
    replay = (await service.send("POST", "/replays", merchant.partner_key, made)).data
    assert await service.worker.claim() is None
    await closer(service)()
    service.worker.wake()

    async def shown() -> Any:
        return (await service.send("GET", f"/replays/{replay['id']}", merchant.partner_key)).data

    async with asyncio.timeout(30):
        while (await shown())["status"] != "completed":  # noqa: ASYNC110 - it is another's row that is waited for
            await asyncio.sleep(0.01)
    assert (await shown())["matched"] == 10


async def test_whoever_replays_or_purges_meanwhile_is_told_that_there_is_more(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    path = await pending(service, merchant, receiver, 4)
    await copies(service, 6)
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    for chosen, door in (({"endpoint_id": path[11:]}, "replay"), ({}, "purge")):
        found = await service.send("POST", f"/dead-letters/{door}", merchant.partner_key, chosen)
        assert found.data["is_whole"] is False, door
    await closer(service)()
    assert (await service.send("POST", "/dead-letters/purge", merchant.partner_key, {})).data["is_whole"] is True


async def test_an_attempt_that_was_under_way_when_it_was_disabled_is_not_tried_again(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    release = receiver.hang(500)
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    await service.send("POST", f"/endpoints/{endpoint['id']}/disable", merchant.partner_key)
    release.set()
    await service.settled(1, "dead")
    assert await letters(service, merchant) == ["endpoint_disabled"]
    assert (await queued(service), await is_closing(service)) == (0, False)


async def test_one_that_is_sent_by_hand_meanwhile_is_given_up_when_that_fails(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    path = await pending(service, merchant, receiver, 1)
    [delivery] = await service.pages("/deliveries", merchant.partner_key)
    release = receiver.hang(500)
    by_hand = asyncio.create_task(service.send("POST", f"/deliveries/{delivery['id']}/retry", merchant.partner_key))
    await until(lambda: receiver.under_way == 1)
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    assert await statuses(service) == {"pending": 1}
    release.set()
    assert (await by_hand).status == 200
    await closer(service)()
    assert await letters(service, merchant) == ["endpoint_disabled"]


async def test_what_is_replayed_to_a_disabled_endpoint_stays(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A replay to a disabled endpoint would be given up before it is sent."""
    path = await pending(service, merchant, receiver, 2)
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    replayed = await service.send("POST", "/dead-letters/replay", merchant.partner_key, {"endpoint_id": path[11:]})
    assert replayed.data["replayed"] == 2
    await service.attempted(4)
    await service.send("PATCH", path, merchant.partner_key, {"description": "still disabled"})
    await closer(service)()
    assert await statuses(service) == {"pending": 2}


async def test_enabling_in_between_keeps_what_is_left(
    service: Service, merchant: Merchant, receiver: Receiver, clock: HeldClock
) -> None:
    """Deliveries of an active endpoint would become dead letters."""
    path = await pending(service, merchant, receiver, 4)
    await copies(service, 3)
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    await service.send("POST", f"{path}/enable", merchant.partner_key)
    await closer(service)()
    assert await statuses(service) == {"dead": 4, "pending": 3}


@pytest.mark.parametrize("ordering", ["key", "strict"])
async def test_a_line_is_given_up_whole_and_replayed_in_its_order(
    service: Service, merchant: Merchant, receiver: Receiver, ordering: str
) -> None:
    """All but the first delivery of a line have no due time, so no other task would ever make them dead letters."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, ordering=ordering)
    path, code_id = f"/endpoints/{endpoint['id']}", new_id()
    receiver.status = 500
    await service.consume(*(code_redeemed(merchant, code_id=code_id) for _ in range(3)))
    await service.attempted(1)
    before = [post.body for post in receiver.posts]
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    assert await statuses(service) == {"dead": 3}
    positions = await service.query("SELECT position FROM webhooks.dead_letters WHERE ordering_key IS NOT NULL")
    assert len({row["position"] for row in positions}) == 3
    receiver.status = 204
    receiver.posts.clear()
    await service.send("POST", "/dead-letters/replay", merchant.partner_key, {"endpoint_id": path[11:]})
    await service.settled(3)
    assert receiver.posts[0].body == before[0]


async def test_archiving_cancels_instead(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    path = await pending(service, merchant, receiver, 4)
    await copies(service, 3)
    await service.send("POST", f"{path}/disable", merchant.partner_key)
    assert await is_closing(service)
    await service.send("DELETE", path, merchant.partner_key)
    await closer(service)()
    assert await statuses(service) == {"dead": 4, "canceled": 3}
    assert not await is_closing(service)
