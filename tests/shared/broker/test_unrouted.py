"""What no queue was bound for is kept in `unrouted`, can be looked at, and is published again as it first was."""

from shared.broker import topology
from shared.broker.operator import dead
from shared.broker.operator.depths import Depth, depths
from shared.broker.operator.watch import watching
from shared.broker.publisher import Publisher
from tests.shared.broker.tools import Broker

UNROUTED = topology.QUEUE_UNROUTED
CHECKOUTS = topology.QUEUE_REDEMPTION_CHECKOUT


async def publish(url: str, routing_key: str, body: bytes) -> str:
    async with Publisher(url, topology.EXCHANGE_CHECKOUT) as publisher:
        return await publisher.publish_one(routing_key, body)


async def test_an_event_that_missed_its_queue_is_replayed_by_its_exchange(url: str, broker: Broker) -> None:
    """A lost binding must not lose what was published meanwhile."""
    await broker.channel.queue_unbind(CHECKOUTS, topology.EXCHANGE_CHECKOUT, "checkout.completed")
    key = await publish(url, "checkout.completed", b"order")
    await broker.holds(UNROUTED, 1)
    assert (await dead.count(url))[UNROUTED] == 1
    [message] = await dead.list_dead(url, UNROUTED)
    assert (message.key, message.reason, message.routing_key) == (key, "unrouted", "checkout.completed")
    assert message.body == b"order"

    await topology.declare(url)
    await broker.holds(UNROUTED, 1)
    assert await dead.replay(url, UNROUTED) == 1
    await broker.holds(CHECKOUTS, 1)
    await broker.holds(UNROUTED, 0)


async def test_a_replay_of_what_nobody_wants_comes_back(url: str, broker: Broker) -> None:
    key = await publish(url, "checkout.nobody_wants_this", b"event")
    await broker.holds(UNROUTED, 1)
    assert await dead.replay(url, UNROUTED) == 1
    await broker.holds(UNROUTED, 1)
    assert await dead.purge(url, UNROUTED, choice=dead.chosen([key])) == 1
    await broker.holds(UNROUTED, 0)


async def test_depths_tell_messages_and_what_is_missing(url: str, broker: Broker) -> None:
    await publish(url, "checkout.completed", b"order")
    await broker.holds(CHECKOUTS, 1)
    await broker.channel.queue_delete(UNROUTED)
    found = await depths(url)
    assert found[CHECKOUTS] == Depth(messages=1, consumers=0)
    assert found[UNROUTED] is None
    assert set(found) == {queue.name for queue in topology.QUEUES}


async def test_watching_hears_its_routing_keys_and_takes_nothing_away(url: str, broker: Broker) -> None:
    async with watching(url, topology.EXCHANGE_CHECKOUT, ["checkout.completed", "checkout.other"]) as heard:
        await publish(url, "checkout.unheard", b"unheard")
        await publish(url, "checkout.completed", b"order")
        assert await heard(10) == b"order"
        assert await heard(0) is None
    await broker.holds(CHECKOUTS, 1)
