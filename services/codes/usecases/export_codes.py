"""Reads all codes of a selection for a file, page by page: no transaction stays open while a client reads.

Each matching code that existed at the start is in it once, in its state when its page is read.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from services.codes.domain.code_selection import CodeSelection, Place, SelectedCode
from services.codes.domain.errors import Missing
from services.codes.store import jobs, programs, selected_codes
from services.codes.usecases.walk_codes import next_stretch, resolved
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Codes of one coupon, and the address for links of the program's codes."""

    uuid_code: str
    link_url: str
    codes: Sequence[SelectedCode]


@dataclass(frozen=True, slots=True)
class ExportCodes:
    """The codes of a selection or of a job."""

    database: Database
    clock: Clock

    async def selection(self, program_id: uuid.UUID, wanted: CodeSelection) -> CodeSelection:
        """Return the selection with its coupon and partner resolved; raises Missing."""
        async with self.database.connection() as connection:
            return await resolved(connection, program_id, wanted)

    async def of_job(self, program_id: uuid.UUID, job_id: uuid.UUID) -> CodeSelection:
        """Return the selection of the codes that a job has created; raises Missing."""
        async with self.database.connection() as connection:
            job = await jobs.find_job(connection, job_id, program_id)
        if job is None or job.coupon_id is None:
            raise Missing(f"job with id {job_id} that creates codes")
        return CodeSelection(coupon_id=job.coupon_id, batch_id=job.id)

    async def pages(self, program_id: uuid.UUID, wanted: CodeSelection) -> AsyncIterator[ExportPage]:
        """Yield the codes in the order of their coupons and ids."""
        wanted = replace(wanted, created_until=self.clock())
        async with self.database.connection() as connection:
            program = await programs.find_program(connection, program_id)
        if program is None:
            raise Missing
        place: Place | None = None
        while True:
            async with self.database.transaction() as connection:
                stretch = await next_stretch(connection, program_id, wanted, place)
                codes = await selected_codes.read_codes(connection, stretch.ids) if stretch.ids else []
            if codes:
                yield ExportPage(stretch.uuid_code, program.settings.link_url, codes)
            place = stretch.following
            if place is None:
                return
