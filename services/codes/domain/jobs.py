"""Durable jobs over promotion codes: what they are, how far they are, and how they end."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from services.codes.domain.documents import Document
from shared.modes import shown_id

JobKind = Literal["batch", "import", "bulk"]
JobState = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]

# How long a finished job can be looked at and its files be downloaded.
KEPT_FOR: Final = timedelta(days=30)
# How long an upload may take; one that stands still longer was given up.
UPLOAD_KEPT_FOR: Final = timedelta(hours=1)
# How many jobs of one program may be under way, uploads included: they take turns with everybody else's.
MAX_OPEN_JOBS: Final = 20
FINISHED: Final = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Tally:
    """How many pieces of work came out how; also what one chunk adds to a job."""

    processed: int = 0
    created: int = 0
    updated: int = 0
    skipped: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of a file, or one of the ids asked for, that was refused; `reason` is a stable code."""

    line: int
    code: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as stored. `spec` is what was asked for, `position` where the work goes on, each kind in its own words."""

    id: uuid.UUID
    program_id: uuid.UUID
    kind: JobKind
    state: JobState
    coupon_id: uuid.UUID | None
    spec: Document
    actor: str
    key_id: uuid.UUID | None
    created_at: datetime
    requested: int | None = None
    position: Document = field(default_factory=dict)
    tally: Tally = Tally()
    failure: str | None = None
    fence: int = 0
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def kept_until(self) -> datetime | None:
        """When the job and its files are removed; None until it is finished."""
        return None if self.finished_at is None else self.finished_at + KEPT_FOR


def told(job: Job) -> Document:
    """Return what the audit log says of a job that was just made."""
    coupon = {"coupon_id": {"to": str(job.coupon_id)}} if job.coupon_id else {}
    requested = {"requested": {"to": job.requested}} if job.requested is not None else {}
    return {"kind": {"to": job.kind}, **coupon, **requested, "spec": {"to": _shown(job.spec)}}


def _shown(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked for with partners named as callers name them."""
    made: dict[str, Any] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            made[name] = _shown(value)
        else:
            made[name] = shown_id(uuid.UUID(str(value))) if name == "partner_id" and value is not None else value
    return made


@dataclass(frozen=True, slots=True)
class Step:
    """What one chunk did: added counts, the new position, and whether the job ends here, well or with a failure."""

    tally: Tally
    position: Document
    is_last: bool = False
    failure: str | None = None
    requested: int | None = None
