"""`/v1/jobs`: running and finished batches, imports and bulk actions."""

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, once, use_cases
from services.codes.domain.code_columns import COLUMN_NAMES
from services.codes.domain.code_selection import BulkAction
from services.codes.domain.jobs import Job
from services.codes.domain.money import major_units, percent
from shared.idempotency import Once
from shared.modes import is_test, shown_id
from shared.web import (
    Data,
    Moment,
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
    """A job and its progress."""

    id: uuid.UUID
    kind: Literal["batch", "import", "bulk"]
    state: Literal["uploading", "queued", "running", "done", "failed", "cancelled"]
    coupon_id: uuid.UUID | None
    requested: int | None
    processed: int
    created: int
    updated: int
    skipped: int
    refused: int
    failure: str | None
    result_url: str | None
    errors_url: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    kept_until: Moment | None
    is_test: bool
    dry_run: bool = Field(description="Whether it only counts and reports.")
    action: BulkAction | None = Field(description="The action, for a bulk job.")
    filter: dict[str, Any] | None = Field(
        description="The requested filter of a bulk job; null if it names codes by `ids`."
    )


class JobQuery(PageQuery):
    """The jobs to list."""

    kind: Literal["batch", "import", "bulk"] | None = None
    state: Literal["uploading", "queued", "running", "done", "failed", "cancelled"] | None = None


def job_url(job: Job) -> str:
    """Return the address of a job."""
    return f"/v1/jobs/{job.id}"


def job_data(job: Job) -> JobData:
    """Return a job in the form of this API."""
    tally, asked = job.tally, asked_of(job.spec)
    return JobData(
        id=job.id,
        kind=job.kind,
        state=job.state,
        coupon_id=job.coupon_id,
        requested=job.requested,
        processed=tally.processed,
        created=tally.created,
        updated=tally.updated,
        skipped=tally.skipped,
        refused=tally.refused,
        failure=job.failure,
        result_url=f"{job_url(job)}/result" if tally.created and not job.spec.get("is_dry_run") else None,
        errors_url=f"{job_url(job)}/errors" if tally.refused else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        kept_until=job.kept_until,
        is_test=is_test(job.program_id),
        dry_run=asked.get("dry_run", False),
        action=asked.get("action"),
        filter=asked.get("filter"),
    )


def asked_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request of a job by the names in requests, without absent members."""
    asked: dict[str, Any] = {}
    for name, value in spec.items():
        if name == "selection":
            if spec.get("ids") is None:
                asked["filter"] = _filter(value)
        elif name == "terms":
            asked |= _terms(value)
        else:
            asked[_ASKED.get(name, name)] = value
    return {name: value for name, value in asked.items() if value is not None}


def _terms(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms of a batch's codes in the form of a request."""
    shown = {COLUMN_NAMES.get(member, member): term for member, term in terms.items()}
    if (minimum := terms.get("minimum_minor")) is not None:
        shown["minimum_order_value"] = major_units(minimum, terms["minimum_currency"])
    if (commission := terms.get("commission_hundredths")) is not None:
        shown["commission_percent"] = percent(commission)
    return shown


def _filter(selection: Mapping[str, Any]) -> dict[str, Any]:
    """Return a selection in the form of a request; a coupon or partner is named by its id."""
    members = {name: value for name, value in selection.items() if value is not None and name not in _FOUND}
    named = {"coupon_id": selection.get("coupon_id") or selection.get("coupon")}
    if (partner_id := selection.get("partner_id")) is not None:
        named["partner_id"] = shown_id(uuid.UUID(partner_id))
    else:
        named["partner_email"] = selection.get("partner_email")
    renamed = {_ASKED.get(name, name): value for name, value in members.items()}
    return {name: value for name, value in {**renamed, **named}.items() if value is not None}


# Our members' names in requests, and the members of a selection that are renamed or internal.
_ASKED: Final = {
    "is_dry_run": "dry_run",
    "is_active": "active",
    "extend_seconds": "extend_by_seconds",
    "has_check_symbol": "check_symbol",
}
_FOUND: Final = frozenset({"coupon", "coupon_id", "partner_id", "partner_email", "created_until"})


async def list_all(request: Request) -> web.StreamResponse:
    """List the program's jobs."""
    query = request.query(JobQuery)
    page = await use_cases(request).read_jobs(request.program_id, query.last_id, query.limit, query.kind, query.state)
    return page_after(query, [job_data(job) for job in page.items], page.next_after)


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


_route = partial(Route, tag="jobs", security="bearer", scope="manage", family="management")

ROUTES: Final = (
    _route(
        method="GET",
        path="/v1/jobs",
        handler=list_all,
        summary="List jobs, newest first",
        query=JobQuery,
        responses={200: Page[JobData]},
    ),
    _route(
        method="GET",
        path="/v1/jobs/{job_id}",
        handler=get,
        summary="Show a job and its progress",
        responses={200: Data[JobData], 404: "No such job"},
    ),
    _route(
        method="POST",
        path="/v1/jobs/{job_id}/cancel",
        handler=cancel,
        summary="Cancel a job; finished work stays",
        body=NoBody,
        body_required=False,
        idempotent=True,
        responses={200: Data[JobData], 404: "No such job", 409: "The job has finished (`job_finished`)"},
    ),
)
