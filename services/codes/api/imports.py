"""`/v1/coupons/{coupon}/promotion-codes/import`: codes from a CSV or NDJSON file, of any size up to the limit."""

from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from services.codes.api.exchange import actor, once, use_cases
from services.codes.api.fields import QueryBool
from services.codes.api.jobs import JobData, job_data, job_url
from services.codes.domain.code_files import COLUMNS, MAX_LINE_BYTES, SHOWN_COLUMNS, FileFormat
from services.codes.domain.coupons import CouponRef
from services.codes.domain.imports import MAX_INLINE_BYTES, MAX_UPLOAD_BYTES, ImportOptions
from services.codes.domain.jobs import Job
from shared.idempotency import Once
from shared.web import Data, QueryModel, Request, Route, data_response, respond

_FORMATS: Final[dict[str, FileFormat]] = {"text/csv": "csv", "application/x-ndjson": "ndjson"}


class ImportQuery(QueryModel):
    """What is done with codes that exist, and whether anything is written."""

    on_conflict: Literal["fail", "skip", "update"] = Field(
        "fail",
        description="A code that exists: `fail` refuses the line, `skip` leaves the code as it is, `update` changes "
        "the members that the line names. Other lines are taken in all the same.",
    )
    dry_run: QueryBool = Field("false", description="Only count and report; nothing is written.")


async def create(request: Request) -> web.StreamResponse:
    """Import codes."""
    query, coupon = request.query(ImportQuery), CouponRef(request.path("coupon"))
    options = ImportOptions(_FORMATS.get(request.media_type, "csv"), query.on_conflict, query.dry_run == "true")

    def answered() -> Once[Job]:
        return once(request, _answer)

    answer = await use_cases(request).start_import(
        actor(request),
        request.program_id,
        coupon,
        options,
        request.chunks(tuple(_FORMATS), MAX_UPLOAD_BYTES),
        answered,
    )
    return respond(request, answer)


def _answer(job: Job) -> web.Response:
    return data_response(job_data(job), 200 if job.state == "done" else 202, {"Location": job_url(job)})


ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/coupons/{coupon}/promotion-codes/import",
        handler=create,
        summary="Import promotion codes from CSV or NDJSON",
        description=(
            f"The file has at most {MAX_UPLOAD_BYTES // 2**20} MiB in UTF-8, a line at most {MAX_LINE_BYTES // 1024} "
            f"KiB. Up to {MAX_INLINE_BYTES // 1024} KiB are taken in at once (200), more by a job (202). "
            f"Columns of CSV, which has a header, and members of NDJSON: {', '.join(COLUMNS)}; `code` is required. "
            f"Those that only an export has ({', '.join(SHOWN_COLUMNS)}) are passed over. A line that cannot be taken "
            "in is reported at `errors_url` with its number, code and reason; the others are taken in."
        ),
        tag="files",
        security="bearer",
        scope="manage",
        family="management",
        raw_body=tuple(_FORMATS),
        is_streamed=True,
        query=ImportQuery,
        idempotent=True,
        path_descriptions={"coupon": "The coupon's id or its `uuid_code`."},
        responses={
            200: Data[JobData],
            202: Data[JobData],
            404: "No such coupon",
            408: "The body stands still",
            409: "The coupon is archived, or the job was cancelled meanwhile",
            429: "The program has as many jobs under way as may be",
        },
    ),
)
