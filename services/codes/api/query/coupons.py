"""`/api/v1/coupons`: coupons in the query API, in camel case."""

import uuid
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, naming, once, use_cases
from services.codes.api.query.answers import QueryCoupon, QueryCoupons, query_coupon
from services.codes.api.query.pages import CamelPage, CamelResponse, array
from services.codes.api.query.requests import (
    QueryCouponChange,
    QueryCouponCreation,
    QueryCouponDeletion,
    coupon_changes,
)
from services.codes.api.query.words import COUPON_WORDS
from services.codes.domain.coupon_terms import CouponDraft
from services.codes.domain.coupons import CouponFilter, CouponRef, id_in
from services.codes.domain.promotion_codes import ShownCoupon
from shared.clock import utc_now
from shared.idempotency import Once
from shared.web import Request, Route, Text, json_response, not_found, respond


class CouponsQuery(CamelPage):
    """The coupons to return; every given filter must match."""

    id: Text | None = Field(None, description="One coupon, by its id.")
    external_id: Text | None = Field(None, description="One coupon, by its external id.")
    name: Text | None = None


class DeletedCoupon(CamelResponse):
    """The coupon that was archived."""

    id: uuid.UUID
    name: str


class CouponDeletion(CamelResponse):
    """What was done."""

    message: str
    deleted_coupon: DeletedCoupon


def _answer(shown: ShownCoupon, status: int = 200) -> web.Response:
    return json_response(query_coupon(shown, utc_now()), status)


async def query(request: Request) -> web.StreamResponse:
    """Return one coupon, or all that match."""
    asked = request.query(CouponsQuery)
    if asked.id is not None or asked.external_id is not None:
        return _answer(await _one(request, asked))
    wanted = CouponFilter(name=asked.name)

    async def read(after: uuid.UUID | None, limit: int) -> tuple[list[QueryCoupon], uuid.UUID | None]:
        page = await use_cases(request).read_coupons(request.program_id, wanted, after, 0, limit)
        now = utc_now()
        return [query_coupon(coupon, now) for coupon in page.items], page.next_after

    return await array(request, asked, read)


async def _one(request: Request, asked: CouponsQuery) -> ShownCoupon:
    read = use_cases(request).read_coupons
    if asked.external_id is not None:
        shown = await read.by_external_id(request.program_id, asked.external_id)
    else:
        shown = await read.one(request.program_id, _by_id(asked.id or ""))
    coupon = shown.coupon
    fits = asked.id in (None, str(coupon.id)) and asked.name in (None, coupon.name) and coupon.archived_at is None
    if not fits:
        raise not_found("There is no coupon with this id, externalId and name.")
    return shown


async def create(request: Request) -> web.StreamResponse:
    """Create a coupon."""
    body = request.body(QueryCouponCreation)
    draft = CouponDraft(terms=coupon_changes(body))
    made: Once[ShownCoupon] = once(request, lambda shown: _answer(shown, 201))
    with naming(COUPON_WORDS):
        answer = await use_cases(request).create_coupon(actor(request), request.program_id, draft, (), made)
    return respond(request, answer)


async def change(request: Request) -> web.StreamResponse:
    """Change a coupon."""
    body = request.body(QueryCouponChange)
    with naming(COUPON_WORDS):
        shown = await use_cases(request).change_coupon(
            actor(request), request.program_id, CouponRef(body.coupon_id), coupon_changes(body)
        )
    return _answer(shown)


async def archive(request: Request) -> web.StreamResponse:
    """Archive a coupon and its codes."""
    ref = CouponRef(request.body(QueryCouponDeletion).coupon_id)
    coupon = await use_cases(request).archive_coupon(actor(request), request.program_id, ref)
    deleted = DeletedCoupon(id=coupon.id, name=coupon.name)
    return json_response(CouponDeletion(message="Coupon deleted successfully.", deleted_coupon=deleted))


def _by_id(text: str) -> CouponRef:
    if id_in(text) is None:
        raise not_found(f"There is no coupon with id {text}.")
    return CouponRef(text)


_HAS_TO_STAY: Final = "The program needs it (`partner_coupon_needed`), or it has too many codes (`too_many_codes`)"
_TAKEN: Final = "The external id is taken (`external_id_taken`)"

_route = partial(Route, tag="query coupons", security="bearer", scope="manage", family="query")

ROUTES: Final = (
    _route(
        method="GET",
        path="/api/v1/coupons",
        handler=query,
        summary="Query coupons",
        description="One object if `id` or `externalId` is given (404 if there is none), otherwise the whole array, "
        "newest first. With `limit` it is a page; while there are more, a `Link` header leads to the next one.",
        query=CouponsQuery,
        is_linked=True,
        responses={200: QueryCoupons, 404: "No such coupon"},
    ),
    _route(
        method="POST",
        path="/api/v1/coupons",
        handler=create,
        summary="Create a coupon with percentOff or amountOff",
        body=QueryCouponCreation,
        idempotent=True,
        responses={201: QueryCoupon, 422: _TAKEN},
        examples={"request": {"name": "Spring", "percentOff": 20, "duration": "repeating", "durationInMonths": 3}},
    ),
    _route(
        method="PUT",
        path="/api/v1/coupons",
        handler=change,
        summary="Change a coupon",
        body=QueryCouponChange,
        responses={
            200: QueryCoupon,
            404: "No such coupon",
            409: "A redemption has frozen its terms (`terms_frozen`)",
            422: _TAKEN,
        },
    ),
    _route(
        method="DELETE",
        path="/api/v1/coupons",
        handler=archive,
        summary="Archive a coupon and its codes",
        body=QueryCouponDeletion,
        responses={200: CouponDeletion, 404: "No such coupon", 409: _HAS_TO_STAY},
    ),
)
