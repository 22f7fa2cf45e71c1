"""Receives a file of codes: stores it piece by piece as it arrives, then imports it at once or queues a job."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.code_files import BOM, LineRefused, Names, checked_header, split_records
from services.codes.domain.coupons import CouponRef
from services.codes.domain.errors import BadFile, CouponArchived, JobFinished
from services.codes.domain.file_openings import AsUTF8, opening_of
from services.codes.domain.imports import MAX_INLINE_BYTES, ImportOptions
from services.codes.domain.jobs import Job, JobState, creation_changes
from services.codes.store import audit, imports, jobs
from services.codes.usecases.batches import live_coupon
from services.codes.usecases.import_codes import ImportChunk
from services.codes.usecases.jobs import queue_job
from services.codes.usecases.run_jobs import LEASE_SECONDS, after_step
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.idempotency import Answer, Once

_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class StartImport:
    """The import starts only when the whole file is stored, so a broken upload leaves nothing behind."""

    database: Database
    answer_once: AnswerOnce
    clock: Clock
    new_id: Callable[[], uuid.UUID]
    chunk: ImportChunk
    wake: Callable[[], None]

    async def __call__(
        self,
        actor: Actor,
        program_id: uuid.UUID,
        coupon: CouponRef,
        options: ImportOptions,
        body: AsyncIterator[bytes],
        once: Callable[[], Once[Job]],
    ) -> Answer:
        """Store the file and import or queue it; `once` is called after the body has been read.

        Raises Missing, CouponArchived, TooManyJobs, BadFile, any error of reading the body, and JobFinished if it
        was cancelled meanwhile.
        """
        async with self.database.transaction() as connection:
            job = Job(
                id=self.new_id(),
                program_id=program_id,
                kind="import",
                state="uploading",
                coupon_id=(await live_coupon(connection, program_id, coupon)).id,
                spec=asdict(options),
                actor=actor.name,
                key_id=actor.key_id,
                created_at=self.clock(),
            )
            await queue_job(connection, job)
        is_kept = False
        try:
            size = await self._store(job, options, body)
            answer = await self.answer_once(once(), lambda c, now: self._begin(c, actor, job, size, now))
            is_kept = not answer.is_replayed
        finally:
            if not is_kept:
                async with self.database.connection() as connection:
                    await imports.discard_upload(connection, job.id)
        self.wake()
        return answer

    async def _store(self, job: Job, options: ImportOptions, body: AsyncIterator[bytes]) -> int:
        """Write the pieces, each in a transaction of its own, and return the size of the file."""
        waiting, nth, as_utf8 = bytearray(), 0, AsUTF8()
        async for received in body:
            waiting += as_utf8.feed(received)
            while len(waiting) >= imports.PIECE_BYTES:
                await self._store_piece(job, options, nth, bytes(waiting[: imports.PIECE_BYTES]))
                del waiting[: imports.PIECE_BYTES]
                nth += 1
        waiting += as_utf8.end()
        if waiting:
            await self._store_piece(job, options, nth, bytes(waiting))
        size = nth * imports.PIECE_BYTES + len(waiting)
        if size == 0:
            raise BadFile("The file is empty.")
        return size

    async def _store_piece(self, job: Job, options: ImportOptions, nth: int, piece: bytes) -> None:
        if nth == 0 and options.format == "csv":
            _check_header(piece, options.names)
        async with self.database.connection() as connection:
            await imports.insert_piece(connection, job.id, nth, piece)

    async def _begin(self, connection: Connection, actor: Actor, job: Job, size: int, now: datetime) -> Job:
        is_inline = size <= MAX_INLINE_BYTES
        state: JobState = "running" if is_inline else "queued"
        if not await imports.queue_upload(connection, job.id, state, size, now if is_inline else None):
            raise JobFinished
        begun = replace(job, state=state, spec={**job.spec, "bytes": size}, started_at=now if is_inline else None)
        await audit.record(connection, actor, job.program_id, "job.created", job.id, creation_changes(begun), now=now)
        if not is_inline:
            return begun
        while True:
            step = await self.chunk(connection, begun, now)
            await jobs.advance_job(connection, begun, step, LEASE_SECONDS)
            begun = after_step(begun, step)
            if step.failure is not None:
                raise CouponArchived
            if step.is_last:
                await jobs.end_job(connection, begun, None, now)
                return replace(begun, state="done", finished_at=now, requested=begun.tally.processed)


def _check_header(piece: bytes, names: Names) -> None:
    if piece.startswith(_ZIP):
        raise BadFile("The file is a ZIP archive, like an Excel workbook; save the sheet as CSV.")
    head = piece.removeprefix(BOM)
    size, _, delimiter = opening_of(head)
    # A name may have line ends inside quotes.
    split = split_records(head[size:], "csv", is_end=True, is_skipping=False, most=1, delimiter=delimiter)
    try:
        checked_header(split.records[0].raw if split.records else b"", delimiter, names)
    except LineRefused as refused:
        raise BadFile(refused.detail) from None
