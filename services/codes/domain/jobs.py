"""Durable jobs over promotion codes: their kinds, progress and outcome."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from services.codes.domain.documents import Document
from shared.modes import shown_id

JobKind = Literal["batch", "import", "bulk"]
JobState = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]

# How long a finished job is shown and its files can be downloaded.
KEPT_FOR: Final = timedelta(days=30)
# How long an upload may take; after that it counts as abandoned.
UPLOAD_KEPT_FOR: Final = timedelta(hours=1)
# The maximum number of unfinished jobs per program, uploads included: they take turns with those of others.
MAX_OPEN_JOBS: Final = 20
FINISHED: Final = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of work by outcome; also the contribution of one chunk."""

    processed: int = 0
    created: int = 0
    updated: int = 0
    skipped: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A refused line of a file, or a refused one of the given ids; `reason` is a stable code."""

    line: int
    code: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as stored. `spec` is the request, `position` where the work continues, each in the form of its kind."""

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


def creation_changes(job: Job) -> Document:
    """Return the audit log's changes for a new job."""
    coupon = {"coupon_id": {"to": str(job.coupon_id)}} if job.coupon_id else {}
    requested = {"requested": {"to": job.requested}} if job.requested is not None else {}
    return {"kind": {"to": job.kind}, **coupon, **requested, "spec": {"to": _shown(job.spec)}}


def _shown(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with partners named as callers know them."""
    made: dict[str, Any] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            made[name] = _shown(value)
        else:
            made[name] = shown_id(uuid.UUID(str(value))) if name == "partner_id" and value is not None else value
    return made


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a chunk: added counts, the new position, and whether the job ends here, and how."""

    tally: Tally
    position: Document
    is_last: bool = False
    failure: str | None = None
    requested: int | None = None
