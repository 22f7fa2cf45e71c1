"""Every message ends in one of two outcomes, done or dead-lettered with its reason; until then nothing is acked."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.broker import consumer as consumer_module
from shared.broker.consumer import AlarmLimit, BatchConsumer, Received, Reject
from shared.broker.intake import AckWindow
from shared.clock import utc_now
from shared.events.envelope import MAX_EVENT_BYTES
from shared.faults import TransientFault
from tests.amqp import RawMessage
from tests.shared.broker.tools import Broker, Handler, client, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"
NOW = datetime(2026, 3, 18, 23, 29, 28, 917_000, tzinfo=UTC)


def consumer_of(url: str, handler: Any, **options: Any) -> BatchConsumer:
    return BatchConsumer(url, QUEUE, handler, lambda: NOW, **options)


def trace(digit: str) -> str:
    return f"00-{digit * 32}-00f067aa0ba902b7-01"


def headers_of(message: Any) -> dict[str, Any]:
    headers = message.header.properties.headers or {}
    return {name: value for name, value in headers.items() if name != "x-delivery-count"}


def rejecting(*bodies: bytes, reason: str = "bad_data") -> Handler:
    return Handler(lambda received: Reject(reason, "the detail") if received.body in bodies else None)


class TestOutcomes:
    async def test_what_is_done_is_acknowledged_and_seen_once(self, url: str, broker: Broker) -> None:
        handler = Handler()
        for number in range(50):
            await broker.put(b"%d" % number, message_id=f"m{number}", headers={"k": "v"})
        async with running(consumer_of(url, handler)):
            await until(lambda: len(handler.done) == 50)
        assert handler.done == [b"%d" % number for number in range(50)]
        first = handler.batches[0][0]
        assert (first.message_id, first.routing_key, dict(first.headers)) == ("m0", QUEUE, {"k": "v"})
        assert first.first_received_at == NOW
        await broker.holds(QUEUE, 0)
        assert await broker.count(DEAD) == 0

    async def test_a_batch_is_what_is_there_up_to_its_size(self, url: str, broker: Broker) -> None:
        handler = Handler()
        handler.gate.clear()
        async with running(consumer_of(url, handler, batch_size=10)) as consumer:
            await broker.put(b"first")
            await until(lambda: handler.is_inside)
            for number in range(25):
                await broker.put(b"%d" % number)
            await until(lambda: consumer._intake is not None and consumer._intake._received == 26)
            handler.gate.set()
            await until(lambda: len(handler.done) == 26)
        assert [len(batch) for batch in handler.batches] == [1, 10, 10, 5]

    @pytest.mark.parametrize("judge", ["rejects", "fails"])
    async def test_the_line_about_a_message_names_its_trace(self, url: str, broker: Broker, judge: str) -> None:
        """That of the event itself, or else that of the header, where instrumented publishers put it."""

        def verdict(received: Received) -> Reject:
            if judge == "fails":
                raise RuntimeError(received.message_id)
            return Reject("bad_data", "the detail")

        event: dict[str, Any] = {"specversion": "1.0", "id": "e", "source": "/shop", "type": "t", "data": {}}
        event |= {"time": "2026-03-16T20:15:00Z", "traceparent": trace("a")}
        for body, header in ((json.dumps(event).encode(), "b"), (b"no event", "c"), (b"no event either", "0")):
            await broker.put(body, message_id=header, headers={"traceparent": trace(header)})
        with capture_logs() as logs:
            async with running(consumer_of(url, Handler(verdict))):
                await broker.holds(DEAD, 3)
                await broker.holds(QUEUE, 0)
        lines = {line["message_id"]: line.get("trace_id") for line in logs if line["event"] == "message_rejected"}
        assert lines == {"b": "a" * 32, "c": "c" * 32, "0": None}
        if judge == "fails":
            failed = [line for line in logs if line["event"] == "message_handler_failed"]
            assert {line["message_id"]: line.get("trace_id") for line in failed} == lines

    async def test_a_rejected_message_is_dead_lettered_with_its_reason(self, url: str, broker: Broker) -> None:
        handler = rejecting(b"bad")
        for body in (b"good", b"bad", b"fine"):
            await broker.put(
                body,
                message_id=f"id-{body.decode()}",
                message_type="checkout.completed",
                content_type="application/json",
                headers={"traceparent": "00-abc", "x-mintwire-reason": "forged", "CC": ["webhooks.events"]},
            )
        async with running(consumer_of(url, handler)):
            message = await broker.arrived(DEAD)
        assert message.body == b"bad"
        assert headers_of(message) == {
            "x-mintwire-reason": "bad_data",
            "x-mintwire-detail": "the detail",
            "x-mintwire-queue": QUEUE,
            "x-mintwire-first-received-at": "2026-03-18T23:29:28.917000Z",
            "x-mintwire-routing-key": QUEUE,
            "x-mintwire-died-at": "2026-03-18T23:29:28.917000Z",
            "traceparent": "00-abc",
        }
        properties = message.header.properties
        assert (properties.message_id, properties.message_type) == ("id-bad", "checkout.completed")
        assert properties.content_type == "application/json"
        await broker.holds(QUEUE, 0)
        assert await broker.count(DEAD) == 0

    async def test_a_senders_cc_does_not_route_our_copy(self, url: str, broker: Broker) -> None:
        """With the consumer's rights, and at a replay the operator's, it would reach any queue the sender names."""
        await broker.put(b"bad", headers={"CC": ["codes.redemptions"]})
        await broker.arrived("codes.redemptions")
        async with running(consumer_of(url, rejecting(b"bad"))):
            await broker.arrived(DEAD)
        for queue in ("codes.redemptions", "codes.redemptions.dead", "webhooks.events"):
            assert await broker.count(queue) == 0

    async def test_rejects_with_one_id_or_none_all_arrive(self, url: str, broker: Broker) -> None:
        for number in range(3):
            await broker.put(b"same%d" % number, message_id="same")
        async with client(url) as raw:
            for number in range(3):
                await raw.put_raw(RawMessage(b"none%d" % number))
            await broker.holds(QUEUE, 6)
        async with running(consumer_of(url, Handler(lambda _: Reject("no")))):
            await broker.holds(DEAD, 6)
        bodies = {(await broker.arrived(DEAD)).body for _ in range(6)}
        assert bodies == {b"%s%d" % (kind, number) for kind in (b"same", b"none") for number in range(3)}

    async def test_a_body_over_the_limit_never_reaches_the_handler(self, url: str, broker: Broker) -> None:
        handler = Handler()
        just, over = b"x" * MAX_EVENT_BYTES, b"y" * (MAX_EVENT_BYTES + 1)
        for body in (over, just, b"small"):
            await broker.put(body)
        async with running(consumer_of(url, handler)):
            message = await broker.arrived(DEAD)
            await until(lambda: len(handler.done) == 2)
        assert handler.done == [just, b"small"]
        assert message.body == over
        assert headers_of(message)["x-mintwire-reason"] == "too_large"

    async def test_the_first_receipt_of_a_replayed_message_is_kept(self, url: str, broker: Broker) -> None:
        """An outage must not void a purchase that was made before the expiry date."""
        earlier = NOW - timedelta(days=3)
        for text in (earlier.isoformat(), "nonsense", "2026-03-18T00:00:00", (NOW + timedelta(days=1)).isoformat()):
            headers = {"x-mintwire-first-received-at": text, "x-mintwire-routing-key": "k"}
            await broker.put(b"{}", exchange=f"replay.{QUEUE}", headers=headers)
        handler = Handler()
        async with running(consumer_of(url, handler)):
            await until(lambda: len(handler.done) == 4)
        received = [each for batch in handler.batches for each in batch]
        assert [each.first_received_at for each in received] == [earlier, NOW, NOW, NOW]
        assert {each.routing_key for each in received} == {"k"}

    @pytest.mark.parametrize("exchange", ["", "checkout"])
    async def test_a_sender_cannot_say_when_its_message_was_received(
        self, url: str, broker: Broker, exchange: str
    ) -> None:
        """Believed, the header let a purchase of eleven days ago redeem a code that had expired ten days before."""
        earlier = (NOW - timedelta(days=11)).isoformat()
        headers = {"x-mintwire-first-received-at": earlier, "x-mintwire-routing-key": "forged"}
        key = QUEUE if exchange == "" else "checkout.completed"
        await broker.put(b"{}", key, exchange=exchange, headers=headers)
        handler = Handler()
        async with running(consumer_of(url, handler)):
            await until(lambda: len(handler.done) == 1)
        [received] = handler.batches[0]
        assert (received.first_received_at, received.routing_key) == (NOW, key)

    @pytest.mark.parametrize(
        "headers",
        [{"big": "x" * 15_000, "more": "é" * 40_000}, {"when": datetime(2026, 1, 1, tzinfo=UTC), "n": None}],
        ids=["too big to repeat", "of every type"],
    )
    async def test_any_headers_can_be_dead_lettered(self, url: str, broker: Broker, headers: dict[str, Any]) -> None:
        await broker.put(b"bad", headers=headers)
        async with running(consumer_of(url, rejecting(b"bad"))):
            assert headers_of(await broker.arrived(DEAD))["x-mintwire-reason"] == "bad_data"

    async def test_properties_that_no_client_can_decode_stop_nothing(self, url: str, broker: Broker) -> None:
        """Such a message would end the client's connection, come again and end the next one."""
        # A message id that is not UTF-8 and a timestamp in microseconds.
        message = RawMessage(b"odd", message_id=b"\xff" * 200, timestamp=1_763_800_000_000_000)
        async with client(url) as raw:
            await raw.put_raw(message)
            await broker.holds(QUEUE, 1)
        handler = rejecting(b"odd")
        async with running(consumer_of(url, handler)) as consumer:
            await until(lambda: handler.done == [b"odd"])
            await broker.holds(DEAD, 1)
            assert consumer.is_ready
            await broker.put(b"next")
            await until(lambda: handler.done == [b"odd", b"next"])


class TestHandlerFailures:
    async def test_one_bad_message_among_many_is_found_and_the_rest_done(self, url: str, broker: Broker) -> None:
        bodies = [b"%d" % number for number in range(64)]

        def judge(received: Received) -> None:
            if received.body == b"37":
                raise ZeroDivisionError("of its own making")

        handler = Handler(judge)
        for body in bodies:
            await broker.put(body)
        async with running(consumer_of(url, handler)):
            message = await broker.arrived(DEAD)
            await until(lambda: len(handler.done) == 63)
        assert sorted(handler.done) == sorted(body for body in bodies if body != b"37")
        assert message.body == b"37"
        assert headers_of(message)["x-mintwire-reason"] == "handler_error"
        assert headers_of(message)["x-mintwire-detail"] == "ZeroDivisionError: of its own making"
        await broker.holds(QUEUE, 0)

    async def test_a_wrong_number_of_outcomes_is_a_failure_of_the_handler(self, url: str, broker: Broker) -> None:
        async def careless(_: Sequence[Received]) -> list[Reject | None]:
            return []

        await broker.put(b"x")
        async with running(consumer_of(url, careless)):
            assert headers_of(await broker.arrived(DEAD))["x-mintwire-reason"] == "handler_error"

    async def test_a_passing_fault_pauses_and_repeats_the_same_batch(self, url: str, broker: Broker) -> None:
        faults = [TransientFault("the database is away")] * 3

        def judge(_: Received) -> None:
            if faults:
                raise faults.pop()

        handler = Handler(judge)
        await broker.put(b"a")
        await broker.put(b"b")
        async with running(consumer_of(url, handler)):
            await until(lambda: sorted(handler.done) == [b"a", b"b"])
        assert not faults
        await broker.holds(QUEUE, 0)
        assert await broker.count(DEAD) == 0

    async def test_a_handler_that_hangs_is_a_passing_fault(
        self, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(consumer_module, "HANDLER_DEADLINE_SECONDS", 0.2)
        handler = Handler()
        handler.gate.clear()
        await broker.put(b"a")
        async with running(consumer_of(url, handler)):
            await until(lambda: handler.is_inside)
            await until(lambda: not handler.is_inside)
            handler.gate.set()
            await until(lambda: handler.done == [b"a"])
        assert await broker.count(DEAD) == 0

    async def test_a_timeout_of_the_handlers_own_is_its_failure(self, url: str, broker: Broker) -> None:
        def judge(_: Received) -> None:
            raise TimeoutError("of something inside")

        await broker.put(b"a")
        async with running(consumer_of(url, Handler(judge))):
            assert headers_of(await broker.arrived(DEAD))["x-mintwire-detail"].startswith("TimeoutError")

    async def test_a_release_that_fails_on_everything_does_not_empty_the_queue(self, url: str, broker: Broker) -> None:
        def judge(_: Received) -> None:
            raise ZeroDivisionError

        # Once it is alarmed it is not ready, which is what starting it waits for, so it starts first.
        async with running(consumer_of(url, Handler(judge), alarm_limit=AlarmLimit(errors=5))) as consumer:
            for number in range(40):
                await broker.put(b"%d" % number)
            await until(lambda: consumer._alarm.is_raised)
            assert not consumer.is_ready

        async def all_are_ready() -> bool:
            # The last one is in both if its acknowledgement did not get out before the end.
            return await broker.count(DEAD) + await broker.count(QUEUE) in (40, 41)

        await until(all_are_ready)
        # After the fifth each further one waits twice as long; a busy machine may be so late that it sees some of them.
        assert 5 <= await broker.count(DEAD) <= 8

    async def test_the_senders_faults_raise_no_alarm(self, url: str, broker: Broker) -> None:
        for number in range(40):
            await broker.put(b"%d" % number)
        async with running(
            consumer_of(url, Handler(lambda _: Reject("invalid_json")), alarm_limit=AlarmLimit(errors=5))
        ):
            await broker.holds(DEAD, 40)

    async def test_without_a_dead_queue_the_message_stays(self, url: str, broker: Broker) -> None:
        """Acknowledged before its dead letter is confirmed, it would be lost."""
        await broker.channel.queue_delete(DEAD)
        await broker.put(b"bad")
        handler = rejecting(b"bad")
        async with running(consumer_of(url, handler)) as consumer:
            await until(lambda: not consumer._may_consume.is_set())
            await broker.channel.queue_declare(
                DEAD, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
            )
            await broker.channel.queue_bind(DEAD, f"dead.{QUEUE}", "")
            await broker.holds(DEAD, 1)
        assert handler.done == [b"bad"]


class TestStopping:
    @pytest.fixture
    async def held(self, url: str, broker: Broker) -> AsyncIterator[tuple[BatchConsumer, Handler]]:
        """A consumer whose handler has one message of ten in hand and waits."""
        handler = Handler()
        handler.gate.clear()
        async with running(consumer_of(url, handler, batch_size=1)) as consumer:
            for number in range(10):
                await broker.put(b"%d" % number)
            await until(lambda: consumer._intake is not None and consumer._intake._received == 10)
            yield consumer, handler

    async def test_stopping_finishes_what_is_in_hand_and_gives_back_the_rest(
        self, broker: Broker, held: tuple[BatchConsumer, Handler]
    ) -> None:
        consumer, handler = held
        stopping = asyncio.create_task(consumer.stop())
        await until(lambda: not consumer.is_ready)
        handler.gate.set()
        await stopping
        assert handler.done == [b"0"]
        await broker.holds(QUEUE, 9)

    async def test_stopping_during_a_pause_gives_everything_back(self, url: str, broker: Broker) -> None:
        def judge(_: Received) -> None:
            raise TransientFault("away")

        await broker.put(b"a")
        async with running(consumer_of(url, Handler(judge))) as consumer:
            await until(lambda: not consumer._may_consume.is_set())
        await broker.holds(QUEUE, 1)

    async def test_a_cancelled_consumer_gives_everything_back(self, url: str, broker: Broker) -> None:
        handler = Handler()
        handler.gate.clear()
        await broker.put(b"a")
        task = asyncio.create_task(consumer_of(url, handler).run())
        await until(lambda: handler.is_inside)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not handler.is_inside
        await broker.holds(QUEUE, 1)

    async def test_a_consumer_that_never_ran_stops_at_once(self, url: str) -> None:
        await BatchConsumer(url, QUEUE, Handler(), utc_now).stop()


class TestAckWindow:
    def test_tags_settled_in_any_order_are_acknowledged_without_a_gap(self) -> None:
        window = AckWindow()
        assert window.settle([3, 2]) is None
        assert window.settle([1]) == 3
        assert window.settle([6, 4]) == 4
        assert window.settle([5]) == 6
        assert window.settle([]) is None
