"""The dead queues, for operators: count, list, show, replay and purge.

The operator's broker user may do this with every queue, a service's user with its own. `unrouted` is treated alike: it
holds the events that no queue was bound for, and a replay publishes these again on their original exchange. Reading
changes nothing: messages are returned, and the queues that people read have no delivery limit that could be reached.
 A message is known by its key, which is its message id or, where the sender gave none, a digest of its
body.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from shared.broker.connection import BrokerUnavailable
from shared.broker.letters import DeadMessage
from shared.broker.messages import HEADER_FIRST_RECEIVED_AT, HEADER_ROUTING_KEY, copied
from shared.broker.operator.dead_queue import BATCH, DeadQueue, Taken, kept_in, opened
from shared.broker.publisher import Publisher
from shared.broker.topology import QUEUE_UNROUTED, WORK_QUEUES
from shared.broker.wire import Outcome, Outgoing
from shared.events.operating import PurgedLetters, ReplayedLetters
from shared.times import format_microseconds, format_milliseconds

__all__ = ["QUEUES", "Choice", "DeadMessage", "DeadQueue", "Forgotten", "chosen", "count", "list_dead", "opened"]

QUEUES: Final = (*WORK_QUEUES, QUEUE_UNROUTED)
"""The queues that can be inspected: those with a dead queue behind them, and `unrouted` itself."""


class Forgotten(Exception):
    """Some messages are older than their consumer's memory, and were left in place."""


Choice = Callable[[DeadMessage], bool]


def chosen(keys: Collection[str] | None = None, reason: str | None = None) -> Choice:
    """A selection of messages by key and by reason; without either, all."""
    return lambda message: (keys is None or message.key in keys) and reason in (None, message.reason)


async def count(url: str) -> dict[str, int]:
    """The number of messages in the dead queue behind each queue, and in `unrouted`."""
    return {queue: await count_behind(url, queue) for queue in QUEUES}


async def count_behind(url: str, queue: str) -> int:
    """The number of messages in the dead queue behind a queue, or in `unrouted` itself."""
    async with opened(url, queue) as dead:
        return dead.count


async def list_dead(url: str, queue: str, *, limit: int = 100, choice: Choice | None = None) -> list[DeadMessage]:
    """The first messages behind `queue`, oldest first."""
    if limit < 1:
        return []
    return (await look(url, queue, limit=limit, choice=choice)).messages


@dataclass(frozen=True, slots=True)
class Looked:
    """Some messages, and how many to skip for the next ones; None at the end."""

    messages: list[DeadMessage]
    next_skip: int | None


async def look(
    url: str, queue: str, *, limit: int, skip: int = 0, most: int | None = None, choice: Choice | None = None
) -> Looked:
    """Up to `limit` selected messages behind `queue`, oldest first, after the first `skip` of all.

    Takes no more than `most` messages of the queue in hand; beyond that it ends.
    """
    found: list[DeadMessage] = []
    seen = 0
    async with opened(url, queue) as dead:
        async for taken in _within(dead, most):
            seen += 1
            if seen > skip and (choice is None or choice(taken.message)):
                found.append(taken.message)
            if len(found) >= limit:
                break
        # No progress means the end: others have the rest in hand.
        return Looked(found, seen if skip < seen < _reach(dead, most) else None)


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
    """Replay as `replay_some`; return the number, and raise if some stayed.

    Raises `BrokerUnavailable` if some could not be confirmed, and `Forgotten` if some were first received before
    `known_since`, once the others are replayed.
    """
    done = await replay_some(url, queue, choice=choice, limit=limit, known_since=known_since)
    if done.unconfirmed:
        raise BrokerUnavailable(
            f"{done.replayed} replayed; {done.unconfirmed} were not confirmed and stay in {kept_in(queue)}."
        )
    if done.too_old:
        raise Forgotten(forgotten(done.replayed, done.too_old, done.known_since, queue))
    return done.replayed


def forgotten(replayed: int, too_old: int, known_since: datetime | None, queue: str) -> str:
    """Say in words what a replay has left because its consumer may no longer remember it."""
    since = "that time" if known_since is None else format_milliseconds(known_since)
    return (
        f"{replayed} replayed; {too_old} first came before {since} and stay in {kept_in(queue)}: their "
        "consumer no longer remembers what it handled then, nor what was cancelled."
    )


async def replay_some(
    url: str,
    queue: str,
    *,
    choice: Choice | None = None,
    limit: int | None = None,
    most: int | None = None,
    known_since: datetime | None = None,
) -> ReplayedLetters:
    """Publish up to `limit` selected messages of the first `most` to `queue` again, then remove them.

    Each keeps the time of its first receipt. A message leaves the dead queue only once its copy is confirmed, so a
    process that dies in between leaves it in both, and none is lost. Repeating is safe, because consumers remember what
    they have handled: since `known_since`, if given. Messages first received before then stay.
    """
    replayed, failed, too_old, seen, is_full = 0, 0, 0, 0, False
    async with _Publishers(url, queue) as publishers, opened(url, queue) as dead:
        batch: dict[str, tuple[Taken, Outgoing]] = {}
        async for taken in _within(dead, most):
            if is_full := limit is not None and replayed + failed + len(batch) >= limit:
                break
            seen += 1
            if choice is not None and not choice(taken.message):
                continue
            if known_since is not None and _came_before(taken.message, known_since):
                too_old += 1
                continue
            copy = copied(taken.delivered, dead.way_back(taken)[1], _kept(taken.message))
            # No id may be in flight twice, so its second message waits for the next batch.
            if copy.message_id in batch or len(batch) >= BATCH:
                done = await _replay_batch(publishers, dead, batch)
                replayed, failed, batch = replayed + done, failed + len(batch) - done, {}
            batch[copy.message_id] = (taken, copy)
        done = await _replay_batch(publishers, dead, batch)
        replayed, failed = replayed + done, failed + len(batch) - done
        is_whole = not is_full and seen >= dead.count
        return ReplayedLetters(
            replayed=replayed, unconfirmed=failed, too_old=too_old, known_since=known_since, is_whole=is_whole
        )


async def purge(url: str, queue: str, *, choice: Choice | None = None) -> int:
    """Remove the selected messages behind `queue` for good; return their number."""
    return (await purge_some(url, queue, choice=choice)).purged


async def purge_some(
    url: str, queue: str, *, choice: Choice | None = None, limit: int | None = None, most: int | None = None
) -> PurgedLetters:
    """Remove up to `limit` selected messages of the first `most` behind `queue` for good."""
    purged, seen, is_full = 0, 0, False
    async with opened(url, queue) as dead:
        async for taken in _within(dead, most):
            if is_full := limit is not None and purged >= limit:
                break
            seen += 1
            if choice is None or choice(taken.message):
                await dead.remove(taken.delivered.tag)
                purged += 1
        return PurgedLetters(purged=purged, is_whole=not is_full and seen >= dead.count)


def _reach(dead: DeadQueue, most: int | None) -> int:
    return dead.count if most is None else min(dead.count, most)


async def _within(dead: DeadQueue, most: int | None) -> AsyncIterator[Taken]:
    """Yield the messages of the queue, and no more than `most`."""
    reach = _reach(dead, most)
    if not reach:
        return
    seen = 0
    async for taken in dead.messages():
        yield taken
        seen += 1
        if seen >= reach:
            return


async def _replay_batch(publishers: "_Publishers", dead: DeadQueue, batch: Mapping[str, tuple[Taken, Outgoing]]) -> int:
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
    """A publisher for each exchange that messages return to, opened when first needed."""

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


def _came_before(message: DeadMessage, moment: datetime) -> bool:
    first = message.first_received_at or message.died_at
    return first is not None and first < moment


def _kept(message: DeadMessage) -> dict[str, str]:
    kept: dict[str, str] = {}
    if message.first_received_at is not None:
        kept[HEADER_FIRST_RECEIVED_AT] = format_microseconds(message.first_received_at)
    if message.routing_key:
        kept[HEADER_ROUTING_KEY] = message.routing_key
    return kept
