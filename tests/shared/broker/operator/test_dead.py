"""Looking into a dead queue changes nothing; replaying keeps what the first receipt was; purging is for good."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.broker import topology
from shared.broker.connection import BrokerUnavailable
from shared.broker.consumer import BatchConsumer, Received, Reject
from shared.broker.operator import dead
from shared.clock import utc_now
from tests.amqp import RawMessage
from tests.shared.broker.tools import Broker, Handler, client, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"
NOW = datetime(2026, 3, 18, 23, 29, 28, 917_000, tzinfo=UTC)


async def kill_all(
    url: str, broker: Broker, bodies: Sequence[bytes], received_at: datetime = NOW, **properties: Any
) -> None:
    """Send messages that a consumer rejects, with the body as reason."""
    before = await broker.count(DEAD)
    for body in bodies:
        await broker.put(body, message_id=f"id-{body.decode()}", message_type="checkout.completed", **properties)

    def judge(received: Received) -> Reject:
        return Reject(received.body.decode().rstrip("0123456789"), "detail")

    async with running(BatchConsumer(url, QUEUE, Handler(judge), lambda: received_at)):
        await broker.holds(DEAD, before + len(bodies))


async def test_messages_are_counted_listed_and_shown_and_stay(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad1", b"worse2", b"bad3"])
    for _ in range(3):
        await broker.holds(DEAD, 3)
        assert await dead.count(url) == {**dict.fromkeys(dead.QUEUES, 0), QUEUE: 3}
        listed = await dead.list_dead(url, QUEUE)
        assert [message.key for message in listed] == ["id-bad1", "id-worse2", "id-bad3"]
    await broker.holds(DEAD, 3)
    first = listed[0]
    assert (first.reason, first.detail, first.routing_key, first.body) == ("bad", "detail", QUEUE, b"bad1")
    assert (first.first_received_at, first.died_at) == (NOW, NOW)
    assert [m.key for m in await dead.list_dead(url, QUEUE, limit=2)] == ["id-bad1", "id-worse2"]
    await broker.holds(DEAD, 3)
    assert [m.key for m in await dead.list_dead(url, QUEUE, choice=dead.chosen(reason="worse"))] == ["id-worse2"]
    await broker.holds(DEAD, 3)
    assert await dead.list_dead(url, QUEUE, limit=0) == []
    shown = await dead.show(url, QUEUE, "id-bad3")
    assert shown is not None
    assert shown.body == b"bad3"
    await broker.holds(DEAD, 3)
    assert await dead.show(url, QUEUE, "id-unknown") is None


async def test_looking_often_does_not_use_up_a_message(url: str, broker: Broker) -> None:
    """RabbitMQ 4 drops what was delivered 20 times, unless the queue says otherwise; each look is a delivery."""
    await kill_all(url, broker, [b"bad1"])
    for _ in range(25):
        await broker.holds(DEAD, 1)
        assert len(await dead.list_dead(url, QUEUE)) == 1


async def test_what_was_looked_at_keeps_its_order(url: str, broker: Broker) -> None:
    """A channel gives back in disorder what is more than it passes on at a time."""
    bodies = [b"%d" % number for number in range(120)]
    for body in bodies:
        await broker.put(body, DEAD)
    for _ in range(3):
        assert [message.body for message in await dead.list_dead(url, QUEUE, limit=200)] == bodies
    assert await dead.purge(url, QUEUE, choice=lambda message: int(message.body) % 3 == 0) == 40
    left = [body for body in bodies if int(body) % 3]
    assert [message.body for message in await dead.list_dead(url, QUEUE, limit=200)] == left


async def test_a_replayed_message_comes_as_it_first_came(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad1", b"bad2"], headers={"traceparent": "00-abc"})
    handler = Handler()
    async with running(BatchConsumer(url, QUEUE, handler, utc_now)):
        assert await dead.replay(url, QUEUE, choice=dead.chosen(["id-bad2"])) == 1
        await until(lambda: handler.done == [b"bad2"])
    await broker.holds(DEAD, 1)
    [received] = handler.batches[0]
    assert received.first_received_at == NOW
    assert (received.message_id, received.routing_key) == ("id-bad2", QUEUE)
    assert received.headers["traceparent"] == "00-abc"
    assert "x-mintwire-reason" not in received.headers
    assert [message.key for message in await dead.list_dead(url, QUEUE)] == ["id-bad1"]


async def test_a_message_that_dies_again_keeps_its_first_receipt(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad1"])
    later = NOW + timedelta(days=2)
    async with running(BatchConsumer(url, QUEUE, Handler(lambda _: Reject("still_bad")), lambda: later)):
        assert await dead.replay(url, QUEUE) == 1
        await broker.holds(DEAD, 1)
    [message] = await dead.list_dead(url, QUEUE)
    assert (message.reason, message.first_received_at, message.died_at) == ("still_bad", NOW, later)


async def test_what_the_broker_gave_up_is_dated_by_the_broker(url: str, broker: Broker) -> None:
    """Its first receipt is unknown; the time of its death is the latest that it can have been."""
    before = utc_now() - timedelta(seconds=2)
    async with client(url) as raw:
        await raw.put_raw(RawMessage(b"killer"))
        await broker.holds(QUEUE, 1)
    for _ in range(topology.DELIVERY_LIMIT + 1):

        async def rejected() -> bool:
            message = await broker.channel.basic_get(QUEUE)
            if message.delivery_tag is None:
                return False
            await broker.channel.basic_reject(message.delivery_tag, requeue=True)
            return True

        await until(rejected)
    await broker.holds(DEAD, 1)
    [message] = await dead.list_dead(url, QUEUE)
    assert (message.reason, message.routing_key) == ("delivery_limit", QUEUE)
    assert message.key.startswith("sha256:")
    assert message.died_at is not None
    assert before < message.died_at < utc_now() + timedelta(seconds=2)
    handler = Handler()
    async with running(BatchConsumer(url, QUEUE, handler, lambda: NOW + timedelta(days=3650))):
        await broker.holds(DEAD, 1)
        assert await dead.replay(url, QUEUE) == 1
        await until(lambda: handler.done == [b"killer"])
    assert handler.batches[0][0].first_received_at == message.died_at


async def test_replaying_everything_takes_many_and_those_of_one_id(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad%d" % (number // 2) for number in range(240)])
    assert await dead.replay(url, QUEUE, limit=5) == 5
    await broker.holds(DEAD, 235)
    assert await dead.replay(url, QUEUE) == 235
    await broker.holds(QUEUE, 240)
    assert await broker.count(DEAD) == 0
    assert await dead.replay(url, QUEUE) == 0


async def test_what_cannot_be_replayed_stays_dead(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad1", b"bad2"])
    await broker.channel.queue_delete(QUEUE)
    with pytest.raises(BrokerUnavailable, match="0 replayed; 2 were not confirmed"):
        await dead.replay(url, QUEUE)
    await broker.holds(DEAD, 2)


async def test_what_came_before_its_consumer_s_memory_stays_unless_it_is_meant(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad1", b"bad2"], received_at=NOW - timedelta(days=1))
    await kill_all(url, broker, [b"bad3"])
    with pytest.raises(dead.Forgotten, match=f"1 replayed; 2 first came before .* and stay in {DEAD}"):
        await dead.replay(url, QUEUE, known_since=NOW)
    await broker.holds(QUEUE, 1)
    await broker.holds(DEAD, 2)
    assert await dead.replay(url, QUEUE, known_since=NOW - timedelta(days=1)) == 2


async def test_purging_removes_what_is_chosen(url: str, broker: Broker) -> None:
    await kill_all(url, broker, [b"bad1", b"worse2", b"bad3"])
    assert await dead.purge(url, QUEUE, choice=dead.chosen(reason="worse")) == 1
    await broker.holds(DEAD, 2)
    assert [message.key for message in await dead.list_dead(url, QUEUE)] == ["id-bad1", "id-bad3"]
    await broker.holds(DEAD, 2)
    assert await dead.purge(url, QUEUE) == 2
    assert await dead.list_dead(url, QUEUE) == []
