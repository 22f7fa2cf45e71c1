"""Jobs that export or erase a customer, in displayed form."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from shared.erasing import JobKind

JobState = Literal["running", "done", "withdrawn"]
SERVICES: Final = ("redemption", "codes", "webhooks")
# How long an export can be downloaded; the record of an erasure stays.
LINES_KEPT: Final = timedelta(days=7)
JOBS_KEPT: Final = timedelta(days=730)
MOST_RUNNING: Final = 20
# Anyone with more names than that is not a person.
MOST_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class JobPart:
    """One service's progress in a job, by kind."""

    counts: Mapping[str, int]
    started_at: datetime
    done_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownJob:
    """A job; it shows only digests of the customer."""

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
        """Whether its lines are still available."""
        return self.kind == "export" and self.state == "done" and not self.is_past(now)

    def is_past(self, now: datetime) -> bool:
        """Whether its lines are gone or about to go: each service removes its own by the age of its part."""
        parts = [part.done_at for part in self.parts.values() if part.done_at is not None]
        return bool(parts) and min(parts) + LINES_KEPT <= now
