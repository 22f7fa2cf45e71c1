"""A lost binding comes back by itself, with the rights of the service whose queue it is, and with no others."""

from collections.abc import Sequence

import aiormq
import pytest

from mintwire.cli.checks.management import Management
from shared.broker import topology
from shared.broker.bindings import bind_again
from shared.broker.connection import BrokerRefused
from shared.broker.consumer import BatchConsumer
from shared.broker.topology import BINDINGS, Binding, bindings_of
from shared.clock import utc_now
from tests.shared.broker.tools import Broker, Handler, Proxy, running, until

OWNERS = {
    "codes": topology.QUEUE_CODES_REDEMPTIONS,
    "redemption": topology.QUEUE_REDEMPTION_CHECKOUT,
    "webhooks": topology.QUEUE_WEBHOOKS_EVENTS,
}


async def lost(management: Management) -> set[Binding]:
    """Which bindings of the topology are not there."""
    found = {
        Binding(each["source"], each["destination"], each["routing_key"]) for each in await management.list("bindings")
    }
    return set(BINDINGS) - found


async def unbind(broker: Broker, bindings: Sequence[Binding]) -> None:
    for each in bindings:
        await broker.channel.queue_unbind(each.queue, each.exchange, each.routing_key)


def test_every_binding_is_renewed_by_somebody_but_those_of_the_brokers_own_dead_letters() -> None:
    """What the broker cannot route to a dead queue it keeps; all else would be lost or would stall a consumer."""
    renewed = {each for queue in OWNERS.values() for each in bindings_of(queue)}
    own = {each for each in BINDINGS if each.exchange in {topology.EXCHANGE_DEAD, topology.EXCHANGE_UNROUTED}}
    assert renewed == set(BINDINGS) - own


@pytest.mark.parametrize(("user", "queue"), OWNERS.items())
async def test_a_service_binds_its_queues_again(
    clean_broker: dict[str, str], broker: Broker, management: Management, user: str, queue: str
) -> None:
    await unbind(broker, BINDINGS)
    assert await lost(management) == set(BINDINGS)
    for _ in range(2):
        await bind_again(clean_broker[user], queue)
        assert set(BINDINGS) - await lost(management) == set(bindings_of(queue))


@pytest.mark.parametrize(("user", "queue"), OWNERS.items())
async def test_a_service_binds_nothing_else(clean_broker: dict[str, str], user: str, queue: str) -> None:
    """The right to bind is the right to read: by other keys it would hear what is not for it."""
    allowed = {(each.queue, each.exchange, each.routing_key) for each in bindings_of(queue)}
    queues = [each.name for each in topology.QUEUES]
    keys = ["#", "*", "code.#", *{each.routing_key for each in BINDINGS}]
    for exchange in topology.EXCHANGES:
        for each in queues:
            for key in keys if exchange.kind == "topic" else [""]:
                is_allowed = (each, exchange.name, key) in allowed
                # A queue of its own may be bound to another exchange of its own: it could publish there as well.
                is_own = exchange.name in {f"dead.{queue}", f"replay.{queue}"} and each in {queue, f"{queue}.dead"}
                is_dead_letters = each == f"{queue}.dead" and (queue, exchange.name, key) in allowed
                expected = is_allowed or is_own or is_dead_letters
                assert await may_bind(clean_broker[user], each, exchange.name, key) == expected, (each, exchange, key)


async def may_bind(url: str, queue: str, exchange: str, key: str) -> bool:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        try:
            await channel.queue_bind(queue, exchange, key)
        except aiormq.exceptions.ChannelAccessRefused:
            return False
        if Binding(exchange, queue, key) not in BINDINGS:
            await channel.queue_unbind(queue, exchange, key)
        return True
    finally:
        await connection.close()


async def test_what_is_refused_is_named_and_the_rest_is_bound(
    clean_broker: dict[str, str], broker: Broker, management: Management
) -> None:
    """A broker whose permissions are older than this release must not leave the other bindings undone."""
    queue = topology.QUEUE_WEBHOOKS_EVENTS
    await unbind(broker, bindings_of(queue))
    await broker.channel.exchange_delete(topology.EXCHANGE_CODES)
    with pytest.raises(BrokerRefused, match=r"webhooks\.events to codes by #") as caught:
        await bind_again(clean_broker["webhooks"], queue)
    assert str(caught.value).count("Not bound") == 1
    gone = {each for each in bindings_of(queue) if each.exchange == topology.EXCHANGE_CODES}
    assert await lost(management) == gone


async def test_a_consumer_binds_its_queue_when_it_connects_and_now_and_then(
    broker: Broker, management: Management, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = topology.QUEUE_REDEMPTION_CHECKOUT

    async def is_whole() -> bool:
        return not await lost(management)

    await unbind(broker, bindings_of(queue))
    async with Proxy(url) as proxy, running(BatchConsumer(proxy.url, queue, Handler(), utc_now)) as consumer:
        await until(is_whole)
        await unbind(broker, bindings_of(queue))
        proxy.cut()
        await until(is_whole)
        assert {task.state for task in consumer.tasks} == {"ok"}
    monkeypatch.setattr("shared.broker.consumer.BIND_INTERVAL_SECONDS", 0.2)
    async with running(BatchConsumer(url, queue, Handler(), utc_now)):
        for _ in range(2):
            await unbind(broker, bindings_of(queue))
            await until(is_whole)


async def test_a_refusal_is_shown_and_the_consumer_goes_on(clean_broker: dict[str, str], broker: Broker) -> None:
    """A binding that cannot be renewed is no reason to leave the messages that are there."""
    queue = topology.QUEUE_CODES_REDEMPTIONS
    await broker.channel.exchange_delete(topology.EXCHANGE_REDEMPTION)
    handler = Handler()
    async with running(BatchConsumer(clean_broker["codes"], queue, handler, utc_now)) as consumer:
        await until(lambda: "BrokerRefused" in consumer.tasks[0].state)
        await broker.put(b"{}", queue)
        await until(lambda: handler.done == [b"{}"])
        assert consumer.is_ready
