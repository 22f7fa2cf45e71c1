"""A service's own queues, for its operators' API: their depth, and its dead letters, with the service's rights.

The work of a request is bounded: it takes only the first messages of a dead queue in hand, and the requests of a
process run one at a time. Each action is logged before it starts, and its result afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, Protocol

from shared.broker.connection import BrokerRefused
from shared.broker.letters import letter_of
from shared.broker.operator import dead
from shared.broker.operator.depths import Depth, depths
from shared.broker.topology import dead_queue
from shared.clock import Clock
from shared.events.operating import (
    Act,
    DeadLetter,
    LetterChoice,
    LetterPage,
    PurgedLetters,
    QueueDepth,
    ReplayedLetters,
)
from shared.faults import TransientFault

MOST_LOOKED_AT: Final = 10_000
"""How many messages of a dead queue a request reads; those behind move up as the first ones go."""

# Longer than the request before takes: looking at ten thousand messages takes some 16 s.
_WAIT_SECONDS: Final = 30.0


class RecordsActs(Protocol):
    """The log of operators' actions."""

    async def record(self, act: Act, action: str, target: str, details: Mapping[str, Any]) -> None:
        """Write one entry."""


class QueueUnavailable(TransientFault):
    """The queue is missing or refused, or others are reading it."""


class OwnQueues:
    """The queue that a service consumes, and the dead queue behind it.

    Letters first received more than `inbox_kept` ago are replayed only with `force`: the service has forgotten
    what it did then.
    """

    def __init__(self, url: str, queue: str, log: RecordsActs, inbox_kept: timedelta, clock: Clock) -> None:
        self.queue = queue
        self._url = url
        self._log = log
        self._inbox_kept = inbox_kept
        self._clock = clock
        self._in_use = asyncio.Lock()

    async def depths(self) -> list[QueueDepth]:
        """Count the messages in the queue and its dead queue, and their consumers."""
        names = (self.queue, dead_queue(self.queue))
        async with self._alone():
            found = await depths(self._url, names)
            if (dead_depth := found[names[1]]) is not None:
                # Messages that another reader has in hand are about to return, and count.
                found[names[1]] = Depth(await dead.count_behind(self._url, self.queue), dead_depth.consumers)
        return [
            QueueDepth(name=name, messages=None, consumers=None)
            if depth is None
            else QueueDepth(name=name, messages=depth.messages, consumers=depth.consumers)
            for name, depth in found.items()
        ]

    async def page(self, choice: LetterChoice, skip: int, limit: int) -> LetterPage:
        """Return up to `limit` dead letters after the first `skip`, oldest first, without removing them."""
        async with self._alone():
            found = await dead.look(
                self._url, self.queue, limit=limit, skip=skip, most=MOST_LOOKED_AT, choice=_chosen(choice)
            )
        return LetterPage(letters=[letter_of(each) for each in found.messages], next_skip=found.next_skip)

    async def show(self, key: str, act: Act) -> DeadLetter | None:
        """Return one dead letter without removing it."""
        await self._log.record(act, "letter.shown", self.queue, {"key": key})
        async with self._alone():
            found = await dead.look(self._url, self.queue, limit=1, most=MOST_LOOKED_AT, choice=dead.chosen([key]))
        return letter_of(found.messages[0]) if found.messages else None

    async def replay(self, choice: LetterChoice, limit: int, act: Act, *, is_forced: bool) -> ReplayedLetters:
        """Put up to `limit` dead letters back into the queue."""
        await self._log.record(act, "letters.replay_started", self.queue, {**_shown(choice, limit), "force": is_forced})
        known_since = None if is_forced else self._clock() - self._inbox_kept
        async with self._alone():
            done = await dead.replay_some(
                self._url,
                self.queue,
                choice=_chosen(choice),
                limit=limit,
                most=MOST_LOOKED_AT,
                known_since=known_since,
            )
        counts = {name: value for name, value in asdict(done).items() if name != "known_since"}
        await self._log.record(act, "letters.replayed", self.queue, counts)
        return done

    async def purge(self, choice: LetterChoice, limit: int, act: Act) -> PurgedLetters:
        """Remove up to `limit` dead letters for good."""
        await self._log.record(act, "letters.purge_started", self.queue, _shown(choice, limit))
        async with self._alone():
            done = await dead.purge_some(
                self._url, self.queue, choice=_chosen(choice), limit=limit, most=MOST_LOOKED_AT
            )
        await self._log.record(act, "letters.purged", self.queue, asdict(done))
        return done

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep requests from taking each other's messages in hand, which would change the order and the results."""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._in_use.acquire()
        except TimeoutError:
            raise QueueUnavailable(f"Others are reading the dead letters of {self.queue}.") from None
        try:
            yield
        except BrokerRefused as refused:
            raise QueueUnavailable(f"The broker refuses: {refused}") from refused
        finally:
            self._in_use.release()


def _chosen(choice: LetterChoice) -> dead.Choice:
    return dead.chosen(choice.keys, choice.reason)


def _shown(choice: LetterChoice, limit: int) -> dict[str, Any]:
    keys = None if choice.keys is None else sorted(choice.keys)
    return {"keys": keys, "reason": choice.reason, "limit": limit}
