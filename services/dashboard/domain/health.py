"""The verdict of the operator's health page: the worst of what is known, and never well where something is unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from services.dashboard.domain.numbers import number, plural
from services.dashboard.domain.words import Tone

OUTBOX_LIMIT: Final = timedelta(seconds=2)
DUE_LIMIT_SECONDS: Final = 60.0
LAG_LIMIT_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """The present state of one service's replica that answered."""

    name: str
    version: str
    since: datetime
    is_ready: bool
    missing: Sequence[str]
    loop_lag_seconds: float
    outbox_waiting: int
    outbox_oldest_at: datetime | None
    due_oldest_seconds: float
    failing_tasks: Sequence[str]

    def state(self, now: datetime) -> Literal["ready", "not_ready", "behind"]:
        """Return its state in one word."""
        if not self.is_ready:
            return "not_ready"
        return "behind" if self.troubles(now) else "ready"

    def troubles(self, now: datetime) -> list[str]:
        """Return what is wrong, a sentence each."""
        found = []
        if not self.is_ready:
            found.append(f"{self.name} is not ready: {', '.join(self.missing)}.")
        if self.outbox_oldest_at is not None and now - self.outbox_oldest_at > OUTBOX_LIMIT:
            age = int((now - self.outbox_oldest_at).total_seconds())
            found.append(
                f"{plural(self.outbox_waiting, 'event')} of {self.name} not published, the oldest for {age} s."
            )
        if self.due_oldest_seconds > DUE_LIMIT_SECONDS:
            found.append(f"The oldest due delivery has waited for {int(self.due_oldest_seconds)} s.")
        if self.loop_lag_seconds > LAG_LIMIT_SECONDS:
            found.append(f"The loop of {self.name} is {self.loop_lag_seconds:.1f} s late.")
        if self.failing_tasks:
            found.append(f"Periodic tasks of {self.name} fail: {', '.join(self.failing_tasks)}.")
        return found


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """One queue of the broker; None where the broker did not answer."""

    name: str
    messages: int | None
    consumers: int | None

    @property
    def is_dead_queue(self) -> bool:
        """Whether it holds dead letters."""
        return self.name.endswith(".dead")

    @property
    def troubles(self) -> list[str]:
        """Return what is wrong, a sentence each."""
        if self.messages is None:
            return [f"The broker does not answer for {self.name}."]
        if self.is_dead_queue or self.name == "unrouted":
            return [f"{number(self.messages)} in {self.name}."] if self.messages else []
        return [f"Nobody consumes {self.name}."] if not self.consumers else []


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first line of the page."""

    tone: Tone
    icon: str
    text: str


def verdict(troubles: Sequence[str], unknown: Sequence[str]) -> Verdict:
    """Return the verdict: trouble first, then what is not known, and only then that all is well."""
    if troubles:
        words = "One thing needs you" if len(troubles) == 1 else f"{len(troubles)} things need you"
        return Verdict("warn", "warn", words)
    if unknown:
        return Verdict("off", "unknown", f"Not known: {', '.join(unknown)}")
    return Verdict("ok", "okc", "All is well")
