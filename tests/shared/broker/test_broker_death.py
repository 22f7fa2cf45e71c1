"""A broker that is killed, or takes nothing for a while, costs no message, and its clients come back to it."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from mintwire.stack import places
from mintwire.stack.definitions import broker_definitions
from mintwire.stack.rabbitmq import RabbitMQServer
from shared.broker import topology
from shared.broker.consumer import BatchConsumer, Reject
from shared.broker.operator import dead
from shared.broker.publisher import Publisher
from shared.clock import utc_now
from tests.rabbitmq import Resource, alarm
from tests.servers import BROKER_PASSWORDS
from tests.shared.broker.tools import Broker, Handler, client, event, running, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """A broker of this module's own, to be killed."""
    folder = tmp_path_factory.mktemp("own") / "broker"
    made = RabbitMQServer(folder, broker_definitions(["mintwire"], BROKER_PASSWORDS), is_durable=False)
    made.start()
    yield made
    made.stop()
    places.remove(folder)


@pytest.fixture
async def url(server: RabbitMQServer) -> str:
    address = server.url("operator", BROKER_PASSWORDS["operator"], "mintwire")
    await topology.declare(address)
    return address


def kill(server: RabbitMQServer) -> None:
    assert server.record is not None
    os.kill(server.record.pid, signal.SIGKILL)


@pytest.mark.timeout(180)
async def test_nothing_confirmed_is_lost_and_both_sides_come_back(server: RabbitMQServer, url: str) -> None:
    handler = Handler()
    confirmed = set()
    events = [event(b"%d" % number) for number in range(2000)]
    async with (
        running(BatchConsumer(url, "redemption.checkout", handler, utc_now, batch_size=50)) as consumer,
        Publisher(url, "checkout") as publisher,
    ):
        publishing = asyncio.create_task(publisher.publish_many(events))
        await until(lambda: len(handler.done) > 100)
        kill(server)
        confirmed |= await publishing
        await until(lambda: not consumer.is_ready and not publisher.is_ready)
        await asyncio.to_thread(server.start)
        assert await publisher.wait_ready(30)
        await until(lambda: consumer.is_ready, 30)
        await until(lambda: {each.body for each in events if each.id in confirmed} <= set(handler.done), 30)
        left = [each for each in events if each.id not in confirmed]
        assert await publisher.publish_many(left) == {each.id for each in left}
        await until(lambda: {each.body for each in events} == set(handler.done), 30)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("resource", ["memory", "disk"])
async def test_a_blocked_publisher_waits_and_republishes_nothing(
    server: RabbitMQServer, url: str, resource: Resource
) -> None:
    """After a deadline the broker would deliver what it had held back, and the repeat as well."""
    handler = Handler()
    events = [event(b"blocked %d" % number) for number in range(20)]
    with capture_logs() as logs:
        async with (
            running(BatchConsumer(url, "redemption.checkout", handler, utc_now)) as consumer,
            Publisher(url, "checkout", deadline_seconds=2.0) as publisher,
        ):
            assert await publisher.wait_ready(30)
            assert publisher.blocked_by is None
            async with alarm(server, resource):
                publishing = asyncio.create_task(publisher.publish_many(events))
                await until(lambda: not publisher.is_ready)
                link = publisher._link
                assert link is not None
                await asyncio.wait({publishing}, timeout=4)
                assert not publishing.done()
                assert consumer.is_ready
                # What keeps it from publishing has a name, and does not make a service that would publish unready.
                assert publisher.is_connected
                assert publisher.blocked_by == f"low on {resource}"
                assert blocked("checkout") == 1
            assert await publishing == {each.id for each in events}
            assert (publisher.blocked_by, blocked("checkout")) == (None, 0)
            assert publisher._link is link
            await until(lambda: len(handler.done) >= 20)
    assert sorted(handler.done) == sorted(each.body for each in events)
    told = [(line["event"], line["reason"]) for line in logs if line.get("exchange") == "checkout"]
    assert told == [("publisher_blocked", f"low on {resource}"), ("publisher_unblocked", f"low on {resource}")]


@pytest.mark.timeout(120)
async def test_a_publisher_that_goes_while_it_is_blocked_is_blocked_no_longer(server: RabbitMQServer, url: str) -> None:
    """Or the metric of a connection that is no more would say so for ever."""
    with capture_logs() as logs:
        async with alarm(server, "memory"):
            async with Publisher(url, "checkout", deadline_seconds=2.0) as publisher:
                publishing = asyncio.create_task(publisher.publish_many([event()]))
                await until(lambda: publisher.blocked_by is not None)
                publishing.cancel()
            assert blocked("checkout") == 0
    told = [line["event"] for line in logs if line.get("exchange") == "checkout"]
    assert told == ["publisher_blocked", "publisher_unblocked"]


@pytest.mark.timeout(120)
async def test_dead_letters_wait_for_the_end_of_an_alarm_and_come_once(server: RabbitMQServer, url: str) -> None:
    handler = Handler(lambda received: Reject("bad") if b"bad" in received.body else None)
    consumer = BatchConsumer(url, "redemption.checkout", handler, utc_now)
    async with client(url) as broker:
        async with running(consumer):
            await blocked_with_a_letter(server, broker, consumer, handler)
            async with alarm(server, "memory"):
                handler.gate.set()
                await until(lambda: b"bad later" in handler.done)
                await until(lambda: consumer._dead_letters._publisher.blocked_by)
                await asyncio.sleep(2)
                assert await broker.count("redemption.checkout.dead") == 1
                assert consumer.is_ready
            await broker.holds("redemption.checkout.dead", 2)
        # What was not acknowledged would be in the queue again.
        assert await broker.count("redemption.checkout") == 0
        assert await broker.count("redemption.checkout.dead") == 2


@pytest.mark.timeout(120)
async def test_a_consumer_stops_in_time_while_a_dead_letter_waits(server: RabbitMQServer, url: str) -> None:
    """A process that is told to stop has twenty seconds; the message comes again to another one."""
    handler = Handler(lambda received: Reject("bad") if b"bad" in received.body else None)
    consumer = BatchConsumer(url, "redemption.checkout", handler, utc_now)
    async with client(url) as broker:
        async with running(consumer):
            await blocked_with_a_letter(server, broker, consumer, handler)
            async with alarm(server, "memory"):
                handler.gate.set()
                await until(lambda: b"bad later" in handler.done)
                await until(lambda: consumer._dead_letters._publisher.blocked_by)
                async with asyncio.timeout(8):
                    await consumer.stop()
                await broker.holds("redemption.checkout", 1)
        async with running(BatchConsumer(url, "redemption.checkout", handler, utc_now)):
            # The letter that was under way when the first one stopped may be there twice.
            await until(lambda: dead_bodies(url, {b"bad", b"bad later"}))
        assert await broker.count("redemption.checkout") == 0


async def dead_bodies(url: str, wanted: set[bytes]) -> bool:
    return {each.body for each in await dead.list_dead(url, "redemption.checkout")} == wanted


async def blocked_with_a_letter(
    server: RabbitMQServer, broker: Broker, consumer: BatchConsumer, handler: Handler
) -> None:
    """Let the consumer dead-letter one message, and hold it over a good and a bad one.

    The broker blocks who has published before, and what is put into the queue must be there before the alarm.
    """
    for queue in ("redemption.checkout", "redemption.checkout.dead"):
        await broker.channel.queue_purge(queue)
    await broker.put(b"bad")
    await broker.holds("redemption.checkout.dead", 1)
    handler.gate.clear()
    await broker.put(b"good later")
    await broker.put(b"bad later")
    await until(lambda: handler.is_inside)


def blocked(exchange: str) -> float | None:
    return REGISTRY.get_sample_value("mintwire_publisher_blocked", {"exchange": exchange})
