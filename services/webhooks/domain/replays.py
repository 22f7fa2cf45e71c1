"""Replays as jobs: what is to be sent again, how fast, and how far it has come."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from services.webhooks.domain.errors import InvalidField

Which = Literal["failed", "missing", "all"]
ReplayStatus = Literal["pending", "running", "completed", "canceled"]
DEFAULT_RATE, MOST_RATE = 100, 1000
MAX_LIVE_REPLAYS: Final = 20
_LARGEST_STEP: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayDraft:
    """A replay as asked for; without `until` everything up to now."""

    endpoint_id: uuid.UUID
    which: Which
    since: datetime
    until: datetime | None
    event_types: tuple[str, ...] | None
    is_dry_run: bool
    rate_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A job; `position_at` and `position_id` are behind what it has done, `token` is its worker's."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    endpoint_id: uuid.UUID
    which: Which
    event_types: tuple[str, ...] | None
    since: datetime
    until: datetime
    is_dry_run: bool
    rate_per_second: int
    status: ReplayStatus = "pending"
    matched: int = 0
    enqueued: int = 0
    skipped: int = 0
    position_at: datetime | None = None
    position_id: uuid.UUID | None = None
    token: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def step_size(self) -> int:
        """How many are taken at a time: half a second's worth, so that a cancellation acts soon."""
        return _LARGEST_STEP if self.is_dry_run else max(1, min(_LARGEST_STEP, self.rate_per_second // 2))


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """A job with what came of the deliveries that it was the last to send again.

    `is_whole` is false where there may be more of them than are counted.
    """

    replay: Replay
    succeeded: int
    dead: int
    waiting: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """A page of jobs, the newest first, and where the next one goes on; None at the end."""

    replays: Sequence[ReplayProgress]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a job has done, and where the next one goes on; None when there is none."""

    matched: int
    enqueued: int
    skipped: int
    position: tuple[datetime | None, uuid.UUID] | None


def window(since: datetime, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return from when until when; raises `InvalidField` for what is no time."""
    ends = now if until is None else min(until, now)
    if since >= now:
        raise InvalidField("since", "must lie in the past")
    if since >= ends:
        raise InvalidField("until", "must lie after since")
    return since, ends
