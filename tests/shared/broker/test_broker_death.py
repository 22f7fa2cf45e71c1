"""A broker killed in mid-work comes back with every confirmed message, and its clients come back to it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mintwire.stack.definitions import broker_definitions
from mintwire.stack.rabbitmq import PROGRAM, RabbitMQServer
from shared.broker import topology
from shared.broker.consumer import BatchConsumer
from shared.broker.publisher import Publisher
from shared.clock import utc_now
from tests.servers import BROKER_PASSWORDS
from tests.shared.broker.tools import Handler, event, running, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    """A broker of this module's own, to be killed."""
    made = RabbitMQServer(Path(tmp_path_factory.mktemp("broker")), broker_definitions(["mintwire"], BROKER_PASSWORDS))
    made.start()
    yield made
    made.stop()


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
async def test_a_blocked_publisher_waits_and_republishes_nothing(server: RabbitMQServer, url: str) -> None:
    """After a deadline the broker would deliver what it had held back, and the repeat as well."""
    handler = Handler()
    events = [event(b"blocked %d" % number) for number in range(20)]
    async with (
        running(BatchConsumer(url, "redemption.checkout", handler, utc_now)) as consumer,
        Publisher(url, "checkout", deadline_seconds=2.0) as publisher,
    ):
        assert await publisher.wait_ready(30)
        await control(server, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            publishing = asyncio.create_task(publisher.publish_many(events))
            await until(lambda: not publisher.is_ready)
            link = publisher._link
            assert link is not None
            await asyncio.wait({publishing}, timeout=4)
            assert not publishing.done()
            assert consumer.is_ready
        finally:
            await control(server, "set_vm_memory_high_watermark", "absolute", "1GB")
        assert await publishing == {each.id for each in events}
        assert publisher._link is link
        await until(lambda: len(handler.done) >= 20)
    assert sorted(handler.done) == sorted(each.body for each in events)


async def control(server: RabbitMQServer, *command: str) -> None:
    """Give the broker an order by its own tool, in the environment that it runs in."""
    tool = await asyncio.create_subprocess_exec(
        PROGRAM.with_name("rabbitmqctl"), "-q", *command, env=environment_of(server)
    )
    assert await tool.wait() == 0


def environment_of(server: RabbitMQServer) -> dict[bytes, bytes]:
    assert server.record is not None
    raw = Path(f"/proc/{server.record.pid}/environ").read_bytes()
    return {name: value for name, _, value in (item.partition(b"=") for item in raw.split(b"\0") if item)}
