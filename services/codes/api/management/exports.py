"""`/v1/promotion-codes/export` and the files of jobs: streamed, and ending with the count and a digest."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web
from pydantic import Field

from services.codes.api.context import id_or_none_such, partner_in, use_cases
from services.codes.api.fields import QueryBool, QueryEmail, is_true
from services.codes.api.management.answers import ShownCodeAnswer, promotion_code_data
from services.codes.domain.code_columns import ALL_COLUMNS
from services.codes.domain.code_selection import CodeSelection, SelectedCode
from services.codes.domain.minting import code_link
from services.codes.domain.money import major_units, percent
from services.codes.domain.promotion_codes import CodeRef
from services.codes.usecases.export_codes import ExportPage
from shared.canonical import canonical_code
from shared.export_lines import FileFormat
from shared.modes import shown_id_or_none
from shared.times import format_microseconds
from shared.web import InstantOrDate, Request, Route, Text, json_response, window
from shared.web.files import ROWS_IN_A_ROW, TRAILER_TEXT, FileQuery, FileRows, Row, stream_file

_REPORT_COLUMNS: Final = ("line", "code", "reason", "detail")


class ExportQuery(FileQuery):
    """The live codes to export (every filter must match), and the format."""

    code: Text | None = Field(None, description="In any spelling.")
    coupon_id: Text | None = Field(None, description="The coupon's id or its `uuid_code`.")
    partner_id: Text | None = None
    partner_email: QueryEmail | None = None
    external_id: Text | None = None
    customer_id: Text | None = None
    batch_id: Text | None = Field(None, description="The job that created them.")
    active: QueryBool | None = None
    created_from: InstantOrDate | None = None
    expires_from: InstantOrDate | None = None
    expires_before: InstantOrDate | None = None
    _in_order = window("expires_from", "expires_before")


def _selection(request: Request, query: ExportQuery) -> CodeSelection:
    return CodeSelection(
        coupon=query.coupon_id,
        partner_email=query.partner_email,
        partner_id=None if query.partner_id is None else partner_in(request, query.partner_id),
        customer_id=query.customer_id,
        external_id=query.external_id,
        canonical=None if query.code is None else _canonical(query.code),
        batch_id=id_or_none_such(query.batch_id),
        is_active=is_true(query.active),
        created_from=query.created_from,
        expires_from=query.expires_from,
        expires_before=query.expires_before,
    )


def _canonical(text: str) -> str:
    try:
        return canonical_code(text)
    except ValueError:
        return ""


async def export(request: Request) -> web.StreamResponse:
    """Export codes, or show the code with the name of this path."""
    if _is_about_code(request):
        shown = await use_cases(request).read_promotion_codes.one(request.program_id, CodeRef("export", is_code=True))
        return json_response(ShownCodeAnswer(data=promotion_code_data(shown)))
    query = request.query(ExportQuery)
    codes = use_cases(request).export_codes
    wanted = await codes.selection(request.program_id, _selection(request, query))
    return await _stream_codes(request, query.format, codes.pages(request.program_id, wanted))


def _is_about_code(request: Request) -> bool:
    """Return whether the client reads a single code: it accepts only JSON and sends no parameter."""
    accepted = request.http.headers.get(hdrs.ACCEPT, "").split(",")
    types = {each.partition(";")[0].strip().lower() for each in accepted}
    return types == {"application/json"} and not request.http.query_string


async def result(request: Request) -> web.StreamResponse:
    """Send the codes that a job has created."""
    codes = use_cases(request).export_codes
    wanted = await codes.of_job(request.program_id, request.path_id("job_id"))
    return await _stream_codes(request, request.query(FileQuery).format, codes.pages(request.program_id, wanted))


async def errors(request: Request) -> web.StreamResponse:
    """Send the lines that a job has refused."""
    pages = await use_cases(request).read_job_errors(request.program_id, request.path_id("job_id"))
    written = FileRows(request.query(FileQuery).format, _REPORT_COLUMNS)
    texts = (written.rows([asdict(refused) for refused in page]) async for page in pages)
    return await stream_file(request, written, texts)


async def _stream_codes(request: Request, kind: FileFormat, pages: AsyncIterator[ExportPage]) -> web.StreamResponse:
    written = FileRows(kind, ALL_COLUMNS)
    return await stream_file(request, written, _code_texts(written, pages))


async def _code_texts(written: FileRows, pages: AsyncIterator[ExportPage]) -> AsyncIterator[str]:
    async for page in pages:
        for start in range(0, len(page.codes), ROWS_IN_A_ROW):
            yield written.rows(_code_rows(page, page.codes[start : start + ROWS_IN_A_ROW], written.kind))
            # Mints and other requests run in between.
            await asyncio.sleep(0)


def _code_rows(page: ExportPage, codes: Sequence[SelectedCode], kind: FileFormat) -> list[Row]:
    rows: list[Row] = []
    for code in codes:
        currency = code.minimum_currency
        rows.append(
            {
                "code": code.code,
                "external_id": code.external_id,
                "active": code.is_active,
                "starts_at": _time(code.starts_at),
                "expires_at": _time(code.expires_at),
                "redemption_limit": code.redemption_limit,
                "first_time_order": code.is_first_order_only,
                "minimum_order_value": major_units(code.minimum_minor or 0, currency) if currency else None,
                "minimum_order_currency": currency,
                "customer_id": code.customer_id,
                "customer_name": code.customer_name,
                "partner_id": shown_id_or_none(code.partner_id),
                "partner_only": code.is_limited_to_partner,
                "commission_percent": None
                if code.commission_hundredths is None
                else percent(code.commission_hundredths),
                "metadata": _metadata(code.metadata, kind),
                "opening_uses": code.opening_uses or None,
                "id": str(code.id),
                "coupon": page.uuid_code,
                "url": code_link(page.link_url, code.code),
                "times_redeemed": code.times_redeemed,
                "batch_id": _text(code.batch_id),
                "created_at": _time(code.created_at),
                "updated_at": _time(code.updated_at),
            }
        )
    return rows


def _metadata(text: str, kind: FileFormat) -> Any:
    if text == "{}":
        return None
    return text if kind == "csv" else json.loads(text)


def _time(moment: Any) -> str | None:
    return None if moment is None else format_microseconds(moment)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


_route = partial(Route, tag="jobs", security="bearer", scope="manage", family="management")

ROUTES: Final = (
    _route(
        method="GET",
        path="/v1/promotion-codes/export",
        grade="change",
        handler=export,
        summary="Export promotion codes as CSV or NDJSON",
        description=(
            "Each matching code that existed at the start of the export is in the file once. "
            + TRAILER_TEXT
            + " With `Accept: application/json` and no parameters, the path means the code named `export`, and the "
            "response is that of `/v1/promotion-codes/{code}`."
        ),
        tag="files",
        query=ExportQuery,
        responses={200: "The file", 404: "No such coupon or partner, or no code named `export`"},
    ),
    _route(
        method="GET",
        path="/v1/jobs/{job_id}/result",
        grade="change",
        handler=result,
        summary="Download the codes that a job has created",
        description="Works while the job runs, too, with the codes so far. " + TRAILER_TEXT,
        query=FileQuery,
        responses={200: "The file", 404: "No such job, or it creates no codes"},
    ),
    _route(
        method="GET",
        path="/v1/jobs/{job_id}/errors",
        grade="change",
        handler=errors,
        summary="Download the lines that a job has refused",
        description="One row per refused line: its number, the code, a reason and a sentence. " + TRAILER_TEXT,
        query=FileQuery,
        responses={200: "The file", 404: "No such job"},
    ),
)
