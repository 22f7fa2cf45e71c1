"""`/v1/coupons/{coupon}/promotion-codes/import`: codes from a CSV or NDJSON file, of any size up to the limit."""

from typing import Final, Literal, Self

from aiohttp import web
from pydantic import Field, model_validator

from services.codes.api.context import actor, once, use_cases
from services.codes.api.fields import QueryBool
from services.codes.api.management.jobs import JobData, job_data, job_url
from services.codes.domain.code_columns import COLUMNS, MAX_LINE_BYTES, SHOWN_COLUMNS
from services.codes.domain.code_files import Names, checked_names
from services.codes.domain.coupons import CouponRef
from services.codes.domain.imports import MAX_INLINE_BYTES, MAX_UPLOAD_BYTES, ImportOptions
from services.codes.domain.jobs import Job
from shared.export_lines import FileFormat
from shared.idempotency import Once
from shared.web import Data, LongText, QueryModel, Request, Route, data_response, field_error, respond

_FORMATS: Final[dict[str, FileFormat]] = {
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/x-ndjson": "ndjson",
}


class ImportQuery(QueryModel):
    """What to do with existing codes, and whether to write anything."""

    on_conflict: Literal["fail", "skip", "update"] = Field(
        "fail",
        description="For an existing code: `fail` refuses the line, `skip` leaves the code unchanged, `update` changes "
        "the members in the line. Other lines are imported all the same.",
    )
    map: LongText | None = Field(
        None,
        max_length=2000,
        description="Names of your columns for ours: pairs `yours=ours`, comma-separated, such as "
        "`Coupon code=code,Ende=expires_at`.",
    )
    ignore_unknown_columns: QueryBool = Field("false", description="Ignore unknown columns.")
    dry_run: QueryBool = Field("false", description="Only validate and report; nothing is written.")

    @property
    def names(self) -> Names:
        """The column names of the file."""
        return checked_names(self.map or "", ignores_unknown=self.ignore_unknown_columns == "true")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        try:
            checked_names(self.map or "", ignores_unknown=False)
        except ValueError as error:
            raise field_error("map", str(error)) from None
        return self


async def create(request: Request) -> web.StreamResponse:
    """Import codes."""
    query, coupon = request.query(ImportQuery), CouponRef(request.path("coupon"))
    kind = _FORMATS.get(request.media_type, "csv")
    options = ImportOptions(kind, query.on_conflict, query.dry_run == "true", query.names)

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
            f"The file can have up to {MAX_UPLOAD_BYTES // 2**20} MiB in UTF-8, or in UTF-16 with a byte order mark, a "
            f"line up to {MAX_LINE_BYTES // 1024} KiB. Up to {MAX_INLINE_BYTES // 1024} KiB are imported at once "
            f"(200), more by a job (202). Columns of CSV, which needs a header, and members of NDJSON: "
            f"{', '.join(COLUMNS)}; `code` is required. Columns of exports only ({', '.join(SHOWN_COLUMNS)}) are "
            "ignored, as are columns without a name and empty rows. Names are case-insensitive and may have blanks for "
            "`_`. The separator can be `,`, `;` or a tab, taken from the header or from Excel's `sep=;` above it; line "
            'endings may be mixed. NDJSON accepts the values of CSV cells (`"yes"`, `"5.0"`). `opening_uses` are '
            "earlier uses elsewhere: a new code starts with that count. Refused and skipped lines are reported at "
            "`errors_url` with number, code and reason; the others are imported."
        ),
        tag="files",
        security="bearer",
        scope="manage",
        family="management",
        raw_body=tuple(_FORMATS),
        is_streamed=True,
        body_limit=MAX_UPLOAD_BYTES,
        query=ImportQuery,
        idempotent=True,
        path_descriptions={"coupon": "The coupon's id or its `uuid_code`."},
        responses={
            200: Data[JobData],
            202: Data[JobData],
            404: "No such coupon",
            408: "The body stopped arriving",
            409: "The coupon is archived (`coupon_archived`), or the job was cancelled meanwhile (`job_finished`)",
            422: "The file cannot be read (`invalid_file`)",
            429: "The program has the maximum number of unfinished jobs",
        },
    ),
)
