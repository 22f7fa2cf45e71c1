"""`/v1/operator/{service}/jobs`: the service's jobs of all programs."""

import uuid
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from shared.modes import is_test
from shared.web.models import Data, Moment, ResponseModel, TenantId
from shared.web.operator.context import COMMON, OPERATING, act_of
from shared.web.paging import Page, PageQuery, page_after
from shared.web.request import Request
from shared.web.responses import data_response
from shared.web.routes import Routes


class JobQuery(PageQuery):
    """The jobs to list."""

    is_finished: Literal["true", "false"] | None = Field(None, description="`false`: only jobs that are not finished.")


class OperatedJobData(ResponseModel):
    """A job of any program, without its contents. Members that this kind of job lacks are null."""

    id: uuid.UUID
    program_id: TenantId
    is_test: bool
    kind: str
    state: str
    actor: str | None = Field(description="The caller that started it.")
    requested: int | None = Field(description="How many items it is about; null until that is known.")
    processed: int | None
    failure: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class CancelledJobData(ResponseModel):
    """A job that was cancelled."""

    id: uuid.UUID
    state: str


ROUTES: Final = Routes("/jobs", **COMMON)
CANCELLING: Final = Routes("/jobs", "No such job", **COMMON)


@ROUTES.get("", Page[OperatedJobData], query=JobQuery)
async def list_jobs(request: Request) -> web.StreamResponse:
    """List the service's jobs of all programs, newest first.

    `codes` has batches, imports and bulk actions, `redemption` exports and erasures of customers, `webhooks` replays.
    A filtered page may be short or empty before the end.
    """
    query = request.query(JobQuery)
    is_finished = None if query.is_finished is None else query.is_finished == "true"
    page = await request.dependency(OPERATING).jobs.page(query.last_id, query.limit, is_finished)
    return page_after(
        query, [OperatedJobData.of(job, is_test=is_test(job.program_id)) for job in page.jobs], page.next_after
    )


@CANCELLING.post(
    "/{job_id}/cancel",
    Data[CancelledJobData],
    refusals={409: "The job has already finished (`job_finished`; of a replay `replay_ended`)"},
)
async def cancel_job(request: Request) -> web.StreamResponse:
    """Cancel a job of any program. Finished work stays."""
    job_id = request.path_id("job_id")
    if (cancel := request.dependency(OPERATING).cancel_job) is None:
        raise TypeError("the service does not declare this route without jobs that can be cancelled")
    return data_response(CancelledJobData(id=job_id, state=await cancel(job_id, act_of(request))))
