"""A publish counts as done only by the broker's own word; everything else stays pending."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from pamqp.commands import Basic
from pamqp.common import FieldValue

from shared.boundary import INSIDE_TRANSACTION
from shared.broker import publisher as publisher_module
from shared.broker.connection import BrokerUnavailable
from shared.broker.publisher import Publisher, PublishRefused, Unroutable
from shared.broker.topology import MESSAGE_LIMIT_BYTES
from shared.broker.wire import Outcome, Outgoing
from shared.events.envelope import OutboxEvent
from tests.shared.broker.tools import Broker, Proxy, event, until

BARE = "bare"


@pytest.fixture(params=["one write", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of publishing keep the same promises."""
    if request.param == "one by one":
        monkeypatch.setattr(publisher_module, "can_write_many", lambda _: False)
    return str(request.param)


@pytest.fixture
async def bare_exchange(broker: Broker) -> str:
    """An exchange without an alternate: what has no route is returned."""
    await broker.channel.exchange_declare(BARE, exchange_type="topic", durable=True)
    await broker.channel.queue_declare("bare.taken", durable=True, arguments={"x-queue-type": "quorum"})
    await broker.channel.queue_purge("bare.taken")
    await broker.channel.queue_bind("bare.taken", BARE, "taken")
    return BARE


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(publisher_module, "PROBE_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(publisher_module, "PROBE_TIMEOUT_SECONDS", 0.5)
    return iter(())


@pytest.mark.usefixtures("way")
class TestConfirms:
    async def test_confirmed_events_are_in_their_queue_as_stored(self, url: str, broker: Broker) -> None:
        events = [event(b'{"n":%d}' % n) for n in range(1200)]
        async with Publisher(url, "checkout") as publisher:
            assert await publisher.publish_many(events) == {each.id for each in events}
        assert await broker.count("redemption.checkout") == 1200
        message = await broker.arrived("redemption.checkout")
        properties = message.header.properties
        assert message.body == events[0].body
        assert properties.message_id == str(events[0].id)
        assert properties.message_type == "checkout.completed"
        assert properties.content_type == "application/cloudevents+json"
        assert properties.delivery_mode == 2

    async def test_a_returned_event_is_not_confirmed_though_the_broker_acknowledges_it(
        self, url: str, bare_exchange: str
    ) -> None:
        """The broker acknowledges what it could not route; believing that would lose the event."""
        good, lost = event(kind="taken"), event(kind="nobody")
        async with Publisher(url, bare_exchange) as publisher:
            assert await publisher.publish_many([lost, good, lost]) == {good.id}
            assert await publisher.publish_many([good]) == {good.id}

    async def test_a_full_queue_refuses_and_the_rest_goes_on(self, url: str, broker: Broker) -> None:
        arguments: dict[str, FieldValue] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await broker.channel.queue_declare("test.full", durable=True, arguments=arguments)
        await broker.channel.queue_purge("test.full")
        async with Publisher(url, "") as publisher:
            await publisher.publish_one("test.full", b"fits")

            async def is_refused() -> bool:
                key = str(uuid.uuid4())
                outcomes = await publisher.send([Outgoing("test.full", b"no", key)])
                return outcomes[key] is Outcome.REFUSED

            await until(is_refused)
            with pytest.raises(PublishRefused):
                await publisher.publish_one("test.full", b"no")
            await publisher.publish_one("redemption.checkout", b"yes")

    async def test_one_message_by_itself_carries_headers_and_raises_when_nobody_wants_it(
        self, url: str, broker: Broker, bare_exchange: str
    ) -> None:
        async with Publisher(url, bare_exchange) as publisher:
            with pytest.raises(Unroutable, match="nobody"):
                await publisher.publish_one("nobody", b"{}")
            key = await publisher.publish_one("taken", b"{}", {"trace": "abc"})
        message = await broker.arrived("bare.taken")
        assert message.header.properties.message_id == key
        assert (message.header.properties.headers or {})["trace"] == "abc"

    async def test_a_large_body_goes_in_several_frames(self, url: str, broker: Broker) -> None:
        body = bytes(range(256)) * 2000
        async with Publisher(url, "") as publisher:
            await publisher.publish_one("redemption.checkout", body)
        assert (await broker.arrived("redemption.checkout")).body == body

    async def test_many_callers_at_once_each_get_their_own(self, url: str) -> None:
        groups = [[event() for _ in range(30)] for _ in range(20)]
        async with Publisher(url, "checkout") as publisher:
            done = await asyncio.gather(*(publisher.publish_many(group) for group in groups))
        assert done == [{each.id for each in group} for group in groups]

    async def test_an_id_is_never_under_way_twice(self, url: str, bare_exchange: str) -> None:
        """With one of two messages returned, the client reports the returned one confirmed and the other failed."""
        shared = uuid.uuid4()
        lost = OutboxEvent(shared, "nobody", b"")
        good = OutboxEvent(shared, "taken", b"")
        async with Publisher(url, bare_exchange) as publisher:
            assert await publisher.wait_ready(30)
            first, second = await asyncio.gather(publisher.publish_many([lost]), publisher.publish_many([good]))
            assert (first, second) == (set(), set())
            assert await publisher.publish_many([good]) == {shared}

    async def test_a_body_that_the_broker_would_not_take_fails_alone(self, url: str) -> None:
        """The broker closes the channel over it, which would fail its whole batch again and again."""
        good, huge = event(), event(b"x" * (MESSAGE_LIMIT_BYTES + 1))
        async with Publisher(url, "checkout") as publisher:
            assert await publisher.publish_many([huge, good]) == {good.id}


@pytest.mark.usefixtures("way")
class TestFaults:
    async def test_after_the_deadline_the_outcome_is_unknown_and_the_channel_replaced(
        self, proxy: Proxy, broker: Broker
    ) -> None:
        async with Publisher(proxy.url, "checkout", deadline_seconds=2.0) as publisher:
            assert await publisher.wait_ready(30)
            proxy.silence()
            batch = [event(), event()]
            assert await publisher.publish_many(batch) == set()
            proxy.heal()
            await until(lambda: publisher.is_ready)
            assert proxy.accepted == 2
            assert await publisher.publish_many(batch) == {each.id for each in batch}

    async def test_a_cut_in_mid_publish_leaves_the_rest_unconfirmed(self, proxy: Proxy, broker: Broker) -> None:
        """What was reported confirmed must be there, and what is there twice does no harm."""
        events = [event(b"%d" % n) for n in range(1000)]
        async with Publisher(proxy.url, "checkout") as publisher:
            assert await publisher.wait_ready(30)
            publishing = asyncio.create_task(publisher.publish_many(events))
            await until(lambda: publishing.done() or publisher._link is None or publisher._link.under_way)
            proxy.cut()
            confirmed = await publishing
            left = [each for each in events if each.id not in confirmed]
            confirmed |= await publisher.publish_many(left)
            assert confirmed == {each.id for each in events}
        seen = set()
        while message := await broker.get("redemption.checkout"):
            seen.add(message.body)
        assert seen == {each.body for each in events}

    async def test_without_a_broker_nothing_is_confirmed_and_nothing_hangs(self, proxy: Proxy) -> None:
        proxy.refuse(True)
        async with Publisher(proxy.url, "checkout", deadline_seconds=2.0) as publisher:
            assert await publisher.publish_many([event()]) == set()
            assert not publisher.is_ready
            assert not await publisher.wait_ready(0.05)
            with pytest.raises(BrokerUnavailable):
                await publisher.publish_one("checkout.completed", b"{}")
            proxy.refuse(False)
            assert await publisher.wait_ready(30)
            sent = event()
            assert await publisher.publish_many([sent]) == {sent.id}

    async def test_a_missing_exchange_means_not_ready_until_it_is_there(self, url: str, broker: Broker) -> None:
        await broker.channel.exchange_delete("made.later")
        async with Publisher(url, "made.later", deadline_seconds=0.3) as publisher:
            assert await publisher.publish_many([event()]) == set()
            assert not publisher.is_ready
            await broker.channel.exchange_declare("made.later", exchange_type="fanout", durable=True)
            assert await publisher.wait_ready(30)
            await broker.channel.exchange_delete("made.later")
            assert await publisher.publish_many([event()]) == set()
            await until(lambda: not publisher.is_ready)


@pytest.mark.usefixtures("quick_probes")
async def test_an_idle_publisher_notices_a_dead_network(proxy: Proxy) -> None:
    async with Publisher(proxy.url, "checkout") as publisher:
        assert await publisher.wait_ready(30)
        proxy.silence()
        await until(lambda: not publisher.is_ready)
        proxy.heal()
        assert await publisher.wait_ready(30)


async def test_a_cancelled_publish_keeps_its_id_under_way_until_the_broker_has_answered(proxy: Proxy) -> None:
    sent = event()
    async with Publisher(proxy.url, "checkout") as publisher:
        assert await publisher.wait_ready(30)
        proxy.silence()
        publishing = asyncio.create_task(publisher.publish_many([sent]))
        await until(lambda: publisher._link is not None and publisher._link.under_way)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert await publisher.publish_many([sent]) == set()
        proxy.heal()
        await until(lambda: publisher._link is not None and not publisher._link.under_way)
        assert await publisher.publish_many([sent]) == {sent.id}


async def test_publishing_inside_a_transaction_is_refused(url: str) -> None:
    async with Publisher(url, "checkout") as publisher:
        token = INSIDE_TRANSACTION.set(True)
        try:
            with pytest.raises(RuntimeError, match="transaction"):
                await publisher.publish_many([event()])
        finally:
            INSIDE_TRANSACTION.reset(token)


async def test_a_publisher_that_is_not_entered_says_so(url: str) -> None:
    with pytest.raises(RuntimeError, match="not running"):
        await Publisher(url, "checkout").publish_many([event()])


def test_the_clients_own_message_would_be_the_same() -> None:
    message = Outgoing("k", b"", "id", type="t", content_type="c", headers={"a": "b"})
    properties = message.properties()
    assert isinstance(properties, Basic.Properties)
    assert (properties.message_type, properties.content_type, properties.headers) == ("t", "c", {"a": "b"})
