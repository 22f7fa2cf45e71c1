"""Jobs that export or erase a customer, as they are shown."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from shared.erasing import JobKind

JobState = Literal["running", "done", "withdrawn"]
SERVICES: Final = ("redemption", "codes", "webhooks")
# For how long an export can be downloaded; of an erasure that it was made stays known.
LINES_KEPT: Final = timedelta(days=7)
JOBS_KEPT: Final = timedelta(days=730)
MOST_RUNNING: Final = 20
# Who has more names than that is no person.
MOST_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class JobPart:
    """What one service has done of a job, by kind."""

    counts: Mapping[str, int]
    started_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownJob:
    """A job; the customer is known by digests only."""

    id: uuid.UUID
    program_id: uuid.UUID
    kind: JobKind
    state: JobState
    digests: Sequence[str]
    actor: str
    created_at: datetime
    finished_at: datetime | None
    parts: Mapping[str, JobPart]

    def has_file(self, now: datetime) -> bool:
        """Whether its lines can still be had."""
        return self.kind == "export" and self.state == "done" and not self.is_past(now)

    def is_past(self, now: datetime) -> bool:
        """Whether its lines are gone, or about to go: each service removes its own by the time of its own part."""
        parts = [part.done_at for part in self.parts.values() if part.done_at is not None]
        return bool(parts) and min(parts) + LINES_KEPT <= now
