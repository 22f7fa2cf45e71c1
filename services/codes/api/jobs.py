"""`/v1/jobs`: batches, imports and bulk actions under way and finished."""

from typing import Final, Literal

from aiohttp import web

from services.codes.api.exchange import actor, once, use_cases
from services.codes.domain.jobs import Job
from shared.clock import format_microseconds
from shared.idempotency import Once
from shared.modes import is_test
from shared.web import (
    Data,
    NoBody,
    Page,
    PageQuery,
    Request,
    ResponseModel,
    Route,
    data_response,
    page_after,
    respond,
)


class JobData(ResponseModel):
    """A job and how far it is."""

    id: str
    kind: Literal["batch", "import", "bulk"]
    state: Literal["uploading", "queued", "running", "done", "failed", "cancelled"]
    coupon_id: str | None
    requested: int | None
    processed: int
    created: int
    updated: int
    skipped: int
    refused: int
    failure: str | None
    result_url: str | None
    errors_url: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    kept_until: str | None
    is_test: bool


class JobQuery(PageQuery):
    """Which jobs to list."""

    kind: Literal["batch", "import", "bulk"] | None = None
    state: Literal["uploading", "queued", "running", "done", "failed", "cancelled"] | None = None


def job_url(job: Job) -> str:
    """Return where a job is found."""
    return f"/v1/jobs/{job.id}"


def job_data(job: Job) -> JobData:
    """Return a job as it is shown."""
    tally = job.tally
    return JobData(
        id=str(job.id),
        kind=job.kind,
        state=job.state,
        coupon_id=str(job.coupon_id) if job.coupon_id else None,
        requested=job.requested,
        processed=tally.processed,
        created=tally.created,
        updated=tally.updated,
        skipped=tally.skipped,
        refused=tally.refused,
        failure=job.failure,
        result_url=f"{job_url(job)}/result" if tally.created and not job.spec.get("is_dry_run") else None,
        errors_url=f"{job_url(job)}/errors" if tally.refused else None,
        created_at=format_microseconds(job.created_at),
        started_at=format_microseconds(job.started_at) if job.started_at else None,
        finished_at=format_microseconds(job.finished_at) if job.finished_at else None,
        kept_until=format_microseconds(job.kept_until) if job.kept_until else None,
        is_test=is_test(job.program_id),
    )


async def list_all(request: Request) -> web.StreamResponse:
    """List the program's jobs."""
    query = request.query(JobQuery)
    page = await use_cases(request).read_jobs(request.program_id, query.last_id, query.limit, query.kind, query.state)
    return page_after([job_data(job) for job in page.items], page.next_after)


async def get(request: Request) -> web.StreamResponse:
    """Show a job."""
    return data_response(
        job_data(await use_cases(request).read_jobs.one(request.program_id, request.path_id("job_id")))
    )


async def cancel(request: Request) -> web.StreamResponse:
    """Cancel a job."""
    done: Once[Job] = once(request, lambda job: data_response(job_data(job)))
    job_id = request.path_id("job_id")
    return respond(request, await use_cases(request).cancel_job(actor(request), request.program_id, job_id, done))


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/jobs",
        handler=list_all,
        summary="List jobs, newest first",
        tag="jobs",
        security="bearer",
        scope="manage",
        family="management",
        query=JobQuery,
        responses={200: Page[JobData]},
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job_id}",
        handler=get,
        summary="Show a job and how far it is",
        tag="jobs",
        security="bearer",
        scope="manage",
        family="management",
        responses={200: Data[JobData], 404: "No such job"},
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job_id}/cancel",
        handler=cancel,
        summary="Cancel a job; what it has done stays done",
        tag="jobs",
        security="bearer",
        scope="manage",
        family="management",
        body=NoBody,
        body_required=False,
        idempotent=True,
        responses={200: Data[JobData], 404: "No such job", 409: "The job is over"},
    ),
)
