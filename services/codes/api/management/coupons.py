"""`/v1/coupons`: the terms that codes share, in the dialect of coupon clients."""

from functools import partial
from typing import Final

from aiohttp import web

from services.codes.api.context import actor, naming, once, use_cases
from services.codes.api.fields import QueryBool, UUIDCode, is_true
from services.codes.api.management.answers import (
    ChangedCouponAnswer,
    CouponAnswer,
    CouponData,
    Outcome,
    OutcomeAnswer,
    ShownCouponAnswer,
    coupon_data,
)
from services.codes.api.management.coupon_dry_runs import (
    ChangedOrTriedCoupon,
    CouponOrTriedCoupon,
    DryRunQuery,
    TriedCouponAnswer,
    tried_response,
)
from services.codes.api.management.pages import NumberedLinks, NumberedMeta, NumberedQuery, numbered_page
from services.codes.api.management.redeeming import (
    MISDIRECTED,
    REDEEMING,
    authorization,
    message_of,
    outcome_data,
    uses_data,
)
from services.codes.api.management.requests import (
    CouponChange,
    CouponCreation,
    NamedCouponChange,
    coupon_changes,
    new_code,
    new_coupon,
)
from services.codes.api.management.words import CODE_WORDS, COUPON_MEMBERS
from services.codes.domain.coupons import CouponFilter, CouponRef
from services.codes.domain.promotion_codes import ShownCoupon
from shared.idempotency import Once
from shared.web import (
    CountedQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    invalid_field,
    json_response,
    respond,
)

_CREATED: Final = "Coupon created in the app successfully."
_UPDATED: Final = "Coupon updated in the app successfully."
_DELETED: Final = "Coupon deleted from the app successfully."


class CouponsQuery(NumberedQuery, CountedQuery):
    """The coupons to list."""

    external_id: Text | None = None
    name: Text | None = None
    active: QueryBool | None = None


class CouponPage(ResponseModel):
    """A page of coupons, newest first."""

    data: list[CouponData]
    links: NumberedLinks
    meta: NumberedMeta
    status: int


class NamedCoupon(RequestModel):
    """The coupon to archive."""

    uuid_code: UUIDCode


def _answer(shown: ShownCoupon, message: str, status: int = 200) -> web.Response:
    return json_response(CouponAnswer(data=coupon_data(shown), message=message), status)


def _ref(request: Request) -> CouponRef:
    return CouponRef(request.path("coupon"))


async def create(request: Request) -> web.StreamResponse:
    """Create a coupon, with codes if requested."""
    body = request.body(CouponCreation)
    codes = [new_code(request, code) for code in body.promotion_codes]
    if request.query(DryRunQuery).is_dry_run:
        with naming(COUPON_MEMBERS, of_each=CODE_WORDS):
            return tried_response(
                await use_cases(request).create_coupon.dry_run(
                    actor(request), request.program_id, new_coupon(body), codes
                )
            )
    made: Once[ShownCoupon] = once(request, lambda shown: _answer(shown, _CREATED, 201))
    with naming(COUPON_MEMBERS, of_each=CODE_WORDS):
        answer = await use_cases(request).create_coupon(
            actor(request), request.program_id, new_coupon(body), codes, made
        )
    return respond(request, answer)


async def list_all(request: Request) -> web.StreamResponse:
    """List the program's coupons."""
    query = request.query(CouponsQuery)
    wanted = CouponFilter(query.external_id, query.name, is_true(query.active))
    read_coupons = use_cases(request).read_coupons
    page = await read_coupons(request.program_id, wanted, query.last_id, query.offset, query.limit)
    count = await read_coupons.count(request.program_id, wanted) if query.count else None
    return numbered_page(request, query, [coupon_data(coupon) for coupon in page.items], page.next_after, count)


async def get(request: Request) -> web.StreamResponse:
    """Show a coupon."""
    shown = await use_cases(request).read_coupons.one(request.program_id, _ref(request))
    return json_response(ShownCouponAnswer(data=coupon_data(shown)))


async def change(request: Request) -> web.StreamResponse:
    """Change the coupon in the path."""
    if request.query(DryRunQuery).is_dry_run:
        return await _try_change(request, _ref(request), request.body(CouponChange))
    return _answer(await _changed(request, _ref(request), request.body(CouponChange)), _UPDATED)


async def change_named(request: Request) -> web.StreamResponse:
    """Change the coupon that the body names, and redeem it if requested."""
    body = request.body(NamedCouponChange)
    ref = CouponRef(body.uuid_code, is_uuid_code=True)
    if request.query(DryRunQuery).is_dry_run:
        if body.redeem:
            raise invalid_field("redeem", "The redeem field must be false in a dry run.")
        return await _try_change(request, ref, body)
    if not body.redeem or body.transaction_key is None:
        data = coupon_data(await _changed(request, ref, body))
        return json_response(ChangedCouponAnswer(data=data, message=_UPDATED, redemption=None))
    redeem_code, forwarded = use_cases(request).redeem_code, authorization(request)
    code = await redeem_code.code_of(request.program_id, ref, body.code)
    shown = await _changed(request, ref, body)
    outcome, shown, uses = await redeem_code.of_coupon(
        forwarded, body.transaction_key, shown, code, request.traceparent
    )
    return json_response(
        ChangedCouponAnswer(
            data=coupon_data(shown, uses_data(uses)),
            message=message_of(outcome, _UPDATED),
            redemption=outcome_data(body.transaction_key, outcome),
        )
    )


async def _changed(request: Request, ref: CouponRef, body: CouponChange) -> ShownCoupon:
    with naming(COUPON_MEMBERS):
        return await use_cases(request).change_coupon(
            actor(request), request.program_id, ref, coupon_changes(body), body.provider
        )


async def _try_change(request: Request, ref: CouponRef, body: CouponChange) -> web.Response:
    with naming(COUPON_MEMBERS):
        return tried_response(
            await use_cases(request).change_coupon.dry_run(
                actor(request), request.program_id, ref, coupon_changes(body), body.provider
            )
        )


async def archive(request: Request) -> web.StreamResponse:
    """Archive the coupon in the path."""
    coupon = await use_cases(request).archive_coupon(actor(request), request.program_id, _ref(request))
    return _answer(ShownCoupon(coupon, ()), _DELETED)


async def archive_named(request: Request) -> web.StreamResponse:
    """Archive the coupon that the body names."""
    ref = CouponRef(request.body(NamedCoupon).uuid_code, is_uuid_code=True)
    await use_cases(request).archive_coupon(actor(request), request.program_id, ref)
    return json_response(OutcomeAnswer(data=Outcome(message=_DELETED)))


_REQUEST: Final = {
    "name": "PARTNERO25",
    "uuid_code": "coupon_123",
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 25,
    "coupon_duration_type": "months",
    "coupon_duration_value": 11,
    "redemption_times_status": True,
    "redemption_times_value": 24,
}
_ARCHIVING: Final = (
    "Its codes are archived with it, at most 10,000 at once; redemptions are unchanged. "
    "The coupon of partner-generated codes cannot be archived."
)
_CONFLICT: Final = "A redemption has frozen its terms (`terms_frozen`)"
_HAS_TO_STAY: Final = "The program needs it (`partner_coupon_needed`), or it has too many codes (`too_many_codes`)"
_NO_FREE_CODE: Final = "No code in the program's format is available (`no_free_code`)"
_TAKEN: Final = (
    "A name is taken (`uuid_code_taken`, `external_id_taken`, `code_taken`), or the provider is not "
    "connected (`provider_not_connected`)"
)

_route = partial(Route, tag="coupons", security="bearer", scope="manage", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/coupons",
        handler=create,
        summary="Create a coupon",
        description="The codes in `promotion_codes` are created with it, all or none.",
        body=CouponCreation,
        query=DryRunQuery,
        idempotent=True,
        responses={200: TriedCouponAnswer, 201: CouponAnswer, 409: _NO_FREE_CODE, 422: _TAKEN},
        examples={"request": _REQUEST},
    ),
    _route(
        method="GET",
        path="/v1/coupons",
        handler=list_all,
        summary="List coupons, newest first",
        query=CouponsQuery,
        responses={200: CouponPage},
    ),
    _route(
        method="PUT",
        path="/v1/coupons",
        handler=change_named,
        summary="Change the coupon that the body names",
        body=NamedCouponChange,
        query=DryRunQuery,
        description=REDEEMING,
        is_traced=True,
        responses={200: ChangedOrTriedCoupon, 404: "No such coupon", 409: _CONFLICT, 422: _TAKEN, 502: MISDIRECTED},
        examples={"request": {"uuid_code": "coupon_123", "name": "Spring"}},
    ),
    _route(
        method="DELETE",
        path="/v1/coupons",
        handler=archive_named,
        summary="Archive the coupon that the body names",
        description=_ARCHIVING,
        body=NamedCoupon,
        responses={200: OutcomeAnswer, 404: "No such coupon", 409: _HAS_TO_STAY},
        examples={"request": {"uuid_code": "coupon_123"}},
    ),
    _route(
        method="GET",
        path="/v1/coupons/{coupon}",
        handler=get,
        summary="Show a coupon",
        path_descriptions={"coupon": "The coupon's id or `uuid_code`; an archived coupon is found only by its id."},
        responses={200: ShownCouponAnswer, 404: "No such coupon"},
    ),
    _route(
        method="PATCH",
        path="/v1/coupons/{coupon}",
        handler=change,
        summary="Change a coupon",
        path_descriptions={"coupon": "The coupon's id or `uuid_code`."},
        body=CouponChange,
        query=DryRunQuery,
        responses={200: CouponOrTriedCoupon, 404: "No such coupon", 409: _CONFLICT, 422: _TAKEN},
        examples={"request": {"active": False}},
    ),
    _route(
        method="DELETE",
        path="/v1/coupons/{coupon}",
        handler=archive,
        summary="Archive a coupon",
        description=_ARCHIVING,
        path_descriptions={"coupon": "The coupon's id or `uuid_code`."},
        responses={200: CouponAnswer, 404: "No such coupon", 409: _HAS_TO_STAY},
    ),
)
