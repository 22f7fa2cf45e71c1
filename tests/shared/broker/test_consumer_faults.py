"""The consumer over a network that breaks and a broker that dies: everything is seen, nothing is acked wrongly."""

from typing import Any

import pytest

from shared.broker import intake as intake_module
from shared.broker import topology
from shared.broker.consumer import BatchConsumer, Received, Reject
from shared.clock import utc_now
from shared.faults import TransientFault
from tests.shared.broker.tools import Broker, Handler, Proxy, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "PROBE_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(intake_module, "PROBE_TIMEOUT_SECONDS", 0.5)


def consumer_of(url: str, handler: Handler, **options: Any) -> BatchConsumer:
    return BatchConsumer(url, QUEUE, handler, utc_now, **options)


async def test_a_batch_in_hand_at_a_cut_is_finished_and_comes_again(proxy: Proxy, broker: Broker) -> None:
    """Its effects are committed; what is lost is the acknowledgement, and nothing of the old channel may be acked."""
    handler = Handler()
    handler.gate.clear()
    for number in range(20):
        await broker.put(b"%d" % number)
    async with running(consumer_of(proxy.url, handler, batch_size=5)) as consumer:
        await until(lambda: handler.is_inside)
        old = consumer._intake
        proxy.cut()
        await until(lambda: consumer._intake is not old)
        assert handler.is_inside
        handler.gate.set()
        await until(lambda: len(set(handler.done)) == 20)
        await broker.holds(QUEUE, 0)
    # The batch in hand came twice, and what was only waiting came once.
    in_hand = [received.body for received in handler.batches[0]]
    assert sorted(handler.done) == sorted([b"%d" % number for number in range(20)] + in_hand)
    assert await broker.count(QUEUE) == 0


async def test_a_thousand_messages_survive_repeated_cuts(proxy: Proxy, broker: Broker) -> None:
    handler = Handler()
    async with running(consumer_of(proxy.url, handler, batch_size=20, prefetch=50)):
        for number in range(1000):
            await broker.put(b"%d" % number)
            if number % 250 == 100:
                proxy.cut()
        await until(lambda: len(set(handler.done)) == 1000, 30)
        await broker.holds(QUEUE, 0)
    assert await broker.count(DEAD) == 0


@pytest.mark.usefixtures("quick_probes")
async def test_a_silent_network_is_noticed_and_left(proxy: Proxy, broker: Broker) -> None:
    handler = Handler()
    async with running(consumer_of(proxy.url, handler)) as consumer:
        proxy.silence()
        await until(lambda: not consumer.is_ready)
        proxy.heal()
        await broker.put(b"after")
        await until(lambda: handler.done == [b"after"])


@pytest.mark.usefixtures("quick_probes")
async def test_a_queue_deleted_under_the_consumer_is_taken_up_again_when_it_is_back(url: str, broker: Broker) -> None:
    handler = Handler()
    async with running(consumer_of(url, handler)) as consumer:
        await broker.channel.queue_delete(QUEUE)
        await until(lambda: not consumer.is_ready)
        assert await topology.missing(url) == [f"queue {QUEUE}"]
        await topology.declare(url)
        await until(lambda: consumer.is_ready)
        await broker.put(b"after")
        await until(lambda: handler.done == [b"after"])


@pytest.mark.usefixtures("quick_probes")
async def test_a_consumer_that_the_client_has_lost_is_rebuilt(url: str, broker: Broker) -> None:
    """Seen in the field: the connection lives, the consumer is gone, and nothing says so."""
    handler = Handler()
    async with running(consumer_of(url, handler)) as consumer:
        lost = consumer._intake
        assert lost is not None
        assert lost._channel is not None
        await lost._channel.basic_cancel(lost._tag)
        await until(lambda: consumer._intake is not lost)
        await until(lambda: consumer.is_ready)
        await broker.put(b"after")
        await until(lambda: handler.done == [b"after"])


@pytest.mark.usefixtures("quick_probes")
async def test_a_consumer_to_which_nothing_comes_is_rebuilt_even_beside_another(url: str, broker: Broker) -> None:
    """The consumer count cannot tell which of two replicas has been forgotten."""
    handler, other = Handler(), Handler()
    other.gate.clear()
    async with running(consumer_of(url, handler)) as consumer:
        deaf = consumer._intake
        assert deaf is not None
        assert deaf._channel is not None
        # The broker forgets it, and the client does not.
        tag = deaf._tag
        await deaf._channel.basic_cancel(tag)
        deaf._channel.consumers[tag] = lambda _: None  # type: ignore[attr-defined]
        await broker.put(b"for the other")
        async with running(consumer_of(url, other, prefetch=1, batch_size=1)):
            await until(lambda: other.is_inside)
            await broker.put(b"waiting")
            await until(lambda: handler.done == [b"waiting"])
            other.gate.set()
            await until(lambda: other.done == [b"for the other"])


async def test_while_paused_it_does_not_consume_anew(proxy: Proxy, broker: Broker) -> None:
    """Each new channel counts a delivery; a long outage of the database would reach the limit with good messages."""
    faults = [True]

    def judge(_: Received) -> None:
        if faults:
            raise TransientFault("away")

    handler = Handler(judge)
    await broker.put(b"a")
    async with running(consumer_of(proxy.url, handler)) as consumer:
        await until(lambda: not consumer._may_consume.is_set())
        proxy.cut()
        await until(lambda: consumer._intake is None)
        accepted = proxy.accepted
        await until(lambda: proxy.accepted > accepted)
        await broker.holds(QUEUE, 1)
        assert consumer._intake is None
        faults.clear()
        await until(lambda: handler.done == [b"a", b"a"])
    await broker.holds(QUEUE, 0)


async def test_dead_letters_survive_cuts(proxy: Proxy, broker: Broker) -> None:
    """A message leaves its queue only after its dead letter is confirmed; twice dead does no harm, lost would."""
    bodies = {b"%d" % number for number in range(200)}
    for body in sorted(bodies):
        await broker.put(body)
    handler = Handler(lambda _: Reject("no"))
    async with running(consumer_of(proxy.url, handler, batch_size=10, prefetch=20)):
        for share in (20, 80, 140):
            await until(lambda share=share: len(handler.done) > share)  # type: ignore[misc]
            proxy.cut()
        await broker.holds(QUEUE, 0, 30)
        await until(lambda: set(handler.done) == bodies, 30)
    await broker.holds(QUEUE, 0)
    dead = set()
    while message := await broker.get(DEAD):
        dead.add(message.body)
    assert dead == bodies
