"""Periodic tasks: what a service does repeatedly beside its requests and messages, until the process stops.

A task survives every error. A failure is logged once per kind, counted, and followed by a longer pause; other
tasks continue, and `/readyz` shows it by name. A task that works on many elements does not stop at the first bad one,
nor is it slowed down by it: see `for_each`, `together_or_each` and `Failing`.

Exception
└── ElementsFailed    the round is complete except for these elements
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar

from shared.clock import Clock, utc_now
from shared.faults import TransientFault
from shared.log import get_logger
from shared.metrics import MAINTENANCE_FAILURES
from shared.times import format_milliseconds

T = TypeVar("T")

# A server that was away may be back at once; a fault in the work itself rarely fixes itself.
MOST_OUTAGE_SECONDS: Final = 2.0
MOST_PAUSE_SECONDS: Final = 30.0
_SHORTEST_PAUSE_SECONDS: Final = 0.1
_MOST_DOUBLINGS: Final = 10


class ElementsFailed(Exception):
    """Some elements of a round failed, by `errors`; the others were done."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__(f"{len(errors)} elements failed")
        self.errors = errors


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """How a task does: when it last ran and how that ended, when it runs again, and since when it fails.

    `next_at` is None while it runs and before its first run; something it waits for may call it earlier.
    """

    name: str
    interval_seconds: float
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_result: Literal["worked", "failed"] | None
    next_at: datetime | None
    failing_since: datetime | None
    failures: int
    kinds: list[str]


class Periodic:
    """One task: calls `act`, waits `interval_seconds`, and so on; `wake` ends that wait.

    An `act` that returns True is called again without a wait: there is more to do. After a failure the task waits at
    least as long as usual, longer each time, and `wake` does not shorten it; while a server is away, no more than two
    seconds, so that it recovers soon. After `ElementsFailed` it waits as usual.
    """

    def __init__(
        self,
        name: str,
        interval_seconds: float,
        act: Callable[[], Awaitable[object]],
        *,
        wake: asyncio.Event | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.name = name
        self._interval_seconds = interval_seconds
        self.act = act
        self._wake = wake or asyncio.Event()
        self._clock = clock
        self._failures = 0
        self._failing_since: datetime | None = None
        self._kinds: set[str] = set()
        self._started_at: datetime | None = None
        self._ended_at: datetime | None = None
        self._next_at: datetime | None = None
        # The series exists before the first failure, so that a rate over it includes that one.
        self._count = MAINTENANCE_FAILURES.labels(name)

    @property
    def is_ok(self) -> bool:
        """Whether the last call ended without an exception."""
        return self._failing_since is None

    @property
    def state(self) -> str:
        """`ok`, or since when the task has been failing and with which kinds of exception; never their text."""
        if self._failing_since is None:
            return "ok"
        return f"failing since {format_milliseconds(self._failing_since)}: {', '.join(sorted(self._kinds))}"

    def report(self) -> TaskReport:
        """Return how the task does; kinds of exception, never their text."""
        result: Literal["worked", "failed"] = "worked" if self._failing_since is None else "failed"
        return TaskReport(
            name=self.name,
            interval_seconds=self._interval_seconds,
            last_started_at=self._started_at,
            last_ended_at=self._ended_at,
            last_result=None if self._ended_at is None else result,
            next_at=self._next_at,
            failing_since=self._failing_since,
            failures=self._failures,
            kinds=sorted(self._kinds),
        )

    async def run(self) -> None:
        """Call the task again and again until cancelled."""
        while True:
            # Cleared before acting: anything that arrives meanwhile triggers another call.
            self._wake.clear()
            self._started_at, self._next_at = self._clock(), None
            backoff = await self._call()
            self._ended_at = self._clock()
            pause = self._interval_seconds if backoff is None else backoff
            self._next_at = self._ended_at + timedelta(seconds=pause)
            if backoff is not None:
                await asyncio.sleep(backoff)
            else:
                await self._rest()

    async def _call(self) -> float | None:
        """Act until there is nothing more to do; after a failure, return the seconds to wait."""
        try:
            while await self.act() is True:
                self._worked()
        except ElementsFailed as failed:
            self._failed(failed)
            return None
        except asyncio.CancelledError as error:
            # The broker's client fails futures with it; only a cancellation of this task ends it.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - the next call may work and the other tasks must continue
            return self._failed(error)
        self._worked()
        return None

    async def _rest(self) -> None:
        await wait_at_most(self._wake, self._interval_seconds)

    def _failed(self, error: BaseException) -> float:
        causes = list(_leaves(error))
        is_outage = all(isinstance(cause, TransientFault) and cause.is_outage for cause in causes)
        self._count.inc()
        self._failures += 1
        self._failing_since = self._failing_since or self._clock()
        new = {type(cause).__name__: cause for cause in causes if type(cause).__name__ not in self._kinds}
        self._kinds |= new.keys()
        log = get_logger()
        for kind, cause in new.items():
            facts = {"task": self.name, "kind": kind, "reason": str(cause)}
            if isinstance(cause, TransientFault):
                log.warning("maintenance_failed", **facts)
            else:
                log.error("maintenance_failed", **facts, exc_info=cause)
        if is_outage:
            return self._backoff(min(self._interval_seconds, MOST_OUTAGE_SECONDS), MOST_OUTAGE_SECONDS)
        return self._backoff(self._interval_seconds, max(self._interval_seconds, MOST_PAUSE_SECONDS))

    def _backoff(self, first: float, longest: float) -> float:
        first = max(first, _SHORTEST_PAUSE_SECONDS)
        pause = min(longest, first * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS))
        # Replicas that failed together should not retry together.
        return pause * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load, guards nothing

    def _worked(self) -> None:
        if self._failing_since is None:
            return
        seconds = (self._clock() - self._failing_since).total_seconds()
        get_logger().info("maintenance_recovered", task=self.name, failures=self._failures, seconds=round(seconds, 3))
        self._failures = 0
        self._failing_since = None
        self._kinds = set()


class Failing:
    """Remembers the failing elements of a task, so that the task shows them for as long as they fail.

    An element that has not failed again for a while was fixed or removed elsewhere.
    """

    def __init__(self, remembered_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._remembered_seconds = remembered_seconds
        self._monotonic = monotonic
        self._found: dict[Hashable, tuple[Exception, float]] = {}

    def note(self, element: Hashable, error: Exception) -> None:
        """Record the error of an element."""
        self._found[element] = (error, self._monotonic())

    def forget(self, element: Hashable) -> None:
        """Record that an element works."""
        self._found.pop(element, None)

    def raise_if_any(self) -> None:
        """Raise `ElementsFailed` while any element fails."""
        oldest = self._monotonic() - self._remembered_seconds
        self._found = {element: found for element, found in self._found.items() if found[1] > oldest}
        if self._found:
            raise ElementsFailed([error for error, _ in self._found.values()])


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not longer than this."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def for_each(elements: Iterable[T], act: Callable[[T], Awaitable[object]]) -> None:
    """Act on every element even if others fail; at the end raise their errors as `ElementsFailed`.

    A TransientFault ends it at once: the server is away, for this element and the next.
    """
    errors: list[Exception] = []
    for element in elements:
        try:
            await act(element)
        except TransientFault:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised at the end, after the others
            errors.append(error)
    if errors:
        raise ElementsFailed(errors)


async def together_or_each(
    elements: Sequence[T], act: Callable[[Sequence[T]], Awaitable[object]]
) -> list[tuple[T, Exception]]:
    """Act on all elements at once, or on each alone if that fails; return those that fail alone, with their errors."""
    try:
        await act(elements)
    except TransientFault:
        raise
    except Exception as error:  # noqa: BLE001 - it is returned with its element
        if len(elements) == 1:
            return [(elements[0], error)]
        return [failed for element in elements for failed in await together_or_each([element], act)]
    return []


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, ElementsFailed):
        parts: Sequence[BaseException] = error.errors
    elif isinstance(error, BaseExceptionGroup):
        parts = error.exceptions
    else:
        yield error
        return
    for part in parts:
        yield from _leaves(part)
