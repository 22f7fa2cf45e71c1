"""`/v1/partners/{partner_id}/quota`: the codes that a partner may still mint, and every movement."""

import uuid
from functools import partial
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field, model_validator

from services.codes.api.context import actor, once, use_cases
from services.codes.domain.quota import LedgerEntry, Quota
from shared.idempotency import Once
from shared.web import (
    Data,
    Int,
    Moment,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    data_response,
    field_error,
    page_of,
    respond,
)

MAX_AMOUNT: Final = 1_000_000_000


class QuotaMove(RequestModel):
    """A movement of the quota; `refund` is for the operator."""

    amount: Annotated[Int, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)] = Field(
        description="Positive; an adjustment may be negative."
    )
    kind: Literal["grant", "adjustment", "refund"] = "grant"
    reason: Text | None = None

    @model_validator(mode="after")
    def _amount_fits_kind(self) -> "QuotaMove":
        if self.amount == 0:
            raise field_error("amount", "must not be 0")
        if self.amount < 0 and self.kind != "adjustment":
            raise field_error("amount", "must be greater than 0, unless it is an adjustment")
        return self


class QuotaData(ResponseModel):
    """A partner's quota and its use: remaining = granted + adjusted - minted + refunded."""

    granted: int
    adjusted: int
    minted: int
    refunded: int
    remaining: int
    is_test: bool


class LedgerData(ResponseModel):
    """One movement; a mint names its codes."""

    id: uuid.UUID
    kind: str
    amount: int
    code_ids: list[uuid.UUID]
    actor: str
    reason: str | None
    created_at: Moment
    code_order_id: uuid.UUID | None = Field(description="The order of codes that this grants, if it does.")


def quota_data(quota: Quota, *, test: bool) -> QuotaData:
    """Return a quota in the form of this API."""
    return QuotaData(
        granted=quota.granted,
        adjusted=quota.adjusted,
        minted=quota.minted,
        refunded=quota.refunded,
        remaining=quota.remaining,
        is_test=test,
    )


def _ledger_data(entry: LedgerEntry) -> LedgerData:
    return LedgerData(
        id=entry.id,
        kind=entry.kind,
        amount=entry.amount,
        code_ids=list(entry.code_ids),
        actor=entry.actor,
        reason=entry.reason,
        created_at=entry.created_at,
        code_order_id=entry.code_order_id,
    )


async def get(request: Request) -> web.StreamResponse:
    """Show a partner's quota."""
    partner = await use_cases(request).read_partners.one(actor(request), request.path_id("partner_id"))
    return data_response(quota_data(partner.quota, test=request.is_test))


async def move(request: Request) -> web.StreamResponse:
    """Grant, adjust or refund."""
    body = request.body(QuotaMove)
    moved: Once[Quota] = once(request, lambda quota: data_response(quota_data(quota, test=request.is_test), 201))
    answer = await use_cases(request).move_quota(
        actor(request), request.path_id("partner_id"), body.kind, body.amount, body.reason, moved
    )
    return respond(request, answer)


async def ledger(request: Request) -> web.StreamResponse:
    """List the movements."""
    query = request.query(PageQuery)
    found = await use_cases(request).read_ledger(
        actor(request), request.path_id("partner_id"), query.last_id, query.limit + 1
    )
    return page_of(query, found, _ledger_data)


_route = partial(Route, tag="quota", security="bearer", scope="manage", family="management", operator_allowed=True)

ROUTES: Final = (
    _route(
        method="GET",
        path="/v1/partners/{partner_id}/quota",
        handler=get,
        summary="Show a partner's quota",
        responses={200: Data[QuotaData], 404: "No such partner"},
    ),
    _route(
        method="POST",
        path="/v1/partners/{partner_id}/quota",
        handler=move,
        summary="Grant, adjust or refund a partner's quota",
        body=QuotaMove,
        idempotent=True,
        responses={
            201: Data[QuotaData],
            404: "No such partner",
            409: "The quota would become negative (`quota_would_be_negative`), or the refund exceeds the "
            "mints (`refund_exceeds_mints`)",
        },
        examples={"request": {"amount": 50_000, "reason": "Invoice 2026-118"}},
    ),
    _route(
        method="GET",
        path="/v1/partners/{partner_id}/quota/ledger",
        handler=ledger,
        summary="List the movements of a partner's quota",
        query=PageQuery,
        responses={200: Page[LedgerData], 404: "No such partner"},
    ),
)
