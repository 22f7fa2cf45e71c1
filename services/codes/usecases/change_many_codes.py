"""Changes all codes of a selection: counted first if requested, then changed by a job, each code once."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.codes.domain.access import Actor
from services.codes.domain.bulk import BulkDraft, bulk_of, bulk_spec
from services.codes.domain.code_selection import Place
from services.codes.domain.days import as_end
from services.codes.domain.errors import NoSuchPartner
from services.codes.domain.jobs import Job, RefusedLine, Step, Tally, creation_changes
from services.codes.store import audit, bulk_codes, jobs, partners, programs
from services.codes.usecases.jobs import queue_job
from services.codes.usecases.walk_codes import next_stretch, resolved
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once

# How many runs of a thousand codes, or coupons without a match, a request reads to count.
MOST_STRETCHES: Final = 50


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of matching codes; without `is_whole`, at least this many."""

    matched: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class ChangeManyCodes:
    """Codes created after the request are unchanged."""

    database: Database
    answer_once: AnswerOnce
    clock: Clock
    new_id: Callable[[], uuid.UUID]
    wake: Callable[[], None]

    async def count(self, program_id: uuid.UUID, draft: BulkDraft) -> Counted:
        """Count the codes that the action would read, within bounds; raises Missing or NoSuchPartner."""
        async with self.database.connection() as connection:
            draft = await self._checked(connection, program_id, draft, self.clock())
            if draft.ids is not None:
                return Counted(len(await bulk_codes.find_codes(connection, draft.ids, program_id)), is_whole=True)
        counted = 0
        place: Place | None = None
        for _ in range(MOST_STRETCHES):
            async with self.database.transaction() as connection:
                stretch = await next_stretch(connection, program_id, draft.selection, place)
            counted += len(stretch.ids)
            place = stretch.following
            if place is None:
                return Counted(counted, is_whole=True)
        return Counted(counted, is_whole=False)

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        draft: BulkDraft,
        once: Once[Job],
    ) -> Answer:
        """Queue the job; raises Missing, NoSuchPartner or TooManyJobs."""

        async def work(connection: Connection, now: datetime) -> Job:
            checked = await self._checked(connection, program_id, draft, now)
            job = Job(
                id=self.new_id(),
                program_id=program_id,
                kind="bulk",
                state="queued",
                coupon_id=checked.selection.coupon_id,
                spec=bulk_spec(checked),
                actor=actor.name,
                key_id=actor.key_id,
                created_at=now,
                requested=None if checked.ids is None else len(checked.ids),
            )
            await queue_job(connection, job)
            await audit.record(connection, actor, program_id, "job.created", job.id, creation_changes(job), now=now)
            return job

        answer = await self.answer_once(once, work)
        self.wake()
        return answer

    async def _checked(
        self, connection: Connection, program_id: uuid.UUID, draft: BulkDraft, now: datetime
    ) -> BulkDraft:
        partner_id = draft.partner_id
        if partner_id is not None and await partners.find_partner(connection, partner_id, program_id) is None:
            raise NoSuchPartner
        selection = await resolved(connection, program_id, replace(draft.selection, created_until=now))
        program = await programs.find_program(connection, program_id)
        timezone = program.settings.timezone if program else "UTC"
        return replace(draft, selection=selection, expires_at=as_end(draft.expires_at, timezone))


@dataclass(frozen=True, slots=True)
class BulkChunk:
    """The next codes of a bulk action."""

    async def __call__(self, connection: Connection, job: Job, now: datetime) -> Step:
        """Change the next codes in the caller's transaction."""
        draft = bulk_of(job.spec)
        if draft.ids is not None:
            return await self._named(connection, job, draft, draft.ids, now)
        position = job.position
        place = Place(uuid.UUID(position["coupon_id"]), uuid.UUID(position["after"])) if position else None
        stretch = await next_stretch(connection, job.program_id, draft.selection, place)
        locked = await bulk_codes.lock_codes(connection, stretch.ids, job.program_id) if stretch.ids else ()
        updated = await bulk_codes.change_codes(connection, draft, locked, job.created_at) if locked else 0
        count = len(stretch.ids)
        following = stretch.following
        return Step(
            Tally(processed=count, updated=updated, skipped=count - updated),
            {"coupon_id": str(following.coupon_id), "after": str(following.after)} if following else {},
            is_last=following is None,
        )

    async def _named(
        self, connection: Connection, job: Job, draft: BulkDraft, ids: tuple[uuid.UUID, ...], now: datetime
    ) -> Step:
        locked = await bulk_codes.lock_codes(connection, ids, job.program_id)
        updated = await bulk_codes.change_codes(connection, draft, locked, job.created_at)
        missing = [
            RefusedLine(nth, str(each), "not_found", "There is no such code.")
            for nth, each in enumerate(ids, 1)
            if each not in set(locked)
        ]
        await jobs.insert_errors(connection, job.id, missing)
        skipped = len(locked) - updated
        return Step(Tally(len(ids), updated=updated, skipped=skipped, refused=len(missing)), {}, is_last=True)

    def events(self, job: Job, now: datetime) -> list[OutboxEvent]:
        """Return nothing: the job itself shows the result of a bulk action."""
        return []
