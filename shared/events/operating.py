"""What operators see of a service and do to it, as its database and the broker's side hand it to the operators' API."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEntry:
    """Something that an operator did, or began to do: to what, and with which numbers."""

    id: uuid.UUID
    actor: str
    action: str
    target: str
    justification: str | None
    details: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who asks, and why, where a reason was given."""

    actor: str
    justification: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """What a queue holds that no consumer has in hand; None where it is missing or must not be looked at."""

    name: str
    messages: int | None
    consumers: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterChoice:
    """Which dead letters are meant; without keys and reason, all."""

    keys: frozenset[str] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter as people see it; in a list it may be without headers and body."""

    key: str
    reason: str
    detail: str
    routing_key: str
    first_received_at: datetime | None
    died_at: datetime | None
    size: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """Some dead letters, oldest first, and how many of the queue to skip for the next ones; None at the end."""

    letters: list[DeadLetter]
    next_skip: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedLetters:
    """What a replay came to; not `is_whole` if there may be more. `too_old` is what first came before `known_since`."""

    replayed: int
    unconfirmed: int
    too_old: int
    known_since: datetime | None
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgedLetters:
    """What a purge came to; not `is_whole` if there may be more."""

    purged: int
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """The events that no broker has confirmed yet, counted up to a bound, and since when the oldest counted waits."""

    waiting: int
    refused: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWork:
    """Work that is due and that no process has in hand, and how long the oldest has waited."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatedJob:
    """A job of any program, without what it is about. None is what this kind of job does not have."""

    id: uuid.UUID
    program_id: uuid.UUID
    kind: str
    state: str
    actor: str | None
    requested: int | None
    processed: int | None
    failure: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """Jobs, newest first, and the id to continue after; None at the end."""

    jobs: list[OperatedJob]
    next_after: uuid.UUID | None
