"""The dead queues, for operators: count, list, show, replay and purge; needs the operator's rights.

`unrouted` is looked into like them: it has the events that no queue was bound for, and a replay publishes these again
on the exchange by which they came. Looking changes nothing: what is read is given back. A message is known by its key,
which is its message id or, where the sender gave none, a digest of its body.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import aiormq.abc

from shared.broker.connection import BrokerUnavailable, Connection, connect, translated
from shared.broker.frames import Delivered
from shared.broker.letters import DeadMessage
from shared.broker.messages import HEADER_FIRST_RECEIVED_AT, HEADER_ROUTING_KEY, copied
from shared.broker.publisher import Publisher
from shared.broker.topology import QUEUE_UNROUTED, WORK_QUEUES, dead_queue, replay_exchange
from shared.broker.wire import Outcome, Outgoing
from shared.times import format_microseconds, format_milliseconds

__all__ = ["QUEUES", "Choice", "DeadMessage", "Forgotten", "chosen", "count", "list_dead", "purge", "replay", "show"]

QUEUES: Final = (*WORK_QUEUES, QUEUE_UNROUTED)
"""The queues that can be asked about: those with a dead queue behind them, and `unrouted` itself."""

_TIMEOUT_SECONDS: Final = 10.0
# A channel passes on 32 settlements of a quorum queue at a time. What is beyond that waits in the channel for the
# queue's answer, and a channel that closes meanwhile loses it: the messages would come back. Hence fewer at once, each
# lot followed by a get, which the queue answers only after what was sent before.
_BATCH: Final = 25
_LOOKS: Final = 40
_LOOK_SECONDS: Final = 0.05
_RETURN_SECONDS: Final = 0.005


class Forgotten(Exception):
    """Some of the messages are older than their consumer's memory, and were left where they are."""


Choice = Callable[[DeadMessage], bool]


def chosen(keys: Collection[str] | None = None, reason: str | None = None) -> Choice:
    """A choice of messages by key and by reason; without either, all."""
    return lambda message: (keys is None or message.key in keys) and reason in (None, message.reason)


async def count(url: str) -> dict[str, int]:
    """How many messages the dead queue behind each queue holds, and how many `unrouted` does."""
    counts = {}
    for queue in QUEUES:
        async with opened(url, queue) as dead:
            counts[queue] = dead.count
    return counts


async def list_dead(url: str, queue: str, *, limit: int = 100, choice: Choice | None = None) -> list[DeadMessage]:
    """The first messages behind `queue`, oldest first."""
    found: list[DeadMessage] = []
    if limit < 1:
        return found
    async with opened(url, queue) as dead:
        async for taken in dead.messages():
            message = taken.message
            if choice is None or choice(message):
                found.append(message)
            if len(found) >= limit:
                break
    return found


async def show(url: str, queue: str, key: str) -> DeadMessage | None:
    """One message behind `queue`, or None."""
    found = await list_dead(url, queue, limit=1, choice=chosen([key]))
    return found[0] if found else None


async def replay(
    url: str,
    queue: str,
    *,
    choice: Choice | None = None,
    limit: int | None = None,
    known_since: datetime | None = None,
) -> int:
    """Publish the chosen messages to `queue` again, then remove them; return how many.

    Each keeps the time of its first receipt. A message leaves the dead queue only once its copy is confirmed; raises
    `BrokerUnavailable` when some could not be confirmed, which stay. Repeating is harmless, as consumers know what
    they have done: since `known_since`, if that is given. What first came before then stays too, and raises `Forgotten`
    once the others are replayed.
    """
    replayed, failed, forgotten = 0, 0, 0
    async with _Publishers(url, queue) as publishers, opened(url, queue) as dead:
        batch: dict[str, tuple[_Taken, Outgoing]] = {}
        async for taken in dead.messages():
            if limit is not None and replayed + failed + len(batch) >= limit:
                break
            if choice is not None and not choice(taken.message):
                continue
            if known_since is not None and _came_before(taken.message, known_since):
                forgotten += 1
                continue
            copy = copied(taken.delivered, dead.way_back(taken)[1], _kept(taken.message))
            # The same id must not be under way twice, so its second message waits for the next batch.
            if copy.message_id in batch or len(batch) >= _BATCH:
                done = await _replay_batch(publishers, dead, batch)
                replayed, failed, batch = replayed + done, failed + len(batch) - done, {}
            batch[copy.message_id] = (taken, copy)
        done = await _replay_batch(publishers, dead, batch)
        replayed, failed = replayed + done, failed + len(batch) - done
    if failed:
        raise BrokerUnavailable(f"{replayed} replayed; {failed} were not confirmed and stay in {_kept_in(queue)}.")
    if forgotten and known_since is not None:
        raise Forgotten(
            f"{replayed} replayed; {forgotten} first came before {format_milliseconds(known_since)} and stay in "
            f"{_kept_in(queue)}: of that time their consumer knows no more what it has done, nor what was cancelled."
        )
    return replayed


async def purge(url: str, queue: str, *, choice: Choice | None = None) -> int:
    """Remove the chosen messages behind `queue` for good; return how many."""
    purged = 0
    async with opened(url, queue) as dead:
        async for taken in dead.messages():
            if choice is None or choice(taken.message):
                await dead.remove(taken.delivered.tag)
                purged += 1
    return purged


async def _replay_batch(
    publishers: "_Publishers", dead: "DeadQueue", batch: Mapping[str, tuple["_Taken", Outgoing]]
) -> int:
    by_exchange: dict[str, list[Outgoing]] = {}
    for taken, copy in batch.values():
        by_exchange.setdefault(dead.way_back(taken)[0], []).append(copy)
    done = 0
    for exchange, copies in by_exchange.items():
        publisher = await publishers.to(exchange)
        for key, outcome in (await publisher.send(copies)).items():
            if outcome is Outcome.CONFIRMED:
                await dead.remove(batch[key][0].delivered.tag)
                done += 1
    return done


class _Publishers:
    """A publisher for each exchange that something goes back to, opened at the first need."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._name = f"replay to {queue}"
        self._open: dict[str, Publisher] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def to(self, exchange: str) -> Publisher:
        if exchange not in self._open:
            publisher = Publisher(self._url, exchange, name=self._name)
            self._open[exchange] = await self._stack.enter_async_context(publisher)
        return self._open[exchange]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message in hand: as delivered, and as people see it."""

    delivered: Delivered
    message: DeadMessage


class DeadQueue:
    """An open dead queue; messages that are taken and not removed go back at the end."""

    def __init__(self, connection: Connection, channel: aiormq.abc.AbstractChannel, queue: str, count: int) -> None:
        self._connection = connection
        self._channel = channel
        self._queue = queue
        self._name = _kept_in(queue)
        # In the order of taking; a list would be gone through for each that is removed.
        self._in_hand: dict[int, None] = {}
        self._has_removed = False
        self.count = count

    def way_back(self, taken: _Taken) -> tuple[str, str]:
        """The exchange and the routing key by which a replay goes: the queue's own, or as it came."""
        if self._queue == QUEUE_UNROUTED:
            return taken.delivered.exchange, taken.delivered.routing_key
        return replay_exchange(self._queue), self._queue

    async def messages(self) -> AsyncIterator[_Taken]:
        """Go once through the messages present at the opening; later ones are left for another time."""
        for _ in range(self.count):
            message = await self._got()
            if message.delivery_tag is None:
                return
            delivered = replace(self._connection.last_got(), body=message.body)
            yield _Taken(delivered, DeadMessage.of(delivered, self._queue, self._connection.broker_version))

    async def _got(self) -> aiormq.abc.DeliveredMessage:
        """Get a message; wait briefly for those that others hold, above all the service while it looks."""
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
        """Put everything not removed back in its order, which the end of the channel would not keep.

        Nor does the channel keep it for more than it passes on at a time, so each lot is waited for.
        """
        if self._has_removed:
            await self._get()
        tags = list(self._in_hand)
        for start in range(0, len(tags), _BATCH):
            await self.return_up_to(tags[start : start + _BATCH])

    async def return_up_to(self, tags: Sequence[int]) -> None:
        """Put messages back, all that are in hand up to the last of them, and wait a moment until they are there."""
        ready = await _ready(self._channel, self._name) + len(tags)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._channel.basic_nack(tags[-1], multiple=True, requeue=True)
        for _ in range(_LOOKS):
            if await _ready(self._channel, self._name) >= ready:
                break
            await asyncio.sleep(_RETURN_SECONDS)

    async def remove(self, tag: int) -> None:
        """Take a message away for good."""
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._channel.basic_ack(tag)
        del self._in_hand[tag]
        self._has_removed = True


@asynccontextmanager
async def opened(url: str, queue: str) -> AsyncIterator[DeadQueue]:
    """Open the dead queue behind `queue`, or `unrouted`; at the end what was not removed goes back in its order."""
    connection = await connect(url, f"dead messages of {queue}")
    try:
        channel = await connection.channel(confirms=False)
        dead = DeadQueue(connection, channel, queue, await _settled_count(channel, _kept_in(queue)))
        yield dead
        await dead.give_back()
    finally:
        await connection.close()


async def _settled_count(channel: aiormq.abc.AbstractChannel, name: str) -> int:
    """How many messages a queue has, once none seem to be on their way back.

    The service looks as a consumer (`given_up`); what it has in hand is not counted, and comes back piece by piece.
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


def _came_before(message: DeadMessage, moment: datetime) -> bool:
    first = message.first_received_at or message.died_at
    return first is not None and first < moment


def _kept_in(queue: str) -> str:
    return queue if queue == QUEUE_UNROUTED else dead_queue(queue)


def _kept(message: DeadMessage) -> dict[str, str]:
    kept: dict[str, str] = {}
    if message.first_received_at is not None:
        kept[HEADER_FIRST_RECEIVED_AT] = format_microseconds(message.first_received_at)
    if message.routing_key:
        kept[HEADER_ROUTING_KEY] = message.routing_key
    return kept
