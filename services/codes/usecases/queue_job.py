"""Queues a job, unless its program has as many under way as it may have."""

from services.codes.domain.errors import TooManyJobs
from services.codes.domain.jobs import MAX_OPEN_JOBS, Job
from services.codes.store import jobs
from shared.database.pool import Connection


async def queue_job(connection: Connection, job: Job) -> None:
    """Write a job that is to be worked on later, or whose file is to come; raises TooManyJobs.

    Nothing is locked for it: requests of the same moment may be a few too many.
    """
    if await jobs.count_open(connection, job.program_id, MAX_OPEN_JOBS) >= MAX_OPEN_JOBS:
        raise TooManyJobs(MAX_OPEN_JOBS)
    await jobs.insert_job(connection, job)
