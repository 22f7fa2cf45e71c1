"""What the broker gives up by itself is counted by its reason, without taking anything away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.broker.consumer import BatchConsumer, Reject
from shared.broker.given_up import CountGivenUp
from shared.broker.operator import dead
from shared.clock import utc_now
from tests.shared.broker.tools import Broker, Handler, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"


def counted(reason: str) -> float | None:
    return REGISTRY.get_sample_value("mintwire_broker_dead_messages", {"queue": QUEUE, "reason": reason})


@pytest.fixture
def service(clean_broker: dict[str, str]) -> str:
    """The URL of the service whose queue it is: it needs no operator's rights."""
    return clean_broker["redemption"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    for reason in ("expired", "rejected"):
        if counted(reason):
            pytest.fail("a test left a count behind")


async def give_up(broker: Broker, count: int) -> None:
    for _ in range(count):
        await broker.put(b"late", expiration="0")


async def test_each_reason_is_counted_and_everything_stays(service: str, url: str, broker: Broker) -> None:
    look = CountGivenUp(service, QUEUE, lambda: 0)
    with capture_logs() as logs:
        await give_up(broker, 2)
        await broker.holds(DEAD, 2)
        await look()
        assert not counted("expired")
        await look()
        assert counted("expired") == 2
        await broker.put(b"x")
        message = await broker.channel.basic_get(QUEUE)
        assert message.delivery_tag is not None
        await broker.channel.basic_reject(message.delivery_tag, requeue=False)
        await broker.holds(DEAD, 3)
        await look()
        assert (counted("expired"), counted("rejected")) == (2, 1)
        await broker.holds(DEAD, 3)
        assert await dead.purge(url, QUEUE) == 3
        await look()
        assert (counted("expired"), counted("rejected")) == (0, 0)
    told = [(line["reason"], line["count"]) for line in logs if line["event"] == "messages_given_up"]
    assert told == [("expired", 2), ("rejected", 1)]


async def test_the_consumers_own_letters_are_no_reason_to_look(
    service: str, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it looks, it has in hand what is there."""
    looks = []

    async def looked(*_: object) -> Counter[str]:
        looks.append(1)
        return Counter()

    monkeypatch.setattr(CountGivenUp, "_look", looked)
    async with running(BatchConsumer(service, QUEUE, Handler(lambda _: Reject("no")), utc_now)) as consumer:
        look = CountGivenUp(service, QUEUE, lambda: consumer._dead_letters.published)
        await look()
        for count in (3, 6):
            for _ in range(3):
                await broker.put(b"x")
            await until(lambda count=count: consumer._dead_letters.published == count)  # type: ignore[misc]
            await look()
        assert await dead.purge(url, QUEUE) == 6
        await look()
    assert looks == []


async def test_operators_wait_until_it_has_looked(
    service: str, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in hand is not counted: a replay of everything would leave it out."""
    bodies = [b"%d" % number for number in range(100)]
    for body in bodies:
        await broker.put(body, expiration="0")
    await broker.holds(DEAD, 100)
    has_all, may_end = asyncio.Event(), asyncio.Event()
    messages = dead.DeadQueue.messages

    async def held(self: dead.DeadQueue) -> AsyncIterator[Any]:
        async for taken in messages(self):
            yield taken
        if not may_end.is_set():
            has_all.set()
            await may_end.wait()

    look = CountGivenUp(service, QUEUE, lambda: 0)
    await look()
    monkeypatch.setattr(dead.DeadQueue, "messages", held)
    looking = asyncio.create_task(look())
    await has_all.wait()
    assert await broker.count(DEAD) == 0
    listing = asyncio.create_task(dead.list_dead(url, QUEUE, limit=200))
    await asyncio.sleep(0.2)
    may_end.set()
    await looking
    assert [message.body for message in await listing] == bodies
    assert counted("expired") == 100
    assert await dead.purge(url, QUEUE) == 100
    await look()
