"""Cancels a job; what it has done so far stays done."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.access import Actor
from services.codes.domain.errors import JobFinished, Missing
from services.codes.domain.jobs import Job
from services.codes.store import audit, jobs
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class CancelJob:
    """The chunk under way is waited for; after the answer nothing more is done."""

    answer_once: AnswerOnce

    async def __call__(self, actor: Actor, program_id: uuid.UUID, job_id: uuid.UUID, once: Once[Job]) -> Answer:
        """Cancel the job; again changes nothing. Raises Missing or JobFinished."""

        async def work(connection: Connection, now: datetime) -> Job:
            if (cancelled := await jobs.cancel_job(connection, job_id, program_id, now)) is not None:
                told = {"state": {"to": "cancelled"}}
                await audit.record(connection, actor, program_id, "job.cancelled", job_id, told, now)
                return cancelled
            job = await jobs.find_job(connection, job_id, program_id)
            if job is None:
                raise Missing
            if job.state != "cancelled":
                raise JobFinished
            return job

        return await self.answer_once(once, work)
