"""Batches: many codes of a coupon, a few while the caller waits, more by a job."""

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final

from services.codes.domain.access import Actor
from services.codes.domain.batches import (
    MAX_INLINE,
    BatchDraft,
    BatchTerms,
    batch_terms,
    check_feasible,
    estimated_live,
)
from services.codes.domain.code_patterns import CodePattern, SpelledCodes
from services.codes.domain.code_terms import changed_code
from services.codes.domain.coupons import Coupon, CouponRef
from services.codes.domain.documents import Document
from services.codes.domain.errors import CouponArchived, Missing, NoSuchPartner
from services.codes.domain.jobs import Job, Step, Tally, creation_changes
from services.codes.domain.promotion_codes import PromotionCode, check_window
from services.codes.store import audit, batches, coupons, jobs, partners, programs
from services.codes.usecases.jobs import queue_job
from shared.database import outbox
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.events.codes import CodesBatchCompletedV1
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.idempotency import Answer, Once

# The knee of the curve: fewer rows pay for statements, more gain nothing.
ROWS_PER_STATEMENT: Final = 1_000
STATEMENTS_PER_CHUNK: Final = 10
# A job whose chunks find almost nothing new this many times in a row has no room left.
_MAX_STALLED: Final = 20
_STALLED_SHARE: Final = 10


async def make_codes(
    connection: Connection,
    job: Job,
    pattern: CodePattern,
    terms: BatchTerms,
    count: int,
    *,
    new_id: Callable[[], uuid.UUID],
    now: datetime,
) -> int:
    """Create at most `count` codes in one statement and return how many were new."""
    spelled = pattern.spell(os.urandom(pattern.bytes_for(count)))
    wanted = SpelledCodes(spelled.codes[:count], spelled.canonicals[:count])
    return await batches.insert_codes(connection, job, terms, wanted, new_id, now)


@dataclass(frozen=True, slots=True)
class BatchChunk:
    """One chunk of a batch's job. Missing codes are created in the next chunk, so the result has exactly the count."""

    new_id: Callable[[], uuid.UUID]

    async def __call__(self, connection: Connection, job: Job, now: datetime) -> Step:
        """Create the next codes in the caller's transaction."""
        if await shared_coupon(connection, job) is None:
            return Step(Tally(), job.position, failure="coupon_archived")
        pattern, terms = pattern_of(job.spec), terms_of(job.spec)
        left = (job.requested or 0) - job.tally.created
        wanted = min(left, ROWS_PER_STATEMENT * STATEMENTS_PER_CHUNK)
        made = 0
        for asked in range(0, wanted, ROWS_PER_STATEMENT):
            count = min(ROWS_PER_STATEMENT, wanted - asked)
            made += await make_codes(connection, job, pattern, terms, count, new_id=self.new_id, now=now)
        stalled = job.position.get("stalled", 0) + 1 if made * _STALLED_SHARE < wanted else 0
        return Step(
            Tally(processed=made, created=made),
            {"stalled": stalled},
            is_last=made == left,
            failure="code_space_exhausted" if stalled >= _MAX_STALLED else None,
        )

    def events(self, job: Job, now: datetime) -> list[OutboxEvent]:
        """Return the events for the end of the job."""
        return [batch_completed(job, terms_of(job.spec), job.requested or 0, self.new_id(), now)]


async def shared_coupon(connection: Connection, job: Job) -> Coupon | None:
    """Return a job's coupon and lock it against archiving; None if it is archived already."""
    return await coupons.share_coupon(connection, job.program_id, CouponRef(str(job.coupon_id)))


def batch_completed(job: Job, terms: BatchTerms, count: int, event_id: uuid.UUID, now: datetime) -> OutboxEvent:
    """Return the event about a complete batch."""
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
    """Return the pattern of a batch from its stored form."""
    return CodePattern(spec["pattern"], spec["alphabet"], spec["has_check_symbol"])


def terms_of(spec: Document) -> BatchTerms:
    """Return the terms of a batch from their stored form."""
    kept = dict(spec["terms"])
    for name in ("starts_at", "expires_at"):
        kept[name] = datetime.fromisoformat(kept[name]) if kept[name] is not None else None
    kept["partner_id"] = uuid.UUID(kept["partner_id"]) if kept["partner_id"] is not None else None
    return BatchTerms(**kept)


_SAMPLE = 1_000
# At most half of a space is full when a batch begins, so twenty statements are more than enough.
_MAX_STATEMENTS = 20


@dataclass(frozen=True, slots=True)
class Batch:
    """An accepted batch; `codes` are present if it was created at once."""

    job: Job
    codes: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class CreateBatch:
    """Room is checked before anything is created; a repeat with the same key creates nothing twice."""

    answer_once: AnswerOnce
    new_id: Callable[[], uuid.UUID]
    hand_over: Callable[[Sequence[OutboxEvent]], None]
    wake: Callable[[], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        coupon: CouponRef,
        draft: BatchDraft,
        once: Once[Batch],
    ) -> Answer:
        """Create the codes or queue the job.

        Raises Missing, CouponArchived, InvalidTerms, NoSuchPartner, CodeSpaceTooSmall, GuessableCodes or TooManyJobs.
        """
        events: list[OutboxEvent] = []

        async def work(connection: Connection, now: datetime) -> Batch:
            program = await programs.find_program(connection, program_id)
            if program is None:
                raise Missing
            found = await live_coupon(connection, program_id, coupon)
            bare = PromotionCode(
                id=self.new_id(),
                program_id=program_id,
                coupon_id=found.id,
                code="",
                canonical="",
                created_at=now,
                updated_at=now,
            )
            code = changed_code(bare, draft.terms, found, program.settings)
            check_window(code, found)
            terms = batch_terms(code)
            await _check(connection, program_id, draft, terms.partner_id)
            job = Job(
                id=self.new_id(),
                program_id=program_id,
                kind="batch",
                state="queued",
                coupon_id=found.id,
                spec=batch_spec(draft.pattern, terms),
                actor=actor.name,
                key_id=actor.key_id,
                created_at=now,
                requested=draft.count,
            )
            await audit.record(connection, actor, program_id, "job.created", job.id, creation_changes(job), now=now)
            if draft.count > MAX_INLINE:
                await queue_job(connection, job)
                return Batch(job, None)
            job = replace(job, state="done", tally=Tally(draft.count, draft.count), started_at=now, finished_at=now)
            await jobs.insert_job(connection, job)
            codes = await self._at_once(connection, job, draft, terms, now)
            event = batch_completed(job, terms, draft.count, self.new_id(), now)
            await outbox.insert_events(connection, [event])
            events.append(event)
            return Batch(job, codes)

        answer = await self.answer_once(once, work)
        self.hand_over(events)
        self.wake()
        return answer

    async def _at_once(
        self, connection: Connection, job: Job, draft: BatchDraft, terms: BatchTerms, now: datetime
    ) -> list[str]:
        made = 0
        for _ in range(_MAX_STATEMENTS):
            made += await make_codes(
                connection, job, draft.pattern, terms, draft.count - made, new_id=self.new_id, now=now
            )
            if made == draft.count:
                return await batches.list_batch(connection, job.id, draft.count)
        raise TransientFault("others are filling the space of this pattern")


async def live_coupon(connection: Connection, program_id: uuid.UUID, ref: CouponRef) -> Coupon:
    """Return a coupon and lock it against archiving; raises Missing or CouponArchived."""
    if (coupon := await coupons.share_coupon(connection, program_id, ref)) is not None:
        return coupon
    if await coupons.find_coupon(connection, program_id, ref) is None:
        raise Missing(str(ref))
    raise CouponArchived


async def _check(
    connection: Connection, program_id: uuid.UUID, draft: BatchDraft, partner_id: uuid.UUID | None
) -> None:
    if partner_id is not None and await partners.find_partner(connection, partner_id, program_id) is None:
        raise NoSuchPartner
    check_feasible(draft, 0)
    # A sample shows how full a large space is as well as a count, whose cost would grow with the number of codes.
    every = draft.pattern.every()
    sample = set(every or draft.pattern.spell(os.urandom(draft.pattern.bytes_for(_SAMPLE))).canonicals)
    taken = await batches.count_taken(connection, program_id, sample)
    check_feasible(draft, estimated_live(draft.pattern, len(sample), taken))


def batch_spec(pattern: CodePattern, terms: BatchTerms) -> Document:
    """Return a batch in the form stored with its job."""
    return {
        "pattern": pattern.pattern,
        "alphabet": pattern.alphabet,
        "has_check_symbol": pattern.has_check_symbol,
        "terms": asdict(terms),
    }
