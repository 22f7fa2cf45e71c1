"""The topology: declared as often as one likes, missed by name, and loud where something else bears the name."""

import aiormq
import pytest
from pamqp.commands import Basic

from shared.broker import topology
from shared.broker.connection import BrokerUnavailable
from shared.broker.publisher import Publisher
from shared.broker.topology import TopologyConflict, dead_queue, declare, missing
from tests.shared.broker.tools import Broker, event


async def test_declaring_again_changes_nothing(url: str, broker: Broker) -> None:
    await broker.put(b"{}")
    await declare(url)
    assert await broker.count("redemption.checkout") == 1
    assert await missing(url) == []


async def test_what_is_absent_is_named(url: str, broker: Broker) -> None:
    await broker.channel.queue_delete("webhooks.events")
    await broker.channel.exchange_delete("redemption")
    await broker.channel.queue_delete("codes.redemptions.dead")
    expected = ["exchange redemption", "queue codes.redemptions.dead", "queue webhooks.events"]
    assert sorted(await missing(url)) == expected
    assert await missing(url, exchanges=["codes"], queues=["webhooks.events"]) == ["queue webhooks.events"]
    await declare(url)
    assert await missing(url) == []


async def test_a_queue_with_other_settings_is_one_clear_line(url: str, broker: Broker) -> None:
    await broker.channel.queue_delete("redemption.checkout")
    await broker.channel.queue_declare("redemption.checkout", durable=True, arguments={"x-queue-type": "quorum"})
    with pytest.raises(TopologyConflict) as caught:
        await declare(url)
    text = str(caught.value)
    assert text.startswith("queue redemption.checkout cannot be declared: ")
    assert "inequivalent arg" in text
    assert "\n" not in text


async def test_a_broker_that_is_away_is_a_passing_fault() -> None:
    with pytest.raises(BrokerUnavailable):
        await declare("amqp://operator:secret@127.0.0.1:1/mintwire")


async def test_an_event_that_nobody_wants_is_kept_in_unrouted(url: str, broker: Broker) -> None:
    """Were it returned instead, its outbox row would be published for ever."""
    async with Publisher(url, "checkout") as publisher:
        unwanted = event(b'{"n":1}', "checkout.unheard_of")
        assert await publisher.publish_many([unwanted]) == {unwanted.id}
    message = await broker.arrived("unrouted")
    assert (message.body, message.routing_key) == (b'{"n":1}', "checkout.unheard_of")


@pytest.mark.parametrize(
    ("exchange", "key", "queues"),
    [
        ("checkout", "checkout.completed", {"redemption.checkout"}),
        ("redemption", "code.redeemed", {"codes.redemptions", "webhooks.events"}),
        ("redemption", "code.redemption_rejected", {"webhooks.events"}),
        ("codes", "codes.generated", {"webhooks.events"}),
        ("webhooks", "webhook.delivery_dead", {"webhooks.events"}),
    ],
)
async def test_events_go_where_they_are_wanted(
    url: str, broker: Broker, exchange: str, key: str, queues: set[str]
) -> None:
    async with Publisher(url, exchange) as publisher:
        await publisher.publish_one(key, b"{}")
    reached = {name for name in (*topology.WORK_QUEUES, "unrouted") if await broker.count(name)}
    assert reached == queues


@pytest.mark.parametrize("queue", topology.WORK_QUEUES)
async def test_the_delivery_limit_moves_a_message_to_the_dead_queue(broker: Broker, queue: str) -> None:
    """The last net: a message that kills its consumer each time must not come for ever."""
    await broker.put(b"killer", queue, message_id="k")
    channel = broker.channel
    for _ in range(topology.DELIVERY_LIMIT + 1):
        message = await channel.basic_get(queue)
        while message.delivery_tag is None:
            message = await channel.basic_get(queue)
        assert await broker.count(dead_queue(queue)) == 0
        await channel.basic_reject(message.delivery_tag, requeue=True)
    dead = await broker.arrived(dead_queue(queue))
    headers = dead.header.properties.headers or {}
    assert (dead.body, headers["x-first-death-reason"]) == (b"killer", "delivery_limit")
    assert await broker.count(queue) == 0


class TestPermissions:
    """Each user can do its work and nothing besides."""

    WORK = (
        ("codes", "codes", "codes.redemptions"),
        ("redemption", "redemption", "redemption.checkout"),
        ("webhooks", "webhooks", "webhooks.events"),
    )

    @staticmethod
    async def _is_allowed(url: str, act: str, name: str, key: str = "any.key") -> bool:
        connection = await aiormq.connect(url)
        try:
            channel = await connection.channel()
            match act:
                case "publish":
                    await channel.basic_publish(
                        b"{}", exchange=name, routing_key=key, properties=Basic.Properties(message_id="m")
                    )
                case "get":
                    await channel.basic_get(name, no_ack=True)
                case "declare queue":
                    await channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
                case "declare exchange":
                    await channel.exchange_declare(name, exchange_type="topic", durable=True)
                case "delete":
                    await channel.queue_delete(name)
                case "purge":
                    await channel.queue_purge(name)
                case "bind":
                    await channel.queue_bind(name, "checkout", "#")
        except aiormq.exceptions.ChannelAccessRefused:
            return False
        finally:
            await connection.close()
        return True

    @pytest.mark.parametrize(("user", "exchange", "queue"), WORK)
    async def test_a_service_writes_its_exchanges_and_reads_its_queues(
        self, clean_broker: dict[str, str], user: str, exchange: str, queue: str
    ) -> None:
        """Were `dead` or another's replays among them, one service could put words into another's mouth."""
        url = clean_broker[user]
        everything = [item.name for item in topology.EXCHANGES]
        own = {exchange, f"dead.{queue}", f"replay.{queue}"}
        assert {name for name in everything if await self._is_allowed(url, "publish", name)} == own
        assert not await self._is_allowed(url, "publish", "", queue)
        queues = [item.name for item in topology.QUEUES]
        assert {name for name in queues if await self._is_allowed(url, "get", name)} == {queue, f"{queue}.dead"}
        assert await missing(url, own, [queue, f"{queue}.dead"]) == []

    async def test_the_checkout_publishes_checkout_topics_and_nothing_else(self, clean_broker: dict[str, str]) -> None:
        url = clean_broker["checkout"]
        assert await self._is_allowed(url, "publish", "checkout", "checkout.completed")
        assert not await self._is_allowed(url, "publish", "checkout", "code.redeemed")
        assert not await self._is_allowed(url, "publish", "checkout", "xcheckout.completed")
        for name in ("", *(item.name for item in topology.EXCHANGES)):
            assert name == "checkout" or not await self._is_allowed(url, "publish", name)
        for queue in topology.QUEUES:
            assert not await self._is_allowed(url, "get", queue.name)

    @pytest.mark.parametrize("user", ["codes", "redemption", "webhooks", "checkout"])
    @pytest.mark.parametrize("act", ["declare queue", "declare exchange", "delete", "bind"])
    async def test_only_the_operator_changes_the_topology(
        self, clean_broker: dict[str, str], user: str, act: str
    ) -> None:
        name = {"declare queue": "mine", "declare exchange": "mine"}.get(act, "redemption.checkout")
        assert not await self._is_allowed(clean_broker[user], act, name)

    async def test_the_operator_does(self, clean_broker: dict[str, str], broker: Broker) -> None:
        url = clean_broker["operator"]
        assert await self._is_allowed(url, "declare queue", "made.by.test")
        assert await self._is_allowed(url, "bind", "made.by.test")
        assert await self._is_allowed(url, "purge", "redemption.checkout.dead")
        assert await self._is_allowed(url, "delete", "made.by.test")
