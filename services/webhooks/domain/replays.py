"""Replays as jobs: what to send again, how fast, and the progress."""

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
    """A requested replay; without `until` it covers everything up to now."""

    endpoint_id: uuid.UUID
    which: Which
    since: datetime
    until: datetime | None
    event_types: tuple[str, ...] | None
    is_dry_run: bool
    rate_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay job; `position_at` and `position_id` mark what is done, `token` belongs to the worker."""

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
        """How many deliveries one step takes: half a second's worth, so that a cancellation takes effect soon."""
        return _LARGEST_STEP if self.is_dry_run else max(1, min(_LARGEST_STEP, self.rate_per_second // 2))


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """A replay with the results of the deliveries that no later replay has sent again.

    `is_whole` is false if there may be more of them than are counted.
    """

    replay: Replay
    succeeded: int
    dead: int
    waiting: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """A page of replays, the newest first, and the position of the next page; None at the end."""

    replays: Sequence[ReplayProgress]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a replay has done, and the position of the next one; None at the end."""

    matched: int
    enqueued: int
    skipped: int
    position: tuple[datetime | None, uuid.UUID] | None


def window(since: datetime, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the time range of a replay; raises `InvalidField` for an invalid one."""
    ends = now if until is None else min(until, now)
    if since >= now:
        raise InvalidField("since", "must be in the past")
    if since >= ends:
        raise InvalidField("until", "must be after since")
    return since, ends
