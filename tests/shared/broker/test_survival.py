"""No message ends the process or holds the others: whatever fails with it, it ends in its dead queue, maybe raw."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.broker import dead_letter_publisher, lines, topology
from shared.broker.consumer import BatchConsumer, Received, Reject
from shared.broker.messages import Delivery
from shared.broker.operator import dead
from shared.broker.publisher import Publisher
from shared.clock import utc_now
from tests import amqp
from tests.amqp import RawMessage
from tests.shared.broker.tools import Broker, Handler, client, running, until

QUEUE = "redemption.checkout"
DEAD = "redemption.checkout.dead"
ROOT = Path(__file__).parents[3]
GOOD = [b"good%d" % number for number in range(50)]
BAD = b"bad"


HOSTILE = {
    "a time beyond UTC": RawMessage(
        BAD, headers=amqp.entries((b"x-mintwire-first-received-at", amqp.text(b"0001-01-01T00:00:00+14:00")))
    ),
    "odd numbers": RawMessage(BAD, headers=amqp.entries((b"n", b"T" + b"\xff" * 8), (b"d", b"D" + b"\xff" * 5))),
    "not UTF-8": RawMessage(BAD, headers=amqp.entries((b"\xff" * 255, amqp.text(b"\xff" * 65_000)))),
    "many headers": RawMessage(BAD, headers=amqp.entries(*((b"", b"V") for _ in range(30_000)))),
    "ids": RawMessage(BAD, message_id=b"\xff" * 255, type=b"\xfe" * 255, content_type=b"\0" * 255, timestamp=2**64 - 1),
    "others": RawMessage(BAD, reply_to=b"\xff" * 255, correlation_id=b"\xff", app_id=b"\xff", priority=255),
}


class Panic(BaseException):
    """As an extension written in Rust raises it: no Exception."""


class Untold(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def consumer_of(url: str, handler: Any, **options: Any) -> BatchConsumer:
    return BatchConsumer(url, QUEUE, handler, utc_now, **options)


async def put_all(broker: Broker) -> None:
    """Fifty good messages with the bad one among them."""
    for body in (*GOOD[:25], BAD, *GOOD[25:]):
        await broker.put(body, message_id=f"id-{body.decode()}")


async def dead_of(url: str) -> list[tuple[bytes, str, bool]]:
    return [(each.body, each.reason, each.is_moved_by_broker) for each in await dead.list_dead(url, QUEUE)]


class TestHandlers:
    @pytest.mark.parametrize("failure", [Panic("a panic"), Untold(), RuntimeError("half a pair \ud800"), MemoryError()])
    async def test_whatever_a_handler_raises_the_message_is_dead_and_the_rest_done(
        self, url: str, broker: Broker, failure: BaseException
    ) -> None:
        def judge(received: Received) -> None:
            if received.body == BAD:
                raise failure

        handler = Handler(judge)
        await put_all(broker)
        async with running(consumer_of(url, handler)):
            await until(lambda: set(handler.done) == set(GOOD))
            await broker.holds(DEAD, 1)
        assert await dead_of(url) == [(BAD, "handler_error", False)]
        await broker.holds(QUEUE, 0)

    async def test_a_reject_may_say_what_cannot_be_written(self, url: str, broker: Broker) -> None:
        await broker.put(BAD)
        async with running(consumer_of(url, Handler(lambda _: Reject("bad\udfff", "x\ud800" * 900)))):
            await broker.holds(DEAD, 1)
        [message] = await dead.list_dead(url, QUEUE)
        assert (message.reason, message.detail) == ("bad?", "x?" * 250)

    async def test_what_the_handler_waited_for_was_cancelled_and_nothing_is_dead(
        self, url: str, broker: Broker
    ) -> None:
        """Clients cancel what is under way when a connection goes; taken for our own end, it would end the consumer."""
        lost = [asyncio.get_running_loop().create_future() for _ in range(3)]
        for future in lost:
            future.cancel()

        done: list[bytes] = []

        async def handler(batch: Sequence[Received]) -> list[Reject | None]:
            if lost:
                await lost.pop()
            done.extend(received.body for received in batch)
            return [None] * len(batch)

        await put_all(broker)
        async with running(consumer_of(url, handler)):
            await until(lambda: len(done) == 51)
        await broker.holds(QUEUE, 0)
        assert await broker.count(DEAD) == 0


class TestDeadLettering:
    """What fails after the judgement: the dressing, the writing, the sending, the logging."""

    async def _is_moved_raw(self, url: str, broker: Broker, judge: Callable[[Received], Reject | None]) -> None:
        handler = Handler(judge)
        await put_all(broker)
        async with running(consumer_of(url, handler)) as consumer:
            await broker.holds(DEAD, 1)
            await until(lambda: set(handler.done) == {*GOOD, BAD})
            await broker.put(b"next")
            await until(lambda: b"next" in handler.done)
            assert consumer.is_ready
        assert await dead_of(url) == [(BAD, "rejected", True)]
        await broker.holds(QUEUE, 0)

    async def test_what_cannot_be_dressed_goes_as_it_came(
        self, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise OverflowError

        monkeypatch.setattr(Delivery, "to_dead_letter", broken)
        await self._is_moved_raw(url, broker, lambda received: Reject("no") if received.body == BAD else None)
        message = await broker.arrived(DEAD)
        assert (message.body, message.header.properties.message_id) == (BAD, "id-bad")
        assert "x-mintwire-reason" not in (message.header.properties.headers or {})

    async def test_what_cannot_be_written_goes_as_it_came_and_its_neighbours_with_their_reason(
        self, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dress = Delivery.to_dead_letter

        def unwritable(self: Delivery, *rest: Any) -> Any:
            letter = dress(self, *rest)
            return letter if self.received.body != BAD else type(letter)("k" * 256, b"", letter.message_id)

        monkeypatch.setattr(Delivery, "to_dead_letter", unwritable)
        await put_all(broker)
        async with running(consumer_of(url, Handler(lambda _: Reject("no")))):
            await broker.holds(DEAD, 51)
        assert sorted(await dead_of(url)) == sorted([(BAD, "rejected", True), *((body, "no", False) for body in GOOD)])
        await broker.holds(QUEUE, 0)

    async def test_what_ends_the_connection_each_time_goes_as_it_came(
        self, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dead_letter_publisher, "MOST_PAUSE_SECONDS", 0.2)
        dress = Delivery.to_dead_letter

        def too_large(self: Delivery, *rest: Any) -> Any:
            letter = dress(self, *rest)
            is_bad = self.received.body == BAD
            return type(letter)(letter.routing_key, b"x" * 1_048_577, letter.message_id) if is_bad else letter

        monkeypatch.setattr(Delivery, "to_dead_letter", too_large)
        await put_all(broker)
        async with running(consumer_of(url, Handler(lambda _: Reject("no")))) as consumer:
            await until(lambda: consumer._intake is not None and consumer._intake._window.top == 51)
        # Those that went out before it on the same connection may be there twice.
        assert set(await dead_of(url)) == {(BAD, "rejected", True), *((body, "no", False) for body in GOOD)}
        await broker.holds(QUEUE, 0)

    async def test_letters_that_wait_for_the_broker_keep_their_reason(
        self, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only a letter that is itself at fault may lose it."""
        send = Publisher.send
        away = [True] * 12

        async def sometimes(self: Publisher, messages: Any) -> Any:
            return {} if away and away.pop() else await send(self, messages)

        monkeypatch.setattr(Publisher, "send", sometimes)

        async def is_there(_: Publisher, __: float) -> bool:
            return not away

        monkeypatch.setattr(Publisher, "wait_ready", is_there)
        monkeypatch.setattr(dead_letter_publisher, "MOST_PAUSE_SECONDS", 0.1)
        await put_all(broker)
        async with running(consumer_of(url, Handler(lambda _: Reject("no")))):
            await broker.holds(DEAD, 51)
        assert {(reason, is_raw) for _, reason, is_raw in await dead_of(url)} == {("no", False)}

    async def test_a_line_that_cannot_be_logged_stops_nothing(self, url: str, broker: Broker) -> None:
        class Choosy:
            """A log that cannot take what is in the first line about a rejected message."""

            def __init__(self, log: Any) -> None:
                self._log = log

            def __getattr__(self, level: str) -> Any:
                return lambda event, **facts: self._write(level, event, facts)

            def _write(self, level: str, event: str, facts: dict[str, Any]) -> None:
                if "reason" in facts:
                    raise TypeError("not for a log")
                getattr(self._log, level)(event, **facts)

        handler = Handler(lambda received: Reject("no") if received.body == BAD else None)
        consumer = consumer_of(url, handler)
        consumer._log = Choosy(consumer._log)
        with capture_logs() as logs:
            await put_all(broker)
            async with running(consumer):
                await broker.holds(DEAD, 1)
                await until(lambda: set(handler.done) == {*GOOD, BAD})
            await broker.holds(QUEUE, 0)
        assert await dead_of(url) == [(BAD, "no", False)]
        assert [line["not_logged"] for line in logs if line["event"] == "message_rejected"] == ["TypeError"]

    async def test_what_fails_on_a_message_may_fail_on_it_again_in_the_log(
        self, url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: bytes) -> None:
            raise Panic

        monkeypatch.setattr(lines, "decode_envelope", broken)
        await broker.put(BAD)
        async with running(consumer_of(url, Handler(lambda _: Reject("no")))):
            await broker.holds(DEAD, 1)
        assert await dead_of(url) == [(BAD, "no", False)]

    @pytest.mark.parametrize("name", HOSTILE)
    @pytest.mark.parametrize("exchange", ["", f"replay.{QUEUE}"])
    async def test_no_property_keeps_a_message_from_its_dead_queue_or_from_coming_back(
        self, url: str, broker: Broker, name: str, exchange: str
    ) -> None:
        async with client(url) as raw:
            await raw.put_raw(HOSTILE[name], QUEUE, exchange=exchange)
            await broker.holds(QUEUE, 1)
        async with running(consumer_of(url, Handler(lambda _: Reject("no")))) as consumer:
            await broker.holds(DEAD, 1)
            assert await dead_of(url) == [(BAD, "no", False)]
            await broker.holds(DEAD, 1)
            assert await dead.replay(url, QUEUE) == 1
            await broker.holds(QUEUE, 0)
            await broker.holds(DEAD, 1)
            assert consumer.is_ready
        assert await dead_of(url) == [(BAD, "no", False)]


EXIT_CODE = 9
PROGRAM = f"""
import asyncio, os, sys
from shared.broker.consumer import BatchConsumer
from shared.clock import utc_now

async def handle(batch):
    for received in batch:
        if received.body == b"bad":
            os._exit({EXIT_CODE})
        print(received.body.decode(), flush=True)
    return [None] * len(batch)

asyncio.run(BatchConsumer(sys.argv[1], "{QUEUE}", handle, utc_now).run())
"""
LIMIT = 8


class TestKillers:
    """A message that ends its process below Python: out of memory, a crash of an extension."""

    @pytest.fixture
    async def queue(self, broker: Broker) -> AsyncIterator[None]:
        """The queue as the topology has it, but for its delivery limit, which takes that many processes."""
        [arguments] = [queue.arguments for queue in topology.QUEUES if queue.name == QUEUE]
        await broker.channel.queue_delete(QUEUE)
        await broker.channel.queue_declare(QUEUE, durable=True, arguments={**arguments, "x-delivery-limit": LIMIT})
        await broker.channel.queue_bind(QUEUE, "replay.redemption.checkout", "")
        yield
        # Migrating would refuse one that is otherwise, and that may come next in this process.
        await broker.channel.queue_delete(QUEUE)

    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.usefixtures("queue")
    async def test_it_takes_none_of_its_neighbours_along(
        self, url: str, broker: Broker, replicas: int, tmp_path: Path
    ) -> None:
        """Held along each time, they all reached the limit with it."""
        await put_all(broker)
        killed = 0

        async def keep_up(number: int) -> None:
            nonlocal killed
            with (tmp_path / str(number)).open("wb") as said:
                while True:
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-c", PROGRAM, url, cwd=ROOT, stdout=said, stderr=asyncio.subprocess.DEVNULL
                    )
                    try:
                        assert await process.wait() == EXIT_CODE
                        killed += 1
                    finally:
                        if process.returncode is None:
                            process.kill()
                            await process.wait()

        def done() -> set[bytes]:
            return {line for file in tmp_path.iterdir() for line in file.read_bytes().split()}

        keeping = [asyncio.create_task(keep_up(number)) for number in range(replicas)]
        try:
            await broker.holds(DEAD, 1, 100)
            await until(lambda: done() >= set(GOOD))
            # A delivery that a broken connection takes back counts as well, and ends no process.
            await until(lambda: 1 < killed <= LIMIT + 1)
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)
        await broker.holds(QUEUE, 0)
        [message] = await dead.list_dead(url, QUEUE)
        assert (message.body, message.reason, message.is_moved_by_broker) == (BAD, "delivery_limit", True)
        assert "with this message in hand" in message.detail
