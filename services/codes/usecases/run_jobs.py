"""Runs durable jobs: claims one, does it chunk by chunk, each chunk with its progress in one transaction.

Any number of replicas run jobs; the lease and its fence ensure that a chunk counts once. A job runs for a moment at a
time, so that a short one does not wait for a long one.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from services.codes.domain.jobs import Job, JobKind, Step, Tally
from services.codes.store import jobs
from shared import metrics
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.log import get_logger
from shared.periodic import Periodic

LEASE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 1.0
_SLICE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 2.0
# Claims without progress after which a job is given up.
MAX_ATTEMPTS: Final = 20


class Chunk(Protocol):
    """One kind of job: its next chunk, and the events at its end."""

    async def __call__(self, connection: Connection, job: Job, now: datetime) -> Step:
        """Do the next chunk in the caller's transaction."""
        ...

    def events(self, job: Job, now: datetime) -> list[OutboxEvent]:
        """Return the events for the end of the job."""
        ...


@dataclass(slots=True)
class RunJobs:
    """The runner of one process; its task works until `stop`."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]
    chunks: Mapping[JobKind, Chunk]
    lease_seconds: float = LEASE_SECONDS
    task: Periodic = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _is_stopping: bool = False

    def __post_init__(self) -> None:
        self._idle.set()
        self.task = Periodic("run_jobs", POLL_SECONDS, self._take_turn, wake=self._wake)

    def wake(self) -> None:
        """Look for work at once: a job was just created."""
        self._wake.set()

    async def stop(self) -> None:
        """Finish the current chunk, release the job, and take no other."""
        self._is_stopping = True
        await self._idle.wait()

    async def _take_turn(self) -> bool:
        if self._is_stopping:
            return False
        self._idle.clear()
        try:
            return await self.work_once()
        finally:
            self._idle.set()

    async def work_once(self) -> bool:
        """Take the next job and run it for a moment; False if there was none."""
        async with self.database.connection() as connection:
            job = await jobs.claim_job(connection, self.lease_seconds, self.clock())
        if job is None:
            return False
        try:
            await self._work(job)
        except TransientFault as fault:
            get_logger().warning("job_paused", job_id=str(job.id), reason=str(fault))
            await self._give_back(job)
        except Exception as error:  # noqa: BLE001 - a failing job must not stop the others
            metrics.MAINTENANCE_FAILURES.labels(self.task.name).inc()
            get_logger().error("job_chunk_failed", job_id=str(job.id), exc_info=error)
            await self._give_back(job)
        return True

    async def _work(self, job: Job) -> None:
        until = time.monotonic() + _SLICE_SECONDS
        going = await self.step(job)
        while going is not None:
            if self._is_stopping or time.monotonic() >= until:
                async with self.database.connection() as connection:
                    await jobs.release_job(connection, going, 0.0)
                return
            going = await self.step(going)

    async def step(self, job: Job) -> Job | None:
        """Do one chunk and return the job's new state; None if it has finished, or is no longer ours."""
        chunk = self.chunks[job.kind]
        now = self.clock()
        events: list[OutboxEvent] = []
        async with self.database.transaction() as connection:
            if not await jobs.hold_job(connection, job):
                return None
            step = await chunk(connection, job, now)
            await jobs.advance_job(connection, job, step, self.lease_seconds)
            is_over = step.is_last or step.failure is not None
            if is_over:
                await jobs.end_job(connection, job, step.failure, now)
                events = chunk.events(job, now) if step.failure is None else []
                await outbox.insert_events(connection, events)
        self.hand_over(events)
        metrics.JOB_ITEMS.labels(job.kind).inc(step.tally.processed)
        if is_over:
            get_logger().info("job_over", job_id=str(job.id), kind=job.kind, failure=step.failure)
            return None
        return after_step(job, step)

    async def _give_back(self, job: Job) -> None:
        """Release it for another try soon; one without progress is given up."""
        # Without the database the lease simply expires.
        with contextlib.suppress(TransientFault):
            async with self.database.connection() as connection:
                if job.attempts >= MAX_ATTEMPTS:
                    await jobs.end_job(connection, job, "internal_error", self.clock())
                else:
                    await jobs.release_job(connection, job, _RETRY_SECONDS)


def after_step(job: Job, step: Step) -> Job:
    """Return the state of a job after a chunk."""
    before, added = job.tally, step.tally
    tally = Tally(
        before.processed + added.processed,
        before.created + added.created,
        before.updated + added.updated,
        before.skipped + added.skipped,
        before.refused + added.refused,
    )
    requested = step.requested if step.requested is not None else job.requested
    return replace(job, tally=tally, position=step.position, requested=requested, attempts=0)
