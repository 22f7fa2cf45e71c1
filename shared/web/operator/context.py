"""What the operators' API of a service needs. It knows neither database nor broker: `app` provides both."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from aiohttp import web

from shared.events.history import HistoryFilter, HistoryPage, Place
from shared.events.operating import (
    Act,
    DeadLetter,
    DueWork,
    JobPage,
    LetterChoice,
    LetterPage,
    OperatorEntry,
    OutboxState,
    PurgedLetters,
    QueueDepth,
    ReplayedLetters,
)
from shared.periodic import Periodic
from shared.web.request import Operator, Request


class ReadsHistory(Protocol):
    """The history of a service's own events."""

    async def page(self, wanted: HistoryFilter, after: Place | None, limit: int) -> HistoryPage:
        """Return the next page of matching events."""


class CountsLetters(Protocol):
    """The dead letters that the service stores because their queue is full."""

    async def count(self) -> int:
        """Return their number, counted up to ten thousand."""


class OperatesQueues(Protocol):
    """The queue of a service, and the dead queue behind it."""

    queue: str

    async def depths(self) -> list[QueueDepth]:
        """Count the messages in each, and their consumers."""

    async def page(self, choice: LetterChoice, skip: int, limit: int) -> LetterPage:
        """Return some dead letters without removing them."""

    async def show(self, key: str, act: Act) -> DeadLetter | None:
        """Return one dead letter without removing it."""

    async def replay(self, choice: LetterChoice, limit: int, act: Act, *, is_forced: bool) -> ReplayedLetters:
        """Put dead letters back into the queue."""

    async def purge(self, choice: LetterChoice, limit: int, act: Act) -> PurgedLetters:
        """Remove dead letters for good."""


class ReadsLog(Protocol):
    """The log of what operators did."""

    async def page(self, after: uuid.UUID | None, limit: int) -> list[OperatorEntry]:
        """Return entries, newest first, older than `after`."""


class ListsJobs(Protocol):
    """The jobs of all programs."""

    async def page(self, after: uuid.UUID | None, limit: int, is_finished: bool | None) -> JobPage:
        """Return up to `limit` jobs, newest first, older than `after`."""


# Cancels a job and returns its state; raises the service's own errors.
CancelJob = Callable[[uuid.UUID, Act], Awaitable[str]]


class WatchesOutbox(Protocol):
    """The events that no broker has confirmed yet."""

    async def state(self) -> OutboxState:
        """Return what waits."""

    async def retry(self, act: Act) -> int:
        """Make refused events due at once; return how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """This process: its name, since when it runs, and what it can say of itself beside `/readyz`."""

    name: str
    since: datetime
    tasks: Sequence[Periodic]
    schema: Callable[[], Awaitable[str | None]]
    due: Callable[[], Awaitable[DueWork]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """What the operators' API of a service needs. Without a token, only accounts have access."""

    token: str | None
    history: ReadsHistory
    overflow: CountsLetters
    queues: OperatesQueues
    outbox: WatchesOutbox
    log: ReadsLog
    replica: Replica
    jobs: ListsJobs
    cancel_job: CancelJob | None


OPERATING: Final = web.AppKey("operating", Operating)
COMMON: Final[dict[str, Any]] = {"tag": "operator", "security": "operator", "family": "management"}


def act_of(request: Request, justification: str | None = None) -> Act:
    """Return the caller and the reason given."""
    principal = request.principal
    if not isinstance(principal, Operator):
        raise TypeError("only the operator is let in here")
    return Act(actor=principal.actor, justification=justification)
