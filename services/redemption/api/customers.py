"""`/v1/customers`: a customer's data as one file, and its erasure, as jobs."""

import hashlib
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final, Literal

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, Field, StringConstraints

from services.redemption.api.context import once, use_cases
from services.redemption.api.shapes import Reference
from services.redemption.domain.customer_jobs import SERVICES, ShownJob
from services.redemption.domain.purchase import Buyer
from shared.erasing import JobKind
from shared.idempotency import Once
from shared.web import (
    Data,
    Moment,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    data_response,
    invalid_fields,
    page_after,
    respond,
)

_NDJSON: Final = "application/x-ndjson"


class CustomerNameBody(RequestModel):
    """The customer: by id, by e-mail address, or by both."""

    customer_id: Reference | None = Field(None, description="The id that your checkout sends.")
    email: Annotated[str, StringConstraints(min_length=1, max_length=320)] | None = Field(
        None, description="The e-mail address, in any spelling of its mailbox."
    )


class PartData(ResponseModel):
    """One service's part of a job: the number of objects of each kind that it found or erased."""

    status: Literal["waiting", "running", "done"]
    counts: dict[str, int]


class CustomerJobData(ResponseModel):
    """An export or an erasure. `digests` represent the customer's ids and mailboxes, which the job does not show."""

    id: uuid.UUID
    kind: JobKind
    state: Literal["running", "done", "withdrawn"] = Field(
        description="`withdrawn`: an export whose customer was erased."
    )
    digests: list[str]
    actor: str
    parts: dict[str, PartData]
    created_at: Moment
    finished_at: Moment | None


async def export(request: Request) -> web.StreamResponse:
    """Export a customer's data."""
    return await _start(request, "export")


async def erase(request: Request) -> web.StreamResponse:
    """Erase a customer."""
    return await _start(request, "erase")


async def _start(request: Request, kind: JobKind) -> web.StreamResponse:
    body = request.body(CustomerNameBody)
    customer = Buyer(body.customer_id, body.email)
    if customer.key is None:
        text = "Name the customer by customer_id, by email, or by both."
        raise invalid_fields({"customer_id": [text], "email": [text]})
    made: Once[ShownJob] = once(request, lambda job: data_response(_data(job), 202))
    actor = request.credential.actor
    return respond(
        request, await use_cases(request).start_customer_job(request.program_id, kind, customer, actor, made)
    )


async def list_jobs(request: Request) -> web.StreamResponse:
    """List exports and erasures, newest first."""
    query = request.query(PageQuery)
    jobs, last = await use_cases(request).read_customer_jobs(request.program_id, query.last_id, query.limit)
    return page_after(query, [_data(job) for job in jobs], last)


async def get(request: Request) -> web.StreamResponse:
    """Show an export or an erasure."""
    return data_response(_data(await use_cases(request).read_customer_jobs.one(request.program_id, _job_id(request))))


async def file(request: Request) -> web.StreamResponse:
    """Download the file of an export."""
    job_id = _job_id(request)
    pieces = await use_cases(request).read_customer_jobs.file(request.program_id, job_id)
    name = f'attachment; filename="customer-{job_id}.ndjson"'
    stream = await request.start_stream(_NDJSON, {"Content-Disposition": name})
    if request.http.method == hdrs.METH_HEAD:
        return stream
    digest, count = hashlib.sha256(), 0
    async for lines in pieces:
        raw = b"".join(line + b"\n" for line in lines)
        digest.update(raw)
        count += len(lines)
        await stream.write(raw)
    await stream.write(orjson.dumps({"export": {"count": count, "sha256": digest.hexdigest()}}) + b"\n")
    await stream.write_eof()
    return stream


def _job_id(request: Request) -> uuid.UUID:
    return request.path_id("job_id")


def _data(job: ShownJob) -> CustomerJobData:
    return CustomerJobData(
        id=job.id,
        kind=job.kind,
        state=job.state,
        digests=list(job.digests),
        actor=job.actor,
        parts={service: _part(job, service) for service in SERVICES},
        created_at=job.created_at,
        finished_at=job.finished_at,
    )


def _part(job: ShownJob, service: str) -> PartData:
    part = job.parts.get(service)
    if part is None:
        return PartData(status="waiting", counts={})
    return PartData(status="running" if part.done_at is None else "done", counts=dict(part.counts))


_STARTED: Final[Mapping[int, type[BaseModel] | str]] = {
    202: Data[CustomerJobData],
    429: "Twenty exports and erasures of the program are running (`too_many_jobs`)",
}

_route = partial(Route, tag="customers", security="bearer", scope="manage", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/customers/export",
        handler=export,
        summary="Export a customer's data",
        description="Starts a job that collects the customer's data from all services. When its state is `done`, "
        "download the file. The customer's id and mailbox belong together: what was bought with either is included.",
        body=CustomerNameBody,
        idempotent=True,
        responses=_STARTED,
        examples={"request": {"customer_id": "c-4711"}},
    ),
    _route(
        method="POST",
        path="/v1/customers/erase",
        handler=erase,
        summary="Erase a customer",
        description="Starts a job that replaces the customer's id and mailbox by digests everywhere: in redemptions, "
        "reservations, the customer's codes, the history of events, webhooks and dead letters. Limits per "
        "customer continue to count by digest. Later purchases of the customer are new data. It cannot be undone.",
        body=CustomerNameBody,
        idempotent=True,
        responses=_STARTED,
        examples={"request": {"email": "jane@example.com"}},
    ),
    _route(
        method="GET",
        path="/v1/customers/jobs",
        handler=list_jobs,
        summary="List exports and erasures of customers",
        description="Newest first; each is kept for 730 days.",
        query=PageQuery,
        responses={200: Page[CustomerJobData]},
    ),
    _route(
        method="GET",
        path="/v1/customers/jobs/{job_id}",
        handler=get,
        summary="Show an export or erasure of a customer",
        responses={200: Data[CustomerJobData], 404: "No such job"},
    ),
    _route(
        method="GET",
        path="/v1/customers/jobs/{job_id}/file",
        grade="change",
        handler=file,
        summary="Download the file of a customer's export",
        description="NDJSON: one line per object, with `service`, `kind` and `data`. The last line has the count of "
        "the lines before it and their SHA-256; a file without it is incomplete. The file is kept for 7 days.",
        responses={
            200: "The file",
            404: "No such job, or an erasure",
            409: "The export is not done yet (`export_running`)",
            410: "The file is no longer kept (`export_gone`)",
        },
    ),
)
