"""Where a consumer's messages come in: one channel, its prefetched messages, and its acknowledgements."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
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
from shared.broker.messages import Delivery
from shared.clock import Clock

_TIMEOUT_SECONDS: Final = 5.0
_MOST_IDLE_PROBES: Final = 2


class AckWindow:
    """Which tags may be acknowledged together, in whatever order they are settled.

    Tags count 1, 2, 3 on a channel, and acknowledging one with `multiple` covers all below it, so only the end of
    the unbroken run of settled tags may be named.
    """

    def __init__(self) -> None:
        self._acked = 0
        self._settled: set[int] = set()

    def settle(self, tags: Iterable[int]) -> int | None:
        """Take settled tags; return the tag to acknowledge up to, or None while an earlier one is open."""
        self._settled.update(tags)
        top = self._acked
        while top + 1 in self._settled:
            top += 1
            self._settled.discard(top)
        if top == self._acked:
            return None
        self._acked = top
        return top


class Intake:
    """One channel that consumes one queue, from its opening to its end; a new connection brings a new one."""

    def __init__(self, queue: str, replays: str, clock: Clock, arrived: Callable[[], None]) -> None:
        self._queue = queue
        self._replays = replays
        self._clock = clock
        self._arrived = arrived
        self._inbox: deque[tuple[Delivered, datetime]] = deque()
        self._window = AckWindow()
        self._channel: aiormq.abc.AbstractChannel | None = None
        self._cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tag = ""
        self._received = 0
        self._acked = 0
        self._is_stopping = False
        self.is_over = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._inbox

    async def open(self, connection: Connection, prefetch: int) -> None:
        """Start to consume; raises `BrokerRefused` when the queue is not there."""
        channel = await connection.channel(confirms=False)
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        connection.on_delivery(self._receive)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await channel.basic_qos(prefetch_count=prefetch)
                await channel.queue_declare(self._queue, passive=True)
                answer = await channel.basic_consume(self._queue, _never_called)
        self._tag = answer.consumer_tag or ""
        self._channel = channel

    async def watch(self, connection: Connection) -> None:
        """Return when the consumer is lost, by whichever sign: channel, cancellation, silence, or being forgotten."""
        if self._channel is None:
            return
        closing = self._channel.closing
        idle_probes, seen = 0, 0
        while not await connection.lost(closing, self._cancelled, timeout_seconds=PROBE_INTERVAL_SECONDS):
            waiting, consumers = await self._probe(self._channel)
            if self._is_stopping:
                continue
            if not consumers or self._tag not in cast(Channel, self._channel).consumers:
                raise BrokerUnavailable(f"The broker has forgotten the consumer of {self._queue}.")
            is_idle = self._received == seen == self._acked
            idle_probes = idle_probes + 1 if waiting and is_idle else 0
            if idle_probes >= _MOST_IDLE_PROBES:
                raise BrokerUnavailable(f"{self._queue} has messages, and none of them comes.")
            seen = self._received
        if self._cancelled.done():
            raise BrokerUnavailable(f"The broker cancelled the consumer of {self._queue}.")

    def take(self, count: int, size: int) -> list[Delivery]:
        """Take what is there in order of arrival, up to so many messages and about so many bytes."""
        taken: list[Delivery] = []
        while self._inbox and len(taken) < count and size > 0:
            delivered, now = self._inbox.popleft()
            taken.append(Delivery(delivered, now, is_replay=delivered.exchange == self._replays))
            size -= len(delivered.body)
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> bool:
        """Mark messages as settled and acknowledge what may be; return False when the channel is gone.

        What is not acknowledged comes again, and is known then by its inbox row.
        """
        if self.is_over or self._channel is None:
            return False
        top = self._window.settle(delivery.tag for delivery in deliveries)
        if top is None:
            return True
        try:
            with translated():
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    await self._channel.basic_ack(top, multiple=True)
        except (BrokerUnavailable, BrokerRefused):
            return False
        self._acked = top
        return True

    async def cancel(self) -> None:
        """Ask the broker to send nothing more."""
        if self._channel is None or self.is_over:
            return
        self._is_stopping = True
        try:
            with translated():
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    await self._channel.basic_cancel(self._tag)
        except (BrokerUnavailable, BrokerRefused):
            self.is_over = True

    def end(self) -> None:
        """The channel is gone: what waits comes again on another one."""
        self.is_over = True
        self._inbox.clear()

    async def _probe(self, channel: aiormq.abc.AbstractChannel) -> tuple[int, int]:
        with translated():
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                answer = await channel.queue_declare(self._queue, passive=True)
        return answer.message_count or 0, answer.consumer_count or 0

    def _receive(self, delivered: Delivered) -> None:
        self._received += 1
        self._inbox.append((delivered, self._clock()))
        self._arrived()

    def _on_cancel(self, _: object) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result(None)


async def _never_called(_: aiormq.abc.DeliveredMessage) -> None:
    """Deliveries are taken out of the stream before the client sees them; it only wants to be given something."""
