"""A consumer's incoming messages: one channel, its prefetched messages, and its acknowledgements."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, cast

import aiormq.abc
from aiormq.channel import Channel

from shared.broker.connection import (
    PROBE_INTERVAL_SECONDS,
    PROBE_TIMEOUT_SECONDS,
    BrokerRefused,
    BrokerUnavailable,
    Connection,
    translated,
)
from shared.broker.frames import Delivered
from shared.broker.messages import Delivery, came_often
from shared.clock import Clock

_TIMEOUT_SECONDS: Final = 5.0
_MOST_IDLE_PROBES: Final = 2


class AckWindow:
    """Which tags may be acknowledged together, whatever the order in which they are settled.

    Tags count 1, 2, 3 on a channel, and acknowledging one with `multiple` covers all below it, so only the end of
    the unbroken run of settled tags may be named; and only one that the broker has not been answered yet.
    """

    def __init__(self) -> None:
        self._settled: set[int] = set()
        self._answered: set[int] = set()
        self.top = 0
        """The end of the unbroken run."""

    def settle(self, tags: Iterable[int]) -> int | None:
        """Add settled tags; return the tag to acknowledge up to, or None if there is nothing to acknowledge."""
        self._settled.update(tag for tag in tags if tag > self.top)
        named = None
        while self.top + 1 in self._settled:
            self.top += 1
            self._settled.discard(self.top)
            if self.top in self._answered:
                self._answered.discard(self.top)
            else:
                named = self.top
        return named

    def is_settled(self, tag: int) -> bool:
        """Whether a tag was settled before."""
        return tag <= self.top or tag in self._settled

    def answered(self, tags: Iterable[int]) -> None:
        """Add tags that are acknowledged one by one; `settle` takes them too."""
        self._answered.update(tags)

    def settled_behind(self) -> list[int]:
        """Return the settled tags behind an open one that are not yet acknowledged, and count them as acknowledged."""
        tags = sorted(self._settled - self._answered)
        self._answered.update(tags)
        return tags


class Intake:
    """One channel that consumes one queue, from its opening to its end; a new connection brings a new one.

    A message that was redelivered often may have ended its consumers, and each time the messages in hand with it count
    as delivered in vain too, up to the queue's limit. So a channel begins with one message at a time and takes the
    whole prefetch after the first that was not redelivered often. If a suspicious one arrives later, the channel
    consumes nothing more until everything else is settled, and then that message.
    """

    def __init__(self, queue: str, replays: str, prefetch: int, clock: Clock, arrived: Callable[[], None]) -> None:
        self._queue = queue
        self._replays = replays
        self._prefetch = prefetch
        self._clock = clock
        self._arrived = arrived
        self._inbox: deque[tuple[Delivered, datetime]] = deque()
        self._suspects: deque[tuple[Delivered, datetime]] = deque()
        self._window = AckWindow()
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._cancelled = _future()
        self._turn = _future()
        self._turning = asyncio.Lock()
        # How many messages the broker may send ahead, 0 for none, and how many it should.
        self._width = self._wanted = 1
        self._tag = ""
        self._received = 0
        self._is_stopping = False
        self.is_over = False

    @property
    def is_empty(self) -> bool:
        """Whether the channel must not pass on messages now."""
        return not self._inbox and not self._may_take_suspect

    @property
    def _may_take_suspect(self) -> bool:
        return bool(self._suspects) and self._width <= 1

    async def open(self, connection: Connection) -> None:
        """Start to consume; raises `BrokerRefused` if the queue is missing."""
        channel = await connection.channel(confirms=False)
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        connection.on_delivery(self._receive)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await channel.queue_declare(self._queue, passive=True)
        self._channel = channel
        await self._consume(channel)

    async def watch(self, connection: Connection) -> None:
        """Return when the consumer is lost, by any sign: channel, cancellation, silence, or a broker that forgot it."""
        if (channel := self._channel) is None:
            return
        loop = asyncio.get_running_loop()
        closing = channel.closing
        idle_probes, seen, looked_at = 0, 0, loop.time()
        while True:
            rest = max(0.0, looked_at + PROBE_INTERVAL_SECONDS - loop.time())
            is_over = await connection.lost(closing, self._cancelled, self._turn, timeout_seconds=rest)
            if self._turn.done():
                await self._change_width(channel)
                continue
            if is_over:
                break
            waiting, consumers = await self._probe(channel)
            looked_at = loop.time()
            if self._is_stopping or not self._width:
                continue
            if not consumers or self._tag not in cast(Channel, channel).consumers:
                raise BrokerUnavailable(f"The broker has forgotten the consumer of {self._queue}.")
            is_idle = self._received == seen == self._window.top
            idle_probes = idle_probes + 1 if waiting and is_idle else 0
            if idle_probes >= _MOST_IDLE_PROBES:
                raise BrokerUnavailable(f"{self._queue} has messages, but delivers none.")
            seen = self._received
        if self._cancelled.done():
            raise BrokerUnavailable(f"The broker cancelled the consumer of {self._queue}.")

    def take(self, count: int, size: int) -> list[Delivery]:
        """Take available messages in order of arrival, up to a number of messages and about a number of bytes.

        A message that was redelivered often is taken alone, when nothing else is in hand.
        """
        if not self._inbox and self._may_take_suspect:
            return [self._delivery(*self._suspects.popleft())]
        taken: list[Delivery] = []
        while self._inbox and len(taken) < count and size > 0:
            taken.append(self._delivery(*self._inbox.popleft()))
            size -= len(taken[-1].received.body)
        return taken

    def is_settled(self, delivery: Delivery) -> bool:
        """Whether a message has its outcome, acknowledged yet or not."""
        return self._window.is_settled(delivery.tag)

    async def ack(self, deliveries: Sequence[Delivery]) -> bool:
        """Mark messages as settled and acknowledge what may be; return False when the channel is gone.

        Unacknowledged messages are delivered again and then recognised by their inbox rows.
        """
        top = self._window.settle(delivery.tag for delivery in deliveries)
        if not self._wanted and not self._suspects:
            self._turn_to(1)
        if top is None:
            return not self.is_over
        return await self._answer(lambda channel: channel.basic_ack(top, multiple=True))

    async def ack_apart(self) -> bool:
        """Acknowledge settled messages behind an open one, one by one; return False when the channel is gone.

        Otherwise they would count as delivered in vain if the open message ends the process.
        """
        for tag in self._window.settled_behind():
            if not await self._answer(lambda channel, tag=tag: channel.basic_ack(tag)):  # type: ignore[misc]
                return False
        return not self.is_over

    async def reject(self, delivery: Delivery) -> bool:
        """Have the broker move a message to the dead queue unchanged; return False when the channel is gone."""
        self._window.answered([delivery.tag])
        is_moved = await self._answer(lambda channel: channel.basic_reject(delivery.tag, requeue=False))
        return await self.ack([delivery]) and is_moved

    async def cancel(self) -> None:
        """Ask the broker to send nothing more."""
        self._is_stopping = True
        async with self._turning:
            if self._tag and not await self._answer(lambda channel: channel.basic_cancel(self._tag)):
                self.is_over = True

    def end(self) -> None:
        """The channel is gone: waiting messages are delivered again on another one."""
        self.is_over = True
        self._inbox.clear()
        self._suspects.clear()

    def _delivery(self, delivered: Delivered, now: datetime) -> Delivery:
        return Delivery(delivered, now, is_replay=delivered.exchange == self._replays)

    async def _answer(self, act: Callable[[aiormq.abc.AbstractChannel], Awaitable[object]]) -> bool:
        if self.is_over or self._channel is None:
            return False
        try:
            with translated():
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    await act(self._channel)
        except (BrokerUnavailable, BrokerRefused):
            return False
        return True

    async def _consume(self, channel: aiormq.abc.AbstractChannel) -> None:
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await channel.basic_qos(prefetch_count=self._wanted)
                # Set first, because deliveries arrive before the answer to this call.
                self._width = self._wanted
                answer = await channel.basic_consume(self._queue, _never_called)
        self._tag = answer.consumer_tag or ""

    async def _change_width(self, channel: aiormq.abc.AbstractChannel) -> None:
        """Apply the wanted prefetch; it belongs to a consumer, so this starts another one."""
        self._turn = _future()
        async with self._turning:
            if self._is_stopping or self._wanted == self._width:
                return
            if self._tag:
                with translated():
                    async with asyncio.timeout(_TIMEOUT_SECONDS):
                        await channel.basic_cancel(self._tag)
            self._tag, self._width = "", 0
            if self._wanted:
                await self._consume(channel)
        self._arrived()

    def _turn_to(self, width: int) -> None:
        self._wanted = width
        if not self._turn.done():
            self._turn.set_result(None)

    async def _probe(self, channel: aiormq.abc.AbstractChannel) -> tuple[int, int]:
        with translated():
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                answer = await channel.queue_declare(self._queue, passive=True)
        return answer.message_count or 0, answer.consumer_count or 0

    def _receive(self, delivered: Delivered) -> None:
        self._received += 1
        if came_often(delivered):
            self._suspects.append((delivered, self._clock()))
            if self._wanted > 1:
                self._turn_to(0)
        else:
            self._inbox.append((delivered, self._clock()))
            if not self._suspects and self._wanted == 1 < self._prefetch:
                self._turn_to(self._prefetch)
        self._arrived()

    def _on_cancel(self, _: object) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result(None)


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def _never_called(_: aiormq.abc.DeliveredMessage) -> None:
    """The client requires a callback, though deliveries are taken out of the stream before it sees them."""
