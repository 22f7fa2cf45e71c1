"""A dead queue, or `unrouted`, held open to read its messages; those not removed return in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import aiormq.abc

from shared.broker.connection import Connection, connect, translated
from shared.broker.frames import Delivered
from shared.broker.letters import DeadMessage
from shared.broker.topology import QUEUE_UNROUTED, dead_queue, replay_exchange

_TIMEOUT_SECONDS: Final = 10.0
# A channel passes on 32 settlements of a quorum queue at a time. Any more wait in the channel for the
# queue's answer, and a channel that closes meanwhile loses them: the messages would return. Hence fewer at once, each
# lot followed by a get, which the queue answers only after the settlements before it.
BATCH: Final = 25
_LOOKS: Final = 40
_LOOK_SECONDS: Final = 0.05
_RETURN_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Taken:
    """A message in hand: as delivered, and as shown to operators."""

    delivered: Delivered
    message: DeadMessage


class DeadQueue:
    """An open dead queue; messages that are taken and not removed return at the end."""

    def __init__(self, connection: Connection, channel: aiormq.abc.AbstractChannel, queue: str, count: int) -> None:
        self._connection = connection
        self._channel = channel
        self._queue = queue
        self._name = kept_in(queue)
        # In the order of taking; a list would be searched for each that is removed.
        self._in_hand: dict[int, None] = {}
        self._has_removed = False
        self.count = count

    def way_back(self, taken: Taken) -> tuple[str, str]:
        """The exchange and routing key of a replay: the queue's own, or the original ones."""
        if self._queue == QUEUE_UNROUTED:
            return taken.delivered.exchange, taken.delivered.routing_key
        return replay_exchange(self._queue), self._queue

    async def messages(self) -> AsyncIterator[Taken]:
        """Iterate once over the messages present at the opening; later ones are left alone."""
        for _ in range(self.count):
            message = await self._got()
            if message.delivery_tag is None:
                return
            delivered = replace(self._connection.last_got(), body=message.body)
            yield Taken(delivered, DeadMessage.of(delivered, self._queue, self._connection.broker_version))

    async def _got(self) -> aiormq.abc.DeliveredMessage:
        """Get a message; wait briefly for those that others hold, usually the service while it looks."""
        for _ in range(_LOOKS):
            message = await self._get()
            if message.delivery_tag is not None:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return message

    async def _get(self) -> aiormq.abc.DeliveredMessage:
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                message = await self._channel.basic_get(self._name)
        if message.delivery_tag is not None:
            self._in_hand[message.delivery_tag] = None
        return message

    async def give_back(self) -> None:
        """Return everything not removed in its order, which closing the channel would not keep.

        The channel keeps it only for as many as it passes on at a time, so each lot is awaited.
        """
        if self._has_removed:
            await self._get()
        tags = list(self._in_hand)
        for start in range(0, len(tags), BATCH):
            await self.return_up_to(tags[start : start + BATCH])

    async def return_up_to(self, tags: Sequence[int]) -> None:
        """Return messages, all that are in hand up to the last of them, and wait until they have arrived."""
        ready = await _ready(self._channel, self._name) + len(tags)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._channel.basic_nack(tags[-1], multiple=True, requeue=True)
        for _ in range(_LOOKS):
            if await _ready(self._channel, self._name) >= ready:
                break
            await asyncio.sleep(_RETURN_SECONDS)

    async def remove(self, tag: int) -> None:
        """Remove a message for good."""
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._channel.basic_ack(tag)
        del self._in_hand[tag]
        self._has_removed = True


@asynccontextmanager
async def opened(url: str, queue: str) -> AsyncIterator[DeadQueue]:
    """Open the dead queue behind `queue`, or `unrouted`; at the end, messages not removed return in order."""
    connection = await connect(url, f"dead messages of {queue}")
    try:
        channel = await connection.channel(confirms=False)
        dead = DeadQueue(connection, channel, queue, await _settled_count(channel, kept_in(queue)))
        yield dead
        await dead.give_back()
    finally:
        await connection.close()


async def _settled_count(channel: aiormq.abc.AbstractChannel, name: str) -> int:
    """The number of messages in a queue, once none seem to be on their way back.

    The service looks as a consumer (`given_up`); what it has in hand is not counted, and returns piece by piece.
    """
    count = -1
    for _ in range(_LOOKS):
        before, (count, consumers) = count, await _depth(channel, name)
        if not consumers and count <= before:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return count


async def _ready(channel: aiormq.abc.AbstractChannel, name: str) -> int:
    count, _ = await _depth(channel, name)
    return count


async def _depth(channel: aiormq.abc.AbstractChannel, name: str) -> tuple[int, int]:
    with translated():
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            answer = await channel.queue_declare(name, passive=True)
    return answer.message_count or 0, answer.consumer_count or 0


def kept_in(queue: str) -> str:
    """Return the name of the queue that holds the dead messages of `queue`."""
    return queue if queue == QUEUE_UNROUTED else dead_queue(queue)
