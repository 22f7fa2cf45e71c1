"""Deliveries, attempts and dead letters as they are shown, and the filters that select them."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.deliveries import Answer, ErrorCode, ShownStatus, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAttempt:
    """An attempt as it is shown."""

    delivery_id: uuid.UUID
    message_id: uuid.UUID
    number: int
    trigger: Trigger
    answer: Answer
    next_attempt_at: datetime | None = None
    redacted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery as it is shown; `next_attempt_at` is None if no further attempt is scheduled."""

    id: uuid.UUID
    endpoint_id: uuid.UUID
    message_id: uuid.UUID
    event_type: str
    status: ShownStatus
    attempts_made: int
    last_status: int | None
    last_error_code: ErrorCode | None
    next_attempt_at: datetime | None
    created_at: datetime
    completed_at: datetime | None
    sequence: int | None = None
    replay_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of deliveries, the newest first, and the position of the next page; None at the end."""

    deliveries: list[Delivery]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """A page of attempts and the position of the next page, a delivery and a number; None at the end."""

    attempts: list[RecordedAttempt]
    next_after: tuple[uuid.UUID, int] | None


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with its body, while that is kept, and all its attempts, the oldest first."""

    delivery: Delivery
    body: bytes | None
    attempts: tuple[RecordedAttempt, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up, and why."""

    delivery: Delivery
    reason: str
    died_at: datetime

    @property
    def id(self) -> uuid.UUID:
        """The id of the delivery, which is the position for paging."""
        return self.delivery.id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to return; None means all."""

    endpoint_id: uuid.UUID | None = None
    statuses: frozenset[ShownStatus] | None = None
    event_type: str | None = None
    message_ids: frozenset[uuid.UUID] | None = None
    since: datetime | None = None
    until: datetime | None = None
    code_key: uuid.UUID | None = None

    @property
    def status(self) -> ShownStatus | None:
        """The only status; None for several, and for any."""
        return next(iter(self.statuses)) if self.statuses is not None and len(self.statuses) == 1 else None


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """A page of dead letters, the newest deliveries first, and the position of the next page; None at the end."""

    letters: list[DeadLetter]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters to return; None means all."""

    endpoint_id: uuid.UUID | None = None
    event_type: str | None = None
    since: datetime | None = None
    reason: str | None = None
