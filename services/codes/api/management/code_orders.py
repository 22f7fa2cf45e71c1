"""`/v1/code-orders`: the partners' orders of codes, approved or refused by the program."""

import uuid
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, once, use_cases
from services.codes.api.fields import Note
from services.codes.api.partner.code_orders import CodeOrderQuery
from services.codes.domain.code_orders import Act, CodeOrder, CodeOrderFilter, CodeOrderState
from services.codes.usecases.code_orders import WantedCodeOrder
from shared.idempotency import Once
from shared.web import (
    Data,
    InstantOrDate,
    Moment,
    Page,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    TenantId,
    data_response,
    page_response,
    respond,
    window,
)


class ProgramCodeOrderQuery(CodeOrderQuery):
    """The orders to list; every given filter must match."""

    partner_id: uuid.UUID | None = None
    placed_from: InstantOrDate | None = Field(None, alias="from", description="Placed at this time or later.")
    placed_to: InstantOrDate | None = Field(
        None, alias="to", description="Placed up to this time, or the end of this day in the program's time zone."
    )

    _in_order = window("from", "to")


class CodeOrderRefusal(RequestModel):
    """Why the order is refused."""

    reason: Note = Field(description="The partner sees it.")


class CodeOrderData(ResponseModel):
    """A partner's order of codes."""

    id: uuid.UUID
    partner_id: TenantId
    count: int
    reference: str | None = Field(description="The partner's own name for the order.")
    note: str | None
    state: CodeOrderState = Field(
        description="The codes of an `approved` or `paid` order are granted: the quota's ledger names the order."
    )
    reason: str | None = Field(description="Why it was refused; null unless it is `refused`.")
    must_be_paid: bool = Field(description="Whether it is granted by its payment instead of your approval.")
    placed_by: str = Field(description="`key` or `account` with an id.")
    decided_by: str | None = Field(description="Who approved, refused or cancelled it, or recorded its payment.")
    created_at: Moment
    decided_at: Moment | None
    is_test: bool


def _data(request: Request, order: CodeOrder) -> CodeOrderData:
    return CodeOrderData.of(order, is_test=request.is_test)


def _wanted(request: Request) -> WantedCodeOrder:
    return WantedCodeOrder(request.path_id("code_order_id"), request.program_id)


_DECIDED: Final = "It has been decided otherwise (`code_order_decided`)"
_routes = Routes(
    "/v1/code-orders",
    "No such order",
    tag="code orders",
    security="bearer",
    scope="manage",
    family="management",
)


@_routes.get("", Page[CodeOrderData], query=ProgramCodeOrderQuery)
async def list_all(request: Request) -> web.StreamResponse:
    """List orders of codes, pending ones first, then the newest.

    With a filter, a page may be short before the end; continue while there is a `meta.next_cursor`.
    """
    query = request.query(ProgramCodeOrderQuery)
    wanted = CodeOrderFilter(
        program_id=request.program_id,
        partner_id=None if query.partner_id is None else request.tenant(query.partner_id),
        state=query.state,
        reference=query.reference,
        since=query.placed_from,
        until=query.placed_to,
    )
    page = await use_cases(request).read_code_orders(wanted, query.place, query.limit)
    return page_response([_data(request, order) for order in page.items], query.cursor_of(page.next_after))


@_routes.get("/{code_order_id}", Data[CodeOrderData])
async def get(request: Request) -> web.StreamResponse:
    """Show an order of codes."""
    return data_response(_data(request, await use_cases(request).read_code_orders.one(_wanted(request))))


@_routes.post(
    "/{code_order_id}/approve",
    Data[CodeOrderData],
    idempotent=True,
    refusals={
        409: f"{_DECIDED}, must be paid first (`code_order_unpaid`), or its partner is not active (`partner_inactive`)"
    },
)
async def approve(request: Request) -> web.StreamResponse:
    """Approve an order of codes: its codes are added to the partner's quota.

    They are added once, however often it is approved.
    """
    return await _decide(request, "approve")


_EXAMPLE: Final[dict[Any, Any]] = {"request": {"reason": "Invoice 2026-117 is not paid yet."}}


@_routes.post(
    "/{code_order_id}/refuse",
    Data[CodeOrderData],
    body=CodeOrderRefusal,
    idempotent=True,
    refusals={409: _DECIDED},
    examples=_EXAMPLE,
)
async def refuse(request: Request) -> web.StreamResponse:
    """Refuse an order of codes, with a reason that the partner sees."""
    return await _decide(request, "refuse", request.body(CodeOrderRefusal).reason)


async def _decide(request: Request, act: Act, reason: str | None = None) -> web.StreamResponse:
    done: Once[CodeOrder] = once(request, lambda order: data_response(_data(request, order)))
    decide = use_cases(request).decide_code_order
    return respond(request, await decide(actor(request), _wanted(request), act, done, reason))


ROUTES: Final = tuple(_routes.all)
