"""`/v1/commission-statements`: what partners earn by month, the lines behind it, and payments."""

import re
import uuid
from datetime import date, datetime
from typing import Annotated, Final

from aiohttp import hdrs, web
from pydantic import AfterValidator, Field, WithJsonSchema

from services.redemption.api.commission_shapes import (
    LINE_COLUMNS,
    LineData,
    PaidStatementData,
    PaymentBody,
    StatementData,
    TakeBackBody,
    line_data,
    line_row,
    line_table,
    paid_data,
    statement_data,
    statement_table,
)
from services.redemption.api.context import once, use_cases
from services.redemption.domain.commission_statements import Payment, StatementFilter, StatementPlace
from services.redemption.domain.moments import CLOCK_ALLOWANCE
from services.redemption.usecases.commission_statements import ShownStatement
from shared.idempotency import Answer, Once
from shared.known_ids import NOBODY
from shared.modes import in_mode
from shared.web import (
    Data,
    Page,
    PageQuery,
    Request,
    Routes,
    csv_response,
    data_answer,
    data_response,
    invalid_field,
    page_response,
    respond,
    wants_csv,
)
from shared.web.files import TRAILER_TEXT, FileQuery, FileRows, stream_file

_MONTH: Final = re.compile(r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$", re.ASCII)


def _month(text: str) -> str:
    if not _MONTH.fullmatch(text):
        raise ValueError("must be a month, such as 2026-11")
    return text


Month = Annotated[str, AfterValidator(_month), WithJsonSchema({"type": "string", "pattern": _MONTH.pattern})]


class StatementQuery(PageQuery):
    """The statements to list; every given filter must match."""

    partner_id: uuid.UUID | None = None
    month: Month | None = Field(None, description="Such as 2026-11.")


_routes = Routes(
    "/v1/commission-statements",
    "No such statement",
    tag="commission statements",
    security="either",
    family="management",
    scope=("manage", "codes:read"),
)


@_routes.get("", Page[StatementData], query=StatementQuery, is_tabular=True, is_linked=True)
async def list_all(request: Request) -> web.StreamResponse:
    """List commission statements.

    The newest month first. A month is that of the program's time zone; it is closed an hour after its end, and its
    statements never change again. What is reversed, adjusted or reported later is in the statement of a later month.
    A partner sees its own statements, and a test key those of test mode. With `Accept: text/csv` the answer is the
    same page as a table, and `Link` has the address of the next one.
    """
    query = request.query(StatementQuery)
    month = None if query.month is None else date.fromisoformat(f"{query.month}-01")
    page = await use_cases(request).read_statements(
        _wanted(request, query.partner_id, month), _place(request, query), query.limit
    )
    cursor = _cursor(query, page.next_after)
    if wants_csv(request.http):
        return _linked(request, csv_response("commission-statements.csv", statement_table(page.statements)), cursor)
    return _linked(request, page_response([statement_data(each) for each in page.statements], cursor), cursor)


@_routes.get("/{statement_id}", Data[PaidStatementData])
async def get(request: Request) -> web.StreamResponse:
    """Show a commission statement."""
    shown = await use_cases(request).read_statements.one(_wanted(request), request.path_id("statement_id"))
    return data_response(paid_data(shown, is_for_partner=request.credential.partner_id is not None))


@_routes.get("/{statement_id}/lines", Page[LineData], query=PageQuery, is_tabular=True, is_linked=True)
async def lines(request: Request) -> web.StreamResponse:
    """List the lines of a commission statement.

    The earliest first; their sum is the total of the statement. With `Accept: text/csv` the answer is the same page as
    a table, and `Link` has the address of the next one.
    """
    query = request.query(PageQuery)
    page = await use_cases(request).read_statements.lines(
        _wanted(request), request.path_id("statement_id"), query.position(datetime, int), query.limit
    )
    cursor = None if page.next_after is None else query.cursor_after(*page.next_after)
    if wants_csv(request.http):
        return _linked(request, csv_response("lines.csv", line_table(page.lines)), cursor)
    return _linked(request, page_response([line_data(line) for line in page.lines], cursor), cursor)


@_routes.get("/{statement_id}/export", "The file", query=FileQuery, description=f"Every line once. {TRAILER_TEXT}")
async def export(request: Request) -> web.StreamResponse:
    """Download the lines of a commission statement."""
    reader = use_cases(request).read_statements
    shown = await reader.one(_wanted(request), request.path_id("statement_id"))
    written = FileRows(request.query(FileQuery).format, LINE_COLUMNS)
    pages = ([line_row(line) for line in page] async for page in reader.all_lines(request.program_id, shown.statement))
    return await stream_file(request, written, written.texts(pages), f"statement-{shown.statement.id}")


@_routes.post(
    "/{statement_id}/payment",
    Data[PaidStatementData],
    status=201,
    body=PaymentBody,
    security="bearer",
    scope="manage",
    idempotent=True,
    refusals={
        200: Data[PaidStatementData],
        409: "The month is not closed yet (`statement_open`), or another payment counts (`already_paid`)",
    },
    examples={"request": {"amount_minor": 12_500, "currency": "EUR", "reference": "transfer-4711"}},
)
async def pay(request: Request) -> web.StreamResponse:
    """Mark a commission statement as paid.

    A repeat with the same amount and reference returns the same with 200. Who entered the payment is kept with it. The
    amount is recorded as given: it need not be the total.
    """
    body, cases = request.body(PaymentBody), use_cases(request)
    now = cases.clock()
    if body.paid_at is not None and body.paid_at > now + CLOCK_ALLOWANCE:
        raise invalid_field("paid_at", "The paid_at field must not be in the future.")
    payment = Payment(
        id=cases.new_id(),
        amount_minor=body.amount_minor,
        currency=body.currency or "",
        reference=body.reference,
        paid_at=body.paid_at or now,
        actor=request.credential.actor,
        created_at=now,
    )

    def render(shown: ShownStatement) -> web.Response | Answer:
        return data_answer(
            paid_data(shown, is_for_partner=request.credential.partner_id is not None), 201 if shown.is_new else 200
        )

    made: Once[ShownStatement] = once(request, render)
    statement_id = request.path_id("statement_id")
    return respond(request, await cases.pay_statement.pay(_wanted(request), statement_id, payment, made))


@_routes.post(
    "/{statement_id}/payment/take-back",
    Data[PaidStatementData],
    body=TakeBackBody,
    security="bearer",
    scope="manage",
    idempotent=True,
    refusals={409: "The statement was never paid (`not_paid`)"},
    examples={"request": {"reason": "The transfer came back."}},
)
async def take_back(request: Request) -> web.StreamResponse:
    """Take the payment of a commission statement back.

    The statement is then `closed` again, and the payment stays on record with the reason and who took it back. A
    repeat changes nothing.
    """
    reason = request.body(TakeBackBody).reason

    def render(shown: ShownStatement) -> web.Response | Answer:
        return data_answer(paid_data(shown, is_for_partner=request.credential.partner_id is not None))

    made: Once[ShownStatement] = once(request, render)
    statement_id, actor = request.path_id("statement_id"), request.credential.actor
    pays = use_cases(request).pay_statement
    return respond(request, await pays.take_back(_wanted(request), statement_id, actor, reason, made))


def _wanted(request: Request, named: uuid.UUID | None = None, month: date | None = None) -> StatementFilter:
    own = request.credential.partner_id
    partner_id = None if named is None else request.tenant(named)
    if own is not None and partner_id not in (None, own):
        # For another partner, as for one that does not exist.
        partner_id = NOBODY
    return StatementFilter(program_id=request.program_id, partner_id=partner_id or own, month=month)


def _cursor(query: StatementQuery, place: StatementPlace | None) -> str | None:
    if place is None:
        return None
    return query.cursor_after(f"{place[0]} {place[2]}", in_mode(place[1], test=False))


def _place(request: Request, query: StatementQuery) -> StatementPlace | None:
    last = query.position(str, uuid.UUID)
    if last is None:
        return None
    day, _, currency = last[0].partition(" ")
    try:
        return date.fromisoformat(day), in_mode(last[1], test=request.is_test), currency
    except ValueError:
        raise invalid_field("cursor", "The cursor parameter must be one that this list has returned.") from None


def _linked(request: Request, response: web.Response, cursor: str | None) -> web.Response:
    """Name the next page in a header too, since a table has no place for it."""
    if cursor is not None:
        following = request.link(request.url.update_query(cursor=cursor))
        response.headers[hdrs.LINK] = f'<{following}>; rel="next"'
    return response


ROUTES: Final = tuple(_routes.all)
