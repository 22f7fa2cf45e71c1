"""Starts exports and erasures of a customer, shows them, and ends those that every service has completed."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.redemption.domain.customer_jobs import MOST_KEYS, MOST_RUNNING, SERVICES, ShownJob
from services.redemption.domain.customers import Digests
from services.redemption.domain.errors import FileGone, FileNotReady, Missing, TooManyJobs, TooManyNames
from services.redemption.domain.purchase import Buyer
from services.redemption.store import customer_jobs, customers
from shared.clock import Clock
from shared.database.customer_parts import CustomerParts
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.erasing import ID_KEY, MAILBOX_KEY, JobKind
from shared.idempotency import Answer, Once
from shared.known_ids import LAST_ID
from shared.log import get_logger

list_own_jobs: Final = customer_jobs.list_own_jobs
_LINES_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class StartCustomerJob:
    """Starts a job. From then on an erased customer is recognised, and an erasure ends the customer's exports."""

    answer_once: AnswerOnce
    digests: Digests
    new_id: Callable[[], uuid.UUID]
    wake: Callable[[], None]

    async def __call__(
        self, program_id: uuid.UUID, kind: JobKind, customer: Buyer, actor: str, once: Once[ShownJob]
    ) -> Answer:
        """Start it; raises TooManyJobs or TooManyNames."""

        async def work(connection: Connection, now: datetime) -> ShownJob:
            return await self._start(connection, program_id, kind, customer, actor, now)

        answer = await self.answer_once(once, work)
        self.wake()
        return answer

    async def _start(
        self, connection: Connection, program_id: uuid.UUID, kind: JobKind, customer: Buyer, actor: str, now: datetime
    ) -> ShownJob:
        await customer_jobs.lock_program(connection, program_id)
        if await customer_jobs.count_running(connection, program_id, MOST_RUNNING) >= MOST_RUNNING:
            raise TooManyJobs
        asked = [key for key in (customer.id_key, customer.email_key) if key is not None]
        beside = await customers.find_names(connection, program_id, asked)
        keys = sorted({*asked, *(name for name in beside if name.startswith((ID_KEY, MAILBOX_KEY)))})
        if len(keys) > MOST_KEYS:
            raise TooManyNames("email" if customer.id is None else "customer_id")
        digests = [self.digests(program_id, key) for key in keys]
        job_id = self.new_id()
        if kind == "erase":
            await customers.hold_customers(connection, program_id, keys)
            await customers.mark_erased(connection, program_id, digests, now)
            await customer_jobs.withdraw_exports(connection, program_id, digests, now)
        await customer_jobs.insert_job(
            connection, job_id, program_id, kind, keys, digests=digests, actor=actor, now=now
        )
        made = await customer_jobs.read_job(connection, program_id, job_id)
        if made is None:
            raise Missing
        get_logger().info("customer_job_started", job_id=str(job_id), program_id=str(program_id), kind=kind)
        return made


@dataclass(frozen=True, slots=True)
class ReadCustomerJobs:
    """Shows a program's jobs, and returns the results of exports."""

    database: Database
    clock: Clock

    async def __call__(
        self, program_id: uuid.UUID, after: uuid.UUID | None, limit: int
    ) -> tuple[list[ShownJob], uuid.UUID | None]:
        """Return up to `limit` jobs, newest first, and the last one's id if there are more."""
        async with self.database.connection() as connection:
            found = await customer_jobs.list_jobs(connection, program_id, after or LAST_ID, limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def one(self, program_id: uuid.UUID, job_id: uuid.UUID) -> ShownJob:
        """Return one job; raises Missing."""
        async with self.database.connection() as connection:
            found = await customer_jobs.read_job(connection, program_id, job_id)
        if found is None:
            raise Missing
        return found

    async def file(self, program_id: uuid.UUID, job_id: uuid.UUID) -> AsyncIterator[list[bytes]]:
        """Return the lines of an export, piece by piece; raises Missing, FileNotReady or FileGone."""
        job = await self.one(program_id, job_id)
        if job.kind != "export":
            raise Missing(f"There is no export with id {job_id}; that job is an erasure, which has no file.")
        if job.state == "running":
            raise FileNotReady
        if not job.has_file(self.clock()):
            raise FileGone
        return self._lines(job_id)

    async def _lines(self, job_id: uuid.UUID) -> AsyncIterator[list[bytes]]:
        for service in SERVICES:
            after = 0
            while True:
                async with self.database.connection() as connection:
                    lines = await customer_jobs.read_lines(connection, service, job_id, after, _LINES_AT_ONCE)
                if lines:
                    yield [line for _, line in lines]
                if len(lines) < _LINES_AT_ONCE:
                    break
                after = lines[-1][0]


@dataclass(frozen=True, slots=True)
class RunCustomerJobs:
    """Does redemption's part of unfinished jobs, then ends those completed everywhere."""

    database: Database
    clock: Clock
    parts: CustomerParts

    async def __call__(self) -> None:
        """Work until nothing is left, or the rest has to wait."""
        try:
            await self.parts()
        finally:
            async with self.database.connection() as connection:
                ended = await customer_jobs.finish_jobs(connection, self.clock())
            for job_id, kind in ended:
                get_logger().info("customer_job_finished", job_id=str(job_id), kind=kind)
