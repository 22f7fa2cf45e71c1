"""Reads the lines that a job has refused."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.codes.domain.errors import Missing
from services.codes.domain.jobs import RefusedLine
from services.codes.store import jobs
from shared.database.pool import Database

_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class ReadJobErrors:
    """All of them, page by page, in the order of the file."""

    database: Database

    async def __call__(self, program_id: uuid.UUID, job_id: uuid.UUID) -> AsyncIterator[Sequence[RefusedLine]]:
        """Return the pages; raises Missing."""
        async with self.database.connection() as connection:
            if await jobs.find_job(connection, job_id, program_id) is None:
                raise Missing
        return self._pages(job_id)

    async def _pages(self, job_id: uuid.UUID) -> AsyncIterator[Sequence[RefusedLine]]:
        after = 0
        while True:
            async with self.database.connection() as connection:
                page = await jobs.list_errors(connection, job_id, after, _AT_ONCE)
            if page:
                yield page
            if len(page) < _AT_ONCE:
                return
            after = page[-1].line
