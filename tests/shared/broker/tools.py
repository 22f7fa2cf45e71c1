"""What the broker's tests share: waiting for a condition, a broken network, and a client of their own."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from mintwire.cli.checks.management import Management
from shared.broker.consumer import BatchConsumer, Received, Reject
from shared.broker.policies import POLICIES
from shared.events.envelope import OutboxEvent
from shared.ids import new_id
from tests.amqp import RawMessage, publish


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for the condition, or fail when the time is up; it may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if await value if inspect.isawaitable(value) else value:
                return
            await asyncio.sleep(0.01)


def event(body: bytes = b"{}", kind: str = "checkout.completed") -> OutboxEvent:
    """An event that the topology routes to `redemption.checkout`."""
    return OutboxEvent(new_id(), kind, body)


class Broker:
    """A plain client beside the code under test."""

    def __init__(self, channel: aiormq.abc.AbstractChannel) -> None:
        self.channel = channel

    async def put(
        self, body: bytes, queue: str = "redemption.checkout", *, exchange: str = "", **properties: Any
    ) -> None:
        """Publish to a queue, confirmed; or with its name as routing key to an exchange."""
        given = Basic.Properties(delivery_mode=2, **properties)
        await self.channel.basic_publish(body, exchange=exchange, routing_key=queue, properties=given)

    async def put_raw(self, message: RawMessage, queue: str = "redemption.checkout", *, exchange: str = "") -> None:
        """Publish as `put` does what our client could not write; the channel's confirms no longer match."""
        await publish(self.channel, [message], exchange, queue.encode())

    async def get(self, queue: str) -> DeliveredMessage | None:
        """Take one message."""
        message = await self.channel.basic_get(queue, no_ack=True)
        return None if message.delivery_tag is None else message

    async def arrived(self, queue: str, seconds: float = 30.0) -> DeliveredMessage:
        """Take one message as soon as there is one."""
        got: list[DeliveredMessage] = []

        async def look() -> bool:
            if message := await self.get(queue):
                got.append(message)
            return bool(got)

        await until(look, seconds)
        return got[0]

    async def count(self, queue: str) -> int:
        """How many messages are ready."""
        return (await self.channel.queue_declare(queue, passive=True)).message_count or 0

    async def holds(self, queue: str, count: int, seconds: float = 30.0) -> None:
        """Wait until this many messages are ready."""

        async def look() -> bool:
            return await self.count(queue) == count

        await until(look, seconds)


@asynccontextmanager
async def limited(management: Management, name: str, max_length: int) -> AsyncIterator[None]:
    """Let one of our policies allow only this many messages."""
    [policy] = [each for each in POLICIES if each.name == name]
    await management.put_policy(replace(policy, max_length=max_length))
    try:
        yield
    finally:
        await management.put_policy(policy)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Broker]:
    connection = await aiormq.connect(url)
    try:
        yield Broker(await connection.channel())
    finally:
        await connection.close()


class Handler:
    """A handler that remembers what it judged and does as it is told."""

    def __init__(self, judge: Callable[[Received], Reject | None] = lambda _: None) -> None:
        self.judge = judge
        self.batches: list[list[Received]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_inside = False

    @property
    def done(self) -> list[bytes]:
        """The bodies judged, in order."""
        return [received.body for batch in self.batches for received in batch]

    async def __call__(self, batch: Sequence[Received]) -> list[Reject | None]:
        self.is_inside = True
        try:
            await self.gate.wait()
            outcomes = [self.judge(received) for received in batch]
        finally:
            self.is_inside = False
        self.batches.append(list(batch))
        return outcomes


@asynccontextmanager
async def running(consumer: BatchConsumer) -> AsyncIterator[BatchConsumer]:
    """Run a consumer until the block ends, then stop it as a service does."""
    task = asyncio.create_task(consumer.run())
    try:
        await until(lambda: consumer.is_ready or task.done())
        yield consumer
        await consumer.stop()
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Proxy:
    """A network path that can be cut or go silent."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self.accepted = 0

    @property
    def url(self) -> str:
        """The target's URL by way of the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self, refuses: bool) -> None:
        """Reset new connections at once, or let them through again."""
        self._refuses = refuses

    def silence(self) -> None:
        """Keep connections open and carry nothing."""
        self._open.clear()

    def heal(self) -> None:
        """Carry again, what was held up too."""
        self._open.set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        if self._refuses:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers.add(back)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.transport.abort()
            self._writers.discard(sink)
