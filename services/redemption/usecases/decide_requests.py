"""Decides what checkouts ask over HTTP. Requests that arrive while a transaction is under way share the next one.

There is no timer: an idle service decides a request alone and at once, a busy one pays one commit for all that wait.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.redemption.domain.customers import Digests
from services.redemption.store.terms import TermsChanged
from services.redemption.usecases.decide_batch import TRIES, Ask, Decided, Outcome, decide_batch, report
from shared import metrics
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.idempotency import Answer, Once
from shared.log import get_logger

MAX_GROUP = 500
_CHANGING_TOO_FAST = "The limits of the coupons change faster than they can be locked."


@dataclass(slots=True)
class _Waiting:
    ask: Ask
    outcome: asyncio.Future[Outcome]


@dataclass(slots=True)
class DecideRequests:
    """Decides in groups; `running()` must be entered before the first call."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]
    answer_once: AnswerOnce
    digests: Digests
    _waiting: list[_Waiting] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _is_stopping: bool = False

    async def __call__(self, ask: Ask, once: Once[Outcome]) -> Answer:
        """Decide one request, or give the kept answer; raises TransientFault if the database is away."""
        if once.request is None:
            return once.render(await self.decide(ask))
        for tried in range(TRIES):
            decisions: list[Decided] = []

            async def work(
                connection: Connection, _: object, made: list[Decided] = decisions, is_again: bool = tried > 0
            ) -> Outcome:
                made.append(await decide_batch(connection, [ask], self.clock(), self.digests, is_again=is_again))
                return made[0].outcomes[0]

            try:
                answer = await self.answer_once(once, work)
            except TermsChanged:
                continue
            self._announce(decisions)
            return answer
        raise TransientFault(_CHANGING_TOO_FAST)

    async def decide(self, ask: Ask) -> Outcome:
        """Decide one request together with those that wait beside it."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(ask, outcome))
        self._wake.set()
        return await outcome

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work through what waits for as long as the block lasts, and finish what is in hand at its end."""
        self._is_stopping = False
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._is_stopping = True
            self._wake.set()
            await worker

    async def _work(self) -> None:
        while self._waiting or not self._is_stopping:
            await self._wake.wait()
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            if not self._waiting and not self._is_stopping:
                self._wake.clear()
            if group:
                await self._decide(group)

    async def _decide(self, group: Sequence[_Waiting]) -> None:
        metrics.CHECKOUT_GROUP.observe(len(group))
        try:
            decided = await self._commit([waiting.ask for waiting in group])
        except TransientFault as fault:
            for waiting in group:
                _fail(waiting, fault)
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours: each is tried alone
            if len(group) == 1:
                _fail(group[0], error)
                return
            get_logger().error("checkout_group_failed", size=len(group), error=type(error).__name__)
            for waiting in group:
                await self._decide([waiting])
        else:
            self._announce([decided])
            for waiting, outcome in zip(group, decided.outcomes, strict=True):
                if not waiting.outcome.done():
                    waiting.outcome.set_result(outcome)

    async def _commit(self, asks: Sequence[Ask]) -> Decided:
        for tried in range(TRIES):
            try:
                async with self.database.transaction() as connection:
                    return await decide_batch(connection, asks, self.clock(), self.digests, is_again=tried > 0)
            except TermsChanged:
                continue
        raise TransientFault(_CHANGING_TOO_FAST)

    def _announce(self, decisions: Sequence[Decided]) -> None:
        for decided in decisions:
            self.hand_over(decided.written.events)
            report(decided.written)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.outcome.done():
        waiting.outcome.set_exception(error)
