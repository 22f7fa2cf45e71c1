"""The dead queues, for operators: count, list, show, replay and purge; needs the operator's rights.

`unrouted` is looked into like them: it has the events that no queue was bound for, and a replay publishes these again
on the exchange by which they came. Looking changes nothing: what is read is given back. A message is known by its key,
which is its message id or, where the sender gave none, a digest of its body.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import aiormq.abc

from shared.broker.connection import BrokerUnavailable, connect, translated
from shared.broker.frames import Delivered
from shared.broker.messages import (
    HEADER_DETAIL,
    HEADER_DIED_AT,
    HEADER_FIRST_RECEIVED_AT,
    HEADER_REASON,
    HEADER_ROUTING_KEY,
    copied,
    header_text,
    header_time,
)
from shared.broker.publisher import Publisher
from shared.broker.topology import QUEUE_UNROUTED, WORK_QUEUES, dead_exchange, dead_queue, replay_exchange
from shared.broker.wire import Outcome, Outgoing
from shared.clock import format_microseconds

QUEUES: Final = (*WORK_QUEUES, QUEUE_UNROUTED)
"""The queues that can be asked about: those with a dead queue behind them, and `unrouted` itself."""

_TIMEOUT_SECONDS: Final = 10.0
# A channel passes on 32 settlements of a quorum queue at a time. What is beyond that waits in the channel for the
# queue's answer, and a channel that closes meanwhile loses it: the messages would come back. Hence fewer at once, each
# lot followed by a get, which the queue answers only after what was sent before.
_REPLAY_BATCH: Final = 25
_ALL: Final = 0
_BROKER_REASON: Final = "x-first-death-reason"
_DEATHS: Final = "x-death"


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message of a dead queue; its reason is the consumer's, or the broker's own (`delivery_limit`).

    Where the broker gave up by itself, the time of that stands for the unknown time of first receipt.
    """

    key: str
    reason: str
    detail: str
    routing_key: str
    first_received_at: datetime | None
    died_at: datetime | None
    body: bytes
    headers: Mapping[str, Any]

    @classmethod
    def of(cls, delivered: Delivered, queue: str) -> Self:
        """Read what the dead queue of `queue` holds, or `unrouted`."""
        headers = delivered.headers
        # What the broker moved bears whatever headers its sender gave it; only the consumer's way is closed to others.
        ours = headers if queue != QUEUE_UNROUTED and delivered.exchange == dead_exchange(queue) else {}
        death = _first_death(headers)
        unknown_reason = QUEUE_UNROUTED if queue == QUEUE_UNROUTED else "unknown"
        return cls(
            key=delivered.message_id or f"sha256:{hashlib.sha256(delivered.body).hexdigest()[:32]}",
            reason=header_text(ours, HEADER_REASON) or header_text(headers, _BROKER_REASON) or unknown_reason,
            detail=header_text(ours, HEADER_DETAIL) or "",
            routing_key=header_text(ours, HEADER_ROUTING_KEY) or _routing_key(death) or delivered.routing_key,
            first_received_at=header_time(ours, HEADER_FIRST_RECEIVED_AT) or _time(death),
            died_at=header_time(ours, HEADER_DIED_AT) or _time(death),
            body=delivered.body,
            headers=headers,
        )


Choice = Callable[[DeadMessage], bool]


def chosen(keys: Collection[str] | None = None, reason: str | None = None) -> Choice:
    """A choice of messages by key and by reason; without either, all."""
    return lambda message: (keys is None or message.key in keys) and reason in (None, message.reason)


async def count(url: str) -> dict[str, int]:
    """How many messages the dead queue behind each queue holds, and how many `unrouted` does."""
    counts = {}
    for queue in QUEUES:
        async with _opened(url, queue) as dead:
            counts[queue] = dead.count
    return counts


async def list_dead(url: str, queue: str, *, limit: int = 100, choice: Choice | None = None) -> list[DeadMessage]:
    """The first messages behind `queue`, oldest first."""
    found: list[DeadMessage] = []
    if limit < 1:
        return found
    async with _opened(url, queue) as dead:
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


async def replay(url: str, queue: str, *, choice: Choice | None = None, limit: int | None = None) -> int:
    """Publish the chosen messages to `queue` again, then remove them; return how many.

    Each keeps the time of its first receipt. A message leaves the dead queue only once its copy is confirmed; raises
    `BrokerUnavailable` when some could not be confirmed, which stay. Repeating is harmless, as consumers know what
    they have done.
    """
    replayed, failed = 0, 0
    async with _Publishers(url, queue) as publishers, _opened(url, queue) as dead:
        batch: dict[str, tuple[_Taken, Outgoing]] = {}
        async for taken in dead.messages():
            if limit is not None and replayed + failed + len(batch) >= limit:
                break
            if choice is not None and not choice(taken.message):
                continue
            copy = copied(taken.delivered, dead.way_back(taken)[1], _kept(taken.message))
            # The same id must not be under way twice, so its second message waits for the next batch.
            if copy.message_id in batch or len(batch) >= _REPLAY_BATCH:
                done = await _replay_batch(publishers, dead, batch)
                replayed, failed, batch = replayed + done, failed + len(batch) - done, {}
            batch[copy.message_id] = (taken, copy)
        done = await _replay_batch(publishers, dead, batch)
        replayed, failed = replayed + done, failed + len(batch) - done
    if failed:
        raise BrokerUnavailable(f"{replayed} replayed; {failed} were not confirmed and stay in {_kept_in(queue)}.")
    return replayed


async def purge(url: str, queue: str, *, choice: Choice | None = None) -> int:
    """Remove the chosen messages behind `queue` for good; return how many."""
    purged = 0
    async with _opened(url, queue) as dead:
        async for taken in dead.messages():
            if choice is None or choice(taken.message):
                await dead.remove(taken.delivered.tag)
                purged += 1
    return purged


async def _replay_batch(
    publishers: "_Publishers", dead: "_DeadQueue", batch: Mapping[str, tuple["_Taken", Outgoing]]
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


class _DeadQueue:
    """An open dead queue; what is taken from it and not removed goes back at the end."""

    def __init__(self, channel: aiormq.abc.AbstractChannel, queue: str, count: int) -> None:
        self._channel = channel
        self._queue = queue
        self._name = _kept_in(queue)
        self._has_removed = False
        self.count = count

    def way_back(self, taken: _Taken) -> tuple[str, str]:
        """The exchange and the routing key by which a replay goes: the queue's own, or as it came."""
        if self._queue == QUEUE_UNROUTED:
            return taken.delivered.exchange, taken.delivered.routing_key
        return replay_exchange(self._queue), self._queue

    async def messages(self) -> AsyncIterator[_Taken]:
        """Go once through what was there at the opening; what is dead-lettered meanwhile is left for another time."""
        for _ in range(self.count):
            with translated():
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    message = await self._channel.basic_get(self._name)
            if message.delivery_tag is None:
                return
            properties = message.header.properties
            delivered = Delivered(
                message.delivery_tag,
                message.exchange or "",
                message.routing_key or "",
                message.body,
                properties.headers or {},
                properties.message_id,
                properties.message_type,
                properties.content_type,
            )
            yield _Taken(delivered, DeadMessage.of(delivered, self._queue))

    async def give_back(self) -> None:
        """Put everything not removed back in its order, which closing the channel would not keep."""
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                if self._has_removed:
                    await self._channel.basic_get(self._name)
                await self._channel.basic_nack(_ALL, multiple=True, requeue=True)

    async def remove(self, tag: int) -> None:
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._channel.basic_ack(tag)
        self._has_removed = True


@asynccontextmanager
async def _opened(url: str, queue: str) -> AsyncIterator[_DeadQueue]:
    connection = await connect(url, f"dead messages of {queue}")
    try:
        channel = await connection.channel(confirms=False)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                answer = await channel.queue_declare(_kept_in(queue), passive=True)
        dead = _DeadQueue(channel, queue, answer.message_count or 0)
        yield dead
        await dead.give_back()
    finally:
        await connection.close()


def _kept_in(queue: str) -> str:
    return queue if queue == QUEUE_UNROUTED else dead_queue(queue)


def _kept(message: DeadMessage) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if message.first_received_at is not None:
        kept[HEADER_FIRST_RECEIVED_AT] = format_microseconds(message.first_received_at)
    if message.routing_key:
        kept[HEADER_ROUTING_KEY] = message.routing_key
    return kept


def _first_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The broker's own record of the earliest time that it gave the message up."""
    deaths = headers.get(_DEATHS)
    if not isinstance(deaths, list):
        return {}
    known = [death for death in deaths if isinstance(death, dict) and _time(death) is not None]
    return min(known, key=lambda death: death["time"], default={})


def _time(death: Mapping[str, Any]) -> datetime | None:
    moment = death.get("time")
    return moment if isinstance(moment, datetime) else None


def _routing_key(death: Mapping[str, Any]) -> str:
    keys = death.get("routing-keys")
    return str(keys[0]) if isinstance(keys, list) and keys else ""
