"""`GET /v1/redemptions` and `/v1/redemptions/export`: a program's redemptions, page by page or as a file."""

import uuid
from datetime import datetime
from functools import partial
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from services.redemption.api.context import use_cases
from services.redemption.api.shapes import OrderFilter, RedemptionData, redemption_data
from services.redemption.domain.books import Redemption
from services.redemption.domain.listing import RedemptionFilter
from services.redemption.domain.purchase import Buyer
from shared.modes import is_test, shown_id_or_none
from shared.times import format_microseconds
from shared.web import (
    CountedPage,
    CountedQuery,
    HTTPProblem,
    InstantOrDate,
    PageQuery,
    QueryAddress,
    QueryModel,
    Request,
    Route,
    Text,
    invalid_field,
    page_response,
    window,
)
from shared.web.files import TRAILER_TEXT, FileQuery, FileRows, Row, stream_file

_COLUMNS: Final = (
    *("id", "status", "code", "code_id", "coupon_id", "partner_id", "order_ref", "customer_id", "discount_type"),
    *("discount_percent_hundredths", "discount_minor", "currency", "subtotal_minor", "commission_percent_hundredths"),
    *("commission_minor", "occurred_at", "voided_at", "void_reason", "is_counted", "is_self_referral", "is_test"),
)


class RedemptionFilters(QueryModel):
    """The redemptions that are wanted; every given filter must match."""

    code: Text | None = Field(None, description="A code in any spelling, or the codes that had the string before it.")
    coupon_id: Text | None = Field(None, description="A coupon's id or uuid_code.")
    partner_id: uuid.UUID | None = None
    customer_id: Text | None = Field(None, description="Purchases of the customer with this id.")
    customer_email: QueryAddress | None = Field(
        None, description="Purchases for which only the customer's e-mail address is known, in any spelling."
    )
    order_ref: OrderFilter | None = None
    status: Literal["redeemed", "voided"] | None = None
    occurred_from: InstantOrDate | None = Field(
        None, description="Made at this time or later; a bare date is its first moment in the program's time zone."
    )
    occurred_before: InstantOrDate | None = Field(
        None, description="Made before this time; a bare date is its first moment in the program's time zone."
    )
    _in_order = window("occurred_from", "occurred_before")


class RedemptionQuery(RedemptionFilters, PageQuery, CountedQuery):
    """Filters of the list of redemptions."""


class RedemptionExportQuery(RedemptionFilters, FileQuery):
    """The redemptions to export, and the format."""


async def list_redemptions(request: Request) -> web.StreamResponse:
    """List redemptions, latest first."""
    query = request.query(RedemptionQuery)
    last = query.position(datetime, uuid.UUID)
    wanted = await _wanted(request, query)
    read = use_cases(request).read_redemptions
    page = await read(wanted, query.code, query.coupon_id, last, query.limit)
    count = await read.count(wanted, query.code, query.coupon_id) if query.count else None
    shown = [redemption_data(redemption) for redemption in page.redemptions]
    return page_response(shown, None if page.next_after is None else query.cursor_after(*page.next_after), count)


async def export(request: Request) -> web.StreamResponse:
    """Export redemptions as CSV or NDJSON."""
    query = request.query(RedemptionExportQuery)
    account = request.account
    has_customers = account is None or account.may_change
    if not has_customers and (query.customer_id is not None or query.customer_email is not None):
        detail = "This account has read-only access: it cannot export what a customer has bought."
        raise HTTPProblem(403, "look_only", detail)
    wanted = await _wanted(request, query)
    written = FileRows(query.format, _COLUMNS)
    pages = use_cases(request).read_redemptions.pages(wanted, query.code, query.coupon_id)
    rows = ([_row(each, has_customers=has_customers) for each in page] async for page in pages)
    return await stream_file(request, written, written.texts(rows), "redemptions")


async def _wanted(request: Request, query: RedemptionFilters) -> RedemptionFilter:
    if query.customer_id is not None and query.customer_email is not None:
        raise invalid_field("customer_email", "The customer_email parameter must be absent if customer_id is given.")
    customer = Buyer(query.customer_id, query.customer_email).key
    if query.customer_email is not None and customer is None:
        raise invalid_field("customer_email", "The customer_email parameter must be an e-mail address.")
    resolve = use_cases(request).resolve_days
    since, before = await resolve(request.program_id, query.occurred_from, query.occurred_before)
    return RedemptionFilter(
        program_id=request.program_id,
        order_ref=query.order_ref,
        code_ids=None,
        coupon_id=None,
        partner_id=None if query.partner_id is None else request.tenant(query.partner_id),
        is_voided=None if query.status is None else query.status == "voided",
        occurred_from=since,
        occurred_before=before,
        customer_key=customer,
    )


def _row(redemption: Redemption, *, has_customers: bool) -> Row:
    return {
        "id": str(redemption.id),
        "status": "redeemed" if redemption.voided_at is None else "voided",
        "code": redemption.code,
        "code_id": str(redemption.code_id),
        "coupon_id": str(redemption.coupon_id),
        "partner_id": shown_id_or_none(redemption.partner_id),
        "order_ref": redemption.order_ref,
        "customer_id": redemption.customer_id if has_customers else None,
        "discount_type": redemption.discount_type,
        "discount_percent_hundredths": redemption.percent_hundredths,
        "discount_minor": redemption.discount_minor,
        "currency": redemption.currency,
        "subtotal_minor": redemption.subtotal_minor,
        "commission_percent_hundredths": redemption.commission_hundredths,
        "commission_minor": redemption.commission_minor,
        "occurred_at": format_microseconds(redemption.occurred_at),
        "voided_at": None if redemption.voided_at is None else format_microseconds(redemption.voided_at),
        "void_reason": redemption.void_reason,
        "is_counted": redemption.is_counted,
        "is_self_referral": redemption.is_self_referral,
        "is_test": is_test(redemption.program_id),
    }


_route = partial(
    Route, method="GET", tag="checkout", security="bearer", scope=("checkout", "manage"), family="management"
)

ROUTES: Final = (
    _route(
        path="/v1/redemptions",
        handler=list_redemptions,
        summary="List redemptions",
        description="Latest first. With a filter, a page can be short or empty without being the last: continue while "
        "there is a `meta.next_cursor`.",
        query=RedemptionQuery,
        responses={200: CountedPage[RedemptionData]},
    ),
    _route(
        path="/v1/redemptions/export",
        handler=export,
        summary="Export redemptions as CSV or NDJSON",
        description="Each matching redemption that existed at the start is in the file once, the latest first. "
        f"{TRAILER_TEXT} For accounts with read-only access `customer_id` is empty, and filters by customer are "
        "refused.",
        query=RedemptionExportQuery,
        responses={200: "The file"},
    ),
)
