"""What people read of a dead letter: the consumer's own words, or else the broker's; never a sender's."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.broker.consumer import BatchConsumer, Reject
from shared.broker.frames import Delivered
from shared.broker.letters import DeadMessage, Version
from shared.broker.operator import dead
from shared.broker.tables import Headers
from shared.clock import utc_now
from tests import amqp
from tests.amqp import RawMessage
from tests.shared.broker.tools import Broker, Handler, client, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=11)


def death(*, order: tuple[str, ...] = (), **members: bytes) -> bytes:
    """A record of a death as a sender would forge it, before now, by this queue and for the reason that will come."""
    known = {
        "count": b"l" + bytes(8),
        "reason": amqp.text(b"expired"),
        "queue": amqp.text(QUEUE.encode()),
        "time": amqp.time(int(LONG_AGO.timestamp())),
        "exchange": amqp.text(b"checkout"),
        "routing-keys": amqp.array(amqp.text(b"forged")),
        **members,
    }
    return amqp.table(*((name.encode(), known[name]) for name in order or known))


FORGED = {
    "not at all": [],
    "the same death": [(b"x-death", amqp.array(death()))],
    "the same death twice": [(b"x-death", amqp.array(death()))] * 2,
    "behind one that is none": [(b"x-death", amqp.text(b"none")), (b"x-death", amqp.array(death()))],
    "another death": [(b"x-death", amqp.array(death(reason=amqp.text(b"rejected"))))],
    "no time": [(b"x-death", amqp.array(death(order=("reason", "queue"))))],
    "a time that is none": [(b"x-death", amqp.array(death(time=amqp.time(2**64 - 1))))],
    "by our own headers": [
        (b"x-mintwire-first-received-at", amqp.text(LONG_AGO.isoformat().encode())),
        (b"x-mintwire-died-at", amqp.text(LONG_AGO.isoformat().encode())),
        (b"x-mintwire-reason", amqp.text(b"forged")),
        (b"x-mintwire-detail", amqp.text(b"forged")),
        (b"x-mintwire-routing-key", amqp.text(b"forged")),
        (b"x-first-death-reason", amqp.text(b"forged")),
    ],
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_sender_cannot_date_what_the_broker_gives_up(url: str, broker: Broker, how: str) -> None:
    """Dated back and replayed, a purchase of eleven days ago would redeem a code that expired ten days ago."""
    before = utc_now() - timedelta(seconds=2)
    async with client(url) as raw:
        message = RawMessage(b"old", headers=amqp.entries(*FORGED[how]), expiration=b"0", message_id=b"m")
        await raw.put_raw(message, "checkout.completed", exchange="checkout")
        await broker.holds(DEAD, 1)
    [listed] = await dead.list_dead(url, QUEUE)
    assert (listed.key, listed.reason, listed.is_moved_by_broker) == ("m", "expired", True)
    assert "Its sender gave it a lifetime" in listed.detail
    await broker.holds(DEAD, 1)
    handler = Handler()
    async with running(BatchConsumer(url, QUEUE, handler, utc_now)):
        replayed_at = utc_now()
        assert await dead.replay(url, QUEUE) == 1
        await until(lambda: handler.done == [b"old"])
    [received] = handler.batches[0]
    assert before <= received.first_received_at
    if listed.first_received_at is None:
        assert received.first_received_at >= replayed_at
    else:
        assert received.first_received_at == listed.first_received_at == listed.died_at
    if how in {"not at all", "by our own headers"}:
        assert listed.first_received_at is not None


async def test_what_came_by_the_brokers_way_has_no_words_of_ours(url: str, broker: Broker) -> None:
    await broker.put(b"x", QUEUE, exchange="dead", headers={"x-mintwire-reason": "forged"})
    await broker.holds(DEAD, 1)
    [listed] = await dead.list_dead(url, QUEUE)
    assert (listed.reason, listed.detail, listed.is_moved_by_broker) == (
        "unknown",
        "Neither a consumer nor the broker recorded why it is here.",
        False,
    )


async def test_an_unrouted_event_has_no_words_of_ours_and_says_what_it_wanted(url: str, broker: Broker) -> None:
    async with client(url) as raw:
        headers = amqp.entries(*FORGED["by our own headers"], *FORGED["the same death"])
        await raw.put_raw(RawMessage(headers=headers), "checkout.unheard", exchange="checkout")
        await broker.holds("unrouted", 1)
    [listed] = await dead.list_dead(url, "unrouted")
    assert (listed.reason, listed.routing_key, listed.first_received_at) == ("unrouted", "checkout.unheard", None)
    assert listed.detail == "No queue was bound for checkout.unheard on the exchange checkout."


async def test_what_the_consumer_left_to_the_broker_says_so(url: str, broker: Broker) -> None:
    await broker.put(b"x")
    message = await broker.channel.basic_get(QUEUE)
    assert message.delivery_tag is not None
    await broker.channel.basic_reject(message.delivery_tag, requeue=False)
    await broker.holds(DEAD, 1)
    [listed] = await dead.list_dead(url, QUEUE)
    assert (listed.reason, listed.detail) == (
        "rejected",
        "The consumer could neither settle it nor send it here with its reason; the service's log says why.",
    )
    assert listed.died_at is not None


class TestRecords:
    """The record of a death as brokers of several versions write it."""

    GENUINE = ("count", "reason", "queue", "time", "exchange", "routing-keys")
    SORTED = tuple(sorted(GENUINE))

    @staticmethod
    def _read(record: bytes, version: Version, **changes: Any) -> DeadMessage:
        headers = Headers(amqp.entries((b"x-death", amqp.array(record))))
        given: Mapping[str, Any] = {"exchange": "dead", "headers": headers, **changes}
        return DeadMessage.of(Delivered(1, False, routing_key=QUEUE, **given), QUEUE, version)

    @pytest.mark.parametrize(
        ("version", "order", "is_believed"),
        [
            ((3, 10, 8), GENUINE, True),
            ((3, 10, 8), (*GENUINE, "original-expiration"), True),
            ((3, 10, 8), SORTED, False),
            ((3, 12, 14), SORTED, False),
            ((3, 13, 7), GENUINE, False),
            ((4, 0, 5), GENUINE, True),
            ((4, 3, 0), ("original-expiration", *GENUINE), True),
            ((0,), SORTED, False),
        ],
    )
    def test_the_time_is_believed_where_it_can_only_be_the_brokers(
        self, version: Version, order: tuple[str, ...], is_believed: bool
    ) -> None:
        read = self._read(death(order=order, **{"original-expiration": amqp.text(b"7")}), version)
        assert read.died_at == (LONG_AGO if is_believed else None)
        assert read.first_received_at == read.died_at

    @pytest.mark.parametrize("exchange", ["", "checkout", "replay.redemption.checkout", "dead.codes.redemptions"])
    def test_a_record_on_what_did_not_come_by_the_brokers_way_is_the_senders(self, exchange: str) -> None:
        read = self._read(death(), (4,), exchange=exchange)
        assert (read.reason, read.died_at, read.is_moved_by_broker) == ("unknown", None, False)

    @pytest.mark.parametrize(
        "record",
        [b"V", amqp.array(), amqp.text(b"expired"), amqp.table(), death(queue=amqp.text(b"other")), death(queue=b"V")],
    )
    def test_a_record_that_is_none_is_none(self, record: bytes) -> None:
        read = self._read(record, (4,))
        assert (read.reason, read.died_at, read.routing_key) == ("unknown", None, QUEUE)

    @pytest.mark.parametrize(
        "members",
        [
            {"reason": b"V", "time": b"V", "routing-keys": b"V"},
            {"reason": amqp.text(b"\xff"), "time": amqp.time(2**64 - 1), "routing-keys": amqp.array(b"V")},
            {"reason": amqp.table(), "routing-keys": amqp.array(), "original-expiration": b"t\x01"},
        ],
    )
    def test_members_of_any_kind_are_no_error(self, members: dict[str, bytes]) -> None:
        read = self._read(death(**members), (4,))  # type: ignore[arg-type]
        assert read.detail
        assert read.routing_key == QUEUE

    def test_a_reason_that_is_new_to_us_is_told(self) -> None:
        read = self._read(death(reason=amqp.text(b"boredom")), (4,))
        assert (read.reason, read.detail) == ("boredom", "The broker gave it up: boredom.")


async def test_a_consumers_letter_keeps_its_words_through_any_sender_s(url: str, broker: Broker) -> None:
    async with client(url) as raw:
        await raw.put_raw(RawMessage(headers=amqp.entries(*FORGED["by our own headers"], *FORGED["the same death"])))
        await broker.holds(QUEUE, 1)
    now = utc_now()
    async with running(BatchConsumer(url, QUEUE, Handler(lambda _: Reject("no", "why")), lambda: now)):
        await broker.holds(DEAD, 1)
    [listed] = await dead.list_dead(url, QUEUE)
    assert (listed.reason, listed.detail, listed.routing_key) == ("no", "why", QUEUE)
    assert listed.first_received_at == listed.died_at == now
