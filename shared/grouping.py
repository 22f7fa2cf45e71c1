"""Answers concurrent requests in groups: those that arrive during a transaction share the next one.

There is no timer: an idle service answers a request alone and at once, a busy one pays one commit for all that wait.
Requests with Idempotency-Keys join: the group's one transaction claims the keys, decides what is new, and stores the
answers. No state survives a group, so any number of replicas keep the same promises.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

from prometheus_client import Histogram

from shared.clock import Clock
from shared.database.faults import transient_faults
from shared.database.idempotency import KeptAnswer, KeptAnswers
from shared.database.pool import Connection, Database, is_usable, transaction_of
from shared.faults import TransientFault
from shared.idempotency import Answer, Once
from shared.log import get_logger
from shared.starting_over import StartOver, until_it_stands

A = TypeVar("A")
T = TypeVar("T")
W = TypeVar("W")
A_contra = TypeVar("A_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)

# Each key of a group takes a place in the server's lock table, which has a few thousand in total.
MAX_GROUP: Final = 250


@dataclass(frozen=True, slots=True)
class Results(Generic[T_co, W]):
    """One outcome per request, an exception for one that alone is at fault, and what was written for all."""

    outcomes: Sequence[T_co | Exception]
    written: W


class Work(Protocol[A_contra, T, W]):
    """A service's part in a group."""

    def kind(self, ask: A_contra) -> Hashable:
        """Return what the requests of a group have in common; others form a group of their own."""
        return None

    async def decide_at_once(
        self, connection: Connection, asks: Sequence[A_contra], answers: Sequence[Once[T] | None], now: datetime
    ) -> Results[T, W] | None:
        """Decide and write all in one statement, which commits by itself; None, with nothing written, if it cannot.

        The statement claims the keys and stores the answers of requests with an entry in `answers`, none with a secret
        and no two with the same key. StartOver has the same meaning as None.
        """
        return None

    @abstractmethod
    async def decide(
        self, connection: Connection, asks: Sequence[A_contra], now: datetime, *, is_again: bool
    ) -> Results[T, W]:
        """Decide and write. Raises StartOver, or an error for the whole group: then each request is tried alone."""

    async def withhold(self, connection: Connection, asks: Sequence[A_contra]) -> Sequence[T | None]:
        """Return, for requests with stored answers, what they get instead for now, or None for the stored one."""
        return [None] * len(asks)

    @abstractmethod
    def committed(self, written: W) -> None:
        """Announce what was written and is now committed."""


@dataclass(slots=True)
class _Member(Generic[A, T]):
    ask: A
    # None without a key: then nothing is stored, and the caller writes the answer.
    once: Once[T] | None
    result: asyncio.Future[T | Answer]

    def end(self, result: T | Answer | Exception) -> None:
        if self.result.done():
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)


@dataclass(slots=True)
class Grouping(Generic[A, T, W]):
    """Handles requests in groups; `running()` must be entered before the first call."""

    name: str
    database: Database
    clock: Clock
    work: Work[A, T, W]
    kept: KeptAnswers
    sizes: Histogram
    _waiting: list[_Member[A, T]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _is_stopping: bool = False
    # Cached, because asking for the running loop is a system call.
    _loop: asyncio.AbstractEventLoop = field(init=False)

    async def __call__(self, ask: A, once: Once[T]) -> Answer:
        """Return the answer to a request, or the one stored under its key.

        Raises the exception that the work has for this request, IdempotencyInProgress, IdempotencyKeyReused,
        AnswerUnreadable, or TransientFault if the database is away.
        """
        result = await self._wait(ask, None if once.request is None else once)
        return result if isinstance(result, Answer) else once.render(result)

    async def outcome(self, ask: A) -> T:
        """Return the outcome of a request without a key."""
        result = await self._wait(ask, None)
        if isinstance(result, Answer):
            raise TypeError("only a request with a key is answered here")
        return result

    async def _wait(self, ask: A, once: Once[T] | None) -> T | Answer:
        member = _Member(ask, once, self._loop.create_future())
        self._waiting.append(member)
        if not self._wake.is_set():
            self._wake.set()
        return await member.result

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Handle waiting requests while the block lasts, and finish those in hand at its end."""
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()
        worker = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._is_stopping = True
            self._wake.set()
            await worker

    async def _run(self) -> None:
        while self._waiting or not self._is_stopping:
            await self._wake.wait()
            if self._waiting:
                await self._run_connected()

    async def _run_connected(self) -> None:
        """Use one connection for as long as it lives: borrowing one for each group costs more than a mint."""
        group: list[_Member[A, T]] = []
        try:
            async with self.database.connection() as connection:
                while is_usable(connection):
                    if group := self._next_group():
                        for part in self._parts(group):
                            await self._answer(connection, part)
                    elif self._is_stopping:
                        return
                    else:
                        await self._wake.wait()
        except TransientFault as fault:
            # Without a group in hand, the error means that no connection was available.
            for member in group or self._next_group():
                member.end(fault)

    def _next_group(self) -> list[_Member[A, T]]:
        group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        if not self._waiting and not self._is_stopping:
            self._wake.clear()
        return group

    def _parts(self, group: Sequence[_Member[A, T]]) -> Sequence[Sequence[_Member[A, T]]]:
        parts: dict[Hashable, list[_Member[A, T]]] = {}
        for member in group:
            parts.setdefault(self.work.kind(member.ask), []).append(member)
        return list(parts.values())

    async def _answer(self, connection: Connection, group: Sequence[_Member[A, T]]) -> None:
        self.sizes.observe(len(group))
        try:
            with transient_faults():
                results, written = await self._commit(connection, group)
        except TransientFault:
            raise
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours: each is tried alone
            if len(group) == 1:
                group[0].end(error)
                return
            get_logger().error("group_failed", group=self.name, size=len(group), error=type(error).__name__)
            for member in group:
                await self._answer(connection, [member])
        else:
            for each in written:
                self.work.committed(each)
            for member, result in zip(group, results, strict=True):
                member.end(result)

    async def _commit(
        self, connection: Connection, group: Sequence[_Member[A, T]]
    ) -> tuple[Sequence[T | Answer | Exception], Sequence[W]]:
        results = await self._decide_at_once(connection, group, self.clock())
        if results is not None:
            return results.outcomes, [results.written]

        async def decide(is_again: bool) -> tuple[Sequence[T | Answer | Exception], Sequence[W]]:
            async with transaction_of(connection):
                return await self._decide(connection, group, self.clock(), is_again=is_again)

        return await until_it_stands(decide)

    async def _decide_at_once(
        self, connection: Connection, group: Sequence[_Member[A, T]], now: datetime
    ) -> Results[T, W] | None:
        keys = [member.once.request.identity for member in group if member.once is not None and member.once.request]
        has_secrets = any(member.once is not None and member.once.has_secret for member in group)
        if has_secrets or len(keys) > len(set(keys)):
            return None
        asks, answers = [member.ask for member in group], [member.once for member in group]
        try:
            return await self.work.decide_at_once(connection, asks, answers, now)
        except StartOver:
            return None

    async def _decide(
        self, connection: Connection, group: Sequence[_Member[A, T]], now: datetime, *, is_again: bool
    ) -> tuple[Sequence[T | Answer | Exception], Sequence[W]]:
        """Claim the keys, decide what is new, and store its answers; repeats get their stored answers.

        The written part is missing if nothing was new.
        """
        results = await self._claim(connection, group, now)
        fresh = [place for place in range(len(group)) if place not in results]
        if not fresh:
            return [results[place] for place in range(len(group))], []
        decided = await self.work.decide(connection, [group[place].ask for place in fresh], now, is_again=is_again)
        results.update(zip(fresh, decided.outcomes, strict=True))
        if keep := _write_answers(group, fresh, results):
            await self.kept.keep(connection, keep, now)
        return [results[place] for place in range(len(group))], [decided.written]

    async def _claim(
        self, connection: Connection, group: Sequence[_Member[A, T]], now: datetime
    ) -> dict[int, T | Answer | Exception]:
        """Return the outcomes of requests that are not to be decided now."""
        keyed = {
            place: member.once.request for place, member in enumerate(group) if member.once and member.once.request
        }
        if not keyed:
            return {}
        claims = await self.kept.claim(connection, list(keyed.values()), now)
        results: dict[int, T | Answer | Exception] = {
            place: claim for place, claim in zip(keyed, claims, strict=True) if claim is not None
        }
        answered = [place for place, result in results.items() if isinstance(result, Answer)]
        if answered:
            withheld = await self.work.withhold(connection, [group[place].ask for place in answered])
            results.update((place, each) for place, each in zip(answered, withheld, strict=True) if each is not None)
        return results


def _write_answers(
    group: Sequence[_Member[A, T]], fresh: Sequence[int], results: dict[int, T | Answer | Exception]
) -> list[KeptAnswer]:
    """Write the answers to requests with keys in the transaction of their effects; return the stored ones."""
    keep = []
    for place in fresh:
        once, outcome = group[place].once, results[place]
        if once is None or once.request is None or isinstance(outcome, Answer | Exception):
            continue
        answer = results[place] = once.render(outcome)
        if once.keeps(outcome, answer):
            keep.append(KeptAnswer(once.request, answer, has_secret=once.has_secret))
    return keep
