"""`/v1/rejections`: refused codes, with the order, the reason, and the number of tries."""

import uuid
from datetime import datetime
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import use_cases
from services.redemption.api.shapes import OrderFilter
from services.redemption.domain.reasons import Reason
from services.redemption.domain.rejections import Door, Rejection, RejectionFilter
from shared.web import (
    CountedPage,
    CountedQuery,
    InstantOrDate,
    Moment,
    PageQuery,
    QueryModel,
    Request,
    ResponseModel,
    Route,
    TenantId,
    Text,
    page_response,
    window,
)
from shared.web.files import TRAILER_TEXT, FileQuery, FileRows, Row, stream_file


class RejectionFilters(QueryModel):
    """The refused tries that are wanted; every given filter must match."""

    order_ref: OrderFilter | None = None
    code: Text | None = Field(None, description="The code that was refused, in any spelling.")
    reason: Reason | None = None
    partner_id: uuid.UUID | None = None
    door: Door | None = Field(
        None, description="Where it was refused: in an event, or by a route such as `POST /v1/redemptions`."
    )
    occurred_from: InstantOrDate | None = Field(
        None,
        alias="from",
        description="First tried at this time or later; a bare date is its first moment in the program's time zone.",
    )
    occurred_before: InstantOrDate | None = Field(
        None,
        alias="to",
        description="First tried before this time; a bare date is the end of that day in the program's time zone.",
    )

    _in_order = window("from", "to")


class RejectionQuery(RejectionFilters, PageQuery, CountedQuery):
    """The refused tries to list."""


class RejectionExportQuery(RejectionFilters, FileQuery):
    """The refused tries to export, and the format."""


class RejectionData(ResponseModel):
    """A refused try. Over HTTP, tries with the same order, code and reason are one, counted in `times`."""

    id: uuid.UUID
    order_ref: str
    door: Door
    code: str = Field(description="As typed; for an order with several codes, the first faulty one.")
    code_id: uuid.UUID | None = Field(description="Null if there was no such code.")
    partner_id: TenantId | None
    reason: Reason
    detail: str
    times: int
    occurred_at: Moment
    last_occurred_at: Moment
    source: str | None = Field(description="The event's source; null over HTTP.")
    event_id: str | None = Field(description="The event's id; null over HTTP.")
    is_test: bool


async def list_all(request: Request) -> web.StreamResponse:
    """List refused tries."""
    query = request.query(RejectionQuery)
    last = query.position(datetime, uuid.UUID)
    wanted = await _wanted(request, query)
    read = use_cases(request).read_rejections
    page = await read(wanted, query.code, last, query.limit)
    count = await read.count(wanted, query.code) if query.count else None
    shown = [rejection_data(rejection, test=request.is_test) for rejection in page.rejections]
    return page_response(shown, None if page.next_after is None else query.cursor_after(*page.next_after), count)


async def export(request: Request) -> web.StreamResponse:
    """Export refused tries as CSV or NDJSON."""
    query = request.query(RejectionExportQuery)
    written = FileRows(query.format, tuple(RejectionData.model_fields))
    pages = use_cases(request).read_rejections.pages(await _wanted(request, query), query.code)
    rows = (
        [rejection_data(each, test=request.is_test).model_dump(mode="json") for each in page] async for page in pages
    )
    return await stream_file(request, written, written.texts(rows), "rejections")


def _row(rejection: Rejection, *, test: bool) -> Row:
    return rejection_data(rejection, test=test).model_dump(mode="json")


async def _wanted(request: Request, query: RejectionFilters) -> RejectionFilter:
    since, before = await use_cases(request).resolve_days(
        request.program_id, query.occurred_from, query.occurred_before, is_whole_day=True
    )
    return RejectionFilter(
        program_id=request.program_id,
        order_ref=query.order_ref,
        partner_id=None if query.partner_id is None else request.tenant(query.partner_id),
        reason=query.reason,
        door=query.door,
        occurred_from=since,
        occurred_before=before,
    )


def rejection_data(rejection: Rejection, *, test: bool) -> RejectionData:
    """Return a refused try in the form of this API."""
    is_event = rejection.door == "event"
    return RejectionData(
        id=rejection.id,
        order_ref=rejection.order_ref,
        door=rejection.door,
        code=rejection.code,
        code_id=rejection.code_id,
        partner_id=rejection.partner_id,
        reason=rejection.reason,
        detail=rejection.detail,
        times=rejection.times,
        occurred_at=rejection.occurred_at,
        last_occurred_at=rejection.last_occurred_at,
        source=rejection.source if is_event else None,
        event_id=rejection.event_id if is_event else None,
        is_test=test,
    )


_route = partial(
    Route, method="GET", tag="checkout", security="bearer", scope=("checkout", "manage"), family="management"
)

ROUTES: Final = (
    _route(
        path="/v1/rejections",
        handler=list_all,
        summary="List refused tries",
        description="Refused redemptions and reservations, and codes that an event reported in vain, latest first; "
        "stored for 400 days unless configured otherwise. Validations are not stored. With a filter, a page can be "
        "short or empty without being the last: continue while there is a `meta.next_cursor`.",
        query=RejectionQuery,
        responses={200: CountedPage[RejectionData]},
    ),
    _route(
        path="/v1/rejections/export",
        handler=export,
        summary="Export refused tries as CSV or NDJSON",
        description="Each matching try that was stored at the start is in the file once, the latest first. "
        + TRAILER_TEXT,
        query=RejectionExportQuery,
        responses={200: "The file"},
    ),
)
