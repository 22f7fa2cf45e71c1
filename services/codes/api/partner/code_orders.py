"""`/api/partners/code-orders`: a partner orders more codes, sees its orders and cancels pending ones."""

import uuid
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, once, use_cases
from services.codes.api.fields import Note, Reference
from services.codes.domain.code_orders import (
    MAX_CODES,
    MOST_PENDING,
    CodeOrder,
    CodeOrderDraft,
    CodeOrderFilter,
    CodeOrderState,
)
from services.codes.domain.pages import Place
from services.codes.usecases.code_orders import PlacedCodeOrder, WantedCodeOrder
from shared.idempotency import Once
from shared.web import (
    Int,
    MillisecondMoment,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    Text,
    json_response,
    respond,
)


class CodeOrderPlacement(RequestModel):
    """The number of codes, and what the partner calls the order."""

    count: Annotated[Int, Field(ge=1, le=MAX_CODES)] = Field(
        description="The number of codes to add to your quota: one of `program.code_packs` of `GET /api/partners/me`, "
        "if there are any."
    )
    reference: Reference | None = Field(
        None,
        description="Your own name for the order, such as a purchase order number. A repeat with the same reference "
        "and number returns the same order, in whatever state it is.",
    )
    note: Note | None = Field(None, description="A note to the merchant.")


class CodeOrderQuery(PageQuery):
    """The orders to list; every given filter must match."""

    state: CodeOrderState | None = Field(
        None, description="With it, a page may be short before the end; continue while there is a next cursor."
    )
    reference: Text | None = Field(None, description="The partner's own name for the order.")

    @property
    def place(self) -> Place | None:
        """The place of the last order before the page; raises the 422."""
        last = self.position(int, uuid.UUID)
        return None if last is None else (bool(last[0]), last[1])

    def cursor_of(self, place: Place | None) -> str | None:
        """Return the cursor of the page after a place; None at the end."""
        return None if place is None else self.cursor_after(int(place[0]), place[1])


class PartnerCodeOrder(ResponseModel):
    """An order of the partner."""

    id: uuid.UUID
    count: int
    reference: str | None
    note: str | None
    state: CodeOrderState = Field(
        description="`pending` until the merchant decides; the codes of an `approved` or `paid` order are granted."
    )
    reason: str | None = Field(description="Why the merchant refused it; null unless it is `refused`.")
    placed_by: str = Field(description="`key` or `account` with an id.")
    created_at: MillisecondMoment
    decided_at: MillisecondMoment | None = Field(description="When it left `pending`.")
    is_test: bool


class OnePartnerCodeOrder(PartnerCodeOrder):
    """One order of the partner."""

    ok: Literal[True] = True


class PartnerCodeOrders(ResponseModel):
    """A page of orders: pending ones first, then the newest."""

    ok: Literal[True] = True
    orders: list[PartnerCodeOrder]
    next_cursor: str | None


def _shown(request: Request, order: CodeOrder, status: int = 200) -> web.Response:
    return json_response(OnePartnerCodeOrder.of(order, ok=True, is_test=request.is_test), status)


def _wanted(request: Request) -> WantedCodeOrder:
    return WantedCodeOrder(request.path_id("code_order_id"), request.program_id, request.partner_id)


_ORDER: Final[dict[str, Any]] = {"count": 5_000, "reference": "PO-2026-118", "note": "For the spring campaign"}
_routes = Routes("/api/partners/code-orders", "No such order", tag="partner", security="partner_key", family="partner")


@_routes.post(
    "",
    OnePartnerCodeOrder,
    status=201,
    scope="codes:generate",
    body=CodeOrderPlacement,
    idempotent=True,
    refusals={
        200: OnePartnerCodeOrder,
        403: "Partner account is not active (`partner_inactive`), or the key lacks the scope",
        409: f"{MOST_PENDING} orders are pending (`too_many_pending_code_orders`)",
        422: "An order with this reference is for another number of codes (`reference_taken`), or the merchant sells "
        "packs of other numbers (`not_a_code_pack`)",
    },
    examples={"request": _ORDER},
)
async def place(request: Request) -> web.StreamResponse:
    """Order more codes.

    The merchant approves or refuses the order. Once it is granted, its codes are part of your quota at once. A repeat
    with the same reference answers 200 with the order as it is.
    """
    body = request.body(CodeOrderPlacement)
    partner_id = request.partner_id
    draft = CodeOrderDraft(body.count, body.reference, body.note)
    placed: Once[PlacedCodeOrder] = once(request, lambda done: _shown(request, done.order, 201 if done.is_new else 200))
    answer = await use_cases(request).place_code_order(actor(request), request.program_id, partner_id, draft, placed)
    return respond(request, answer)


@_routes.get("", PartnerCodeOrders, scope="codes:read", query=CodeOrderQuery)
async def list_all(request: Request) -> web.StreamResponse:
    """List your orders of codes, pending ones first, then the newest."""
    query = request.query(CodeOrderQuery)
    wanted = CodeOrderFilter(
        program_id=request.program_id, partner_id=request.partner_id, state=query.state, reference=query.reference
    )
    page = await use_cases(request).read_code_orders(wanted, query.place, query.limit)
    shown = [PartnerCodeOrder.of(order, is_test=request.is_test) for order in page.items]
    return json_response(PartnerCodeOrders(orders=shown, next_cursor=query.cursor_of(page.next_after)))


@_routes.get("/{code_order_id}", OnePartnerCodeOrder, scope="codes:read")
async def get(request: Request) -> web.StreamResponse:
    """Show one of your orders of codes."""
    return _shown(request, await use_cases(request).read_code_orders.one(_wanted(request)))


@_routes.post(
    "/{code_order_id}/cancel",
    OnePartnerCodeOrder,
    scope="codes:generate",
    idempotent=True,
    refusals={409: "It has been decided (`code_order_decided`)"},
)
async def cancel(request: Request) -> web.StreamResponse:
    """Cancel one of your orders of codes while it is pending."""
    done: Once[CodeOrder] = once(request, lambda order: _shown(request, order))
    decide = use_cases(request).decide_code_order
    return respond(request, await decide(actor(request), _wanted(request), "cancel", done))


ROUTES: Final = tuple(_routes.all)
