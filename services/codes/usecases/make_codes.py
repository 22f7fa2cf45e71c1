"""Makes codes of a batch, at once or chunk by chunk; shared by those who create a batch and those who run its job."""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.codes.domain.batches import BatchTerms
from services.codes.domain.code_patterns import CodePattern, SpelledCodes
from services.codes.domain.coupons import CouponRef
from services.codes.domain.documents import Document
from services.codes.domain.jobs import Job, Step, Tally
from services.codes.store import batches, coupons
from shared.database.pool import Connection
from shared.events.codes import CodesBatchCompletedV1
from shared.events.envelope import OutboxEvent

# The knee of the curve: fewer rows pay for statements, more gain nothing.
ROWS_PER_STATEMENT: Final = 1_000
STATEMENTS_PER_CHUNK: Final = 10
# A job whose chunks find nearly nothing new, so many times in a row, has no room left.
_MAX_STALLED: Final = 20
_STALLED_SHARE: Final = 10


async def make_codes(
    connection: Connection,
    job: Job,
    pattern: CodePattern,
    terms: BatchTerms,
    count: int,
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> int:
    """Make at most `count` codes in one statement and return how many were new."""
    spelled = pattern.spell(os.urandom(pattern.bytes_for(count)))
    wanted = SpelledCodes(spelled.codes[:count], spelled.canonicals[:count])
    return await batches.insert_codes(connection, job, terms, wanted, new_id, now)


@dataclass(frozen=True, slots=True)
class BatchChunk:
    """One chunk of a batch's job. What is missing is made in the next chunk, so the end has exactly the count."""

    new_id: Callable[[], uuid.UUID]

    async def __call__(self, connection: Connection, job: Job, now: datetime) -> Step:
        """Make the next codes in the caller's transaction."""
        if not await is_coupon_live(connection, job):
            return Step(Tally(), job.position, failure="coupon_archived")
        pattern, terms = pattern_of(job.spec), terms_of(job.spec)
        left = (job.requested or 0) - job.tally.created
        wanted = min(left, ROWS_PER_STATEMENT * STATEMENTS_PER_CHUNK)
        made = 0
        for asked in range(0, wanted, ROWS_PER_STATEMENT):
            count = min(ROWS_PER_STATEMENT, wanted - asked)
            made += await make_codes(connection, job, pattern, terms, count, self.new_id, now)
        stalled = job.position.get("stalled", 0) + 1 if made * _STALLED_SHARE < wanted else 0
        return Step(
            Tally(processed=made, created=made),
            {"stalled": stalled},
            is_last=made == left,
            failure="code_space_exhausted" if stalled >= _MAX_STALLED else None,
        )

    def events(self, job: Job, now: datetime) -> list[OutboxEvent]:
        """Return what is said when the job is done."""
        return [batch_completed(job, terms_of(job.spec), job.requested or 0, self.new_id(), now)]


async def is_coupon_live(connection: Connection, job: Job) -> bool:
    """Say whether codes may still be made of a job's coupon, and keep others from archiving it meanwhile."""
    return await coupons.share_coupon(connection, job.program_id, CouponRef(str(job.coupon_id))) is not None


def batch_completed(job: Job, terms: BatchTerms, count: int, event_id: uuid.UUID, now: datetime) -> OutboxEvent:
    """Return the event that says that a batch is complete."""
    if job.coupon_id is None:
        raise ValueError("a batch has a coupon")
    data = CodesBatchCompletedV1(
        program_id=job.program_id,
        partner_id=terms.partner_id,
        coupon_id=job.coupon_id,
        job_id=job.id,
        count=count,
        expires_at=terms.expires_at,
    )
    return data.to_event(event_id, now)


def pattern_of(spec: Document) -> CodePattern:
    """Return the pattern of a batch as it was kept."""
    return CodePattern(spec["pattern"], spec["alphabet"], spec["has_check_symbol"])


def terms_of(spec: Document) -> BatchTerms:
    """Return the terms of a batch as they were kept."""
    kept = dict(spec["terms"])
    for name in ("starts_at", "expires_at"):
        kept[name] = datetime.fromisoformat(kept[name]) if kept[name] is not None else None
    kept["partner_id"] = uuid.UUID(kept["partner_id"]) if kept["partner_id"] is not None else None
    return BatchTerms(**kept)
