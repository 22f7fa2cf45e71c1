"""`/v1/promotion-codes`: the strings that customers type, in the dialect of coupon clients."""

from functools import partial
from typing import Any, Final

from aiohttp import web
from pydantic import Field, model_validator

from services.codes.api.context import actor, id_or_none_such, naming, once, partner_in, use_cases
from services.codes.api.fields import ExternalID, QueryBool, QueryEmail, UUIDCode, is_true
from services.codes.api.listed_codes import ListedCodes
from services.codes.api.management.answers import (
    ChangedCodeAnswer,
    CouponData,
    Outcome,
    OutcomeAnswer,
    PromotionCodeAnswer,
    PromotionCodeData,
    ShownCodeAnswer,
    promotion_code_data,
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
    NamedCodeChange,
    PromotionCodeChange,
    PromotionCodeCreation,
    code_changes,
    new_code,
)
from services.codes.api.management.words import CODE_WORDS
from services.codes.domain.code_terms import CodeTerms
from services.codes.domain.coupons import CouponRef
from services.codes.domain.given import Given
from services.codes.domain.promotion_codes import CodeFilter, CodeRef, ShownCode
from shared.idempotency import Once
from shared.web import CountedQuery, Request, RequestModel, ResponseModel, Route, Text, json_response, respond

_CREATED: Final = "Promotion code created in the app successfully."
_UPDATED: Final = "Promotion code updated in the app successfully."
_DELETED: Final = "Promotion code deleted from the app successfully."


class CodesQuery(ListedCodes, NumberedQuery, CountedQuery):
    """The codes to list; every given filter must match."""

    code: Text | None = Field(None, description="In any spelling.")
    coupon_id: Text | None = Field(None, description="The coupon's id or `uuid_code`.")
    partner_id: Text | None = None
    partner_email: QueryEmail | None = None
    external_id: Text | None = None
    customer_id: Text | None = None
    batch_id: Text | None = Field(None, description="The job that created them.")
    active: QueryBool | None = Field(
        None, description="With it, a page may be short before the end; continue while there is a `meta.next_cursor`."
    )


class PromotionCodePage(ResponseModel):
    """A page of codes, newest first, or with a prefix in the order of their characters."""

    data: list[PromotionCodeData]
    links: NumberedLinks
    meta: NumberedMeta
    status: int


_SHOWN_OF_COUPONS: Final = CouponData.model_fields.keys() - {"uuid_code"}


class CouponOfCode(RequestModel):
    """The coupon that the code must belong to; clients send the whole coupon, of which only `uuid_code` is read."""

    uuid_code: UUIDCode

    @model_validator(mode="before")
    @classmethod
    def _by_its_name(cls, coupon: Any) -> Any:
        if not isinstance(coupon, dict):
            return coupon
        return {name: value for name, value in coupon.items() if name not in _SHOWN_OF_COUPONS}


class NamedCode(RequestModel):
    """The code, in any spelling."""

    code: ExternalID
    coupon: CouponOfCode | None = None


def _answer(shown: ShownCode, message: str, status: int = 200) -> web.Response:
    return json_response(PromotionCodeAnswer(data=promotion_code_data(shown), message=message), status)


def _ref(request: Request) -> CodeRef:
    return CodeRef(request.path("code"))


async def create(request: Request) -> web.StreamResponse:
    """Create a code."""
    body = request.body(PromotionCodeCreation)
    made: Once[ShownCode] = once(request, lambda shown: _answer(shown, _CREATED, 201))
    with naming(CODE_WORDS):
        answer = await use_cases(request).create_promotion_code(
            actor(request), request.program_id, CouponRef(body.coupon_uuid), new_code(request, body), made
        )
    return respond(request, answer)


async def list_all(request: Request) -> web.StreamResponse:
    """List the program's codes."""
    query = request.query(CodesQuery)
    wanted = CodeFilter(
        code=query.code,
        coupon=query.coupon_id,
        partner_id=None if query.partner_id is None else partner_in(request, query.partner_id),
        partner_email=query.partner_email,
        external_id=query.external_id,
        customer_id=query.customer_id,
        batch_id=id_or_none_such(query.batch_id),
        is_active=is_true(query.active),
        **query.filters,
    )
    read_codes = use_cases(request).read_promotion_codes
    page = await read_codes(request.program_id, wanted, query.last_id, query.offset, query.limit)
    count = await read_codes.count(request.program_id, wanted) if query.count else None
    return numbered_page(request, query, [promotion_code_data(code) for code in page.codes], page.next_after, count)


async def get(request: Request) -> web.StreamResponse:
    """Show a code."""
    shown = await use_cases(request).read_promotion_codes.one(request.program_id, _ref(request))
    return json_response(ShownCodeAnswer(data=promotion_code_data(shown)))


async def change(request: Request) -> web.StreamResponse:
    """Change the code in the path."""
    changes = code_changes(request, request.body(PromotionCodeChange))
    return _answer(await _changed(request, _ref(request), changes), _UPDATED)


async def change_named(request: Request) -> web.StreamResponse:
    """Change the code that the body names, and redeem it if requested."""
    body = request.body(NamedCodeChange)
    forwarded = authorization(request) if body.redeem else ""
    shown = await _changed(request, CodeRef(body.code, is_code=True), code_changes(request, body).without("code"))
    if not body.redeem or body.transaction_key is None:
        return json_response(ChangedCodeAnswer(data=promotion_code_data(shown), message=_UPDATED, redemption=None))
    outcome, shown, uses = await use_cases(request).redeem_code(
        forwarded, body.transaction_key, shown, request.traceparent
    )
    return json_response(
        ChangedCodeAnswer(
            data=promotion_code_data(shown, uses_data(uses)),
            message=message_of(outcome, _UPDATED),
            redemption=outcome_data(body.transaction_key, outcome),
        )
    )


async def _changed(request: Request, ref: CodeRef, changes: Given[CodeTerms]) -> ShownCode:
    with naming(CODE_WORDS):
        return await use_cases(request).change_promotion_code(actor(request), request.program_id, ref, changes)


async def archive(request: Request) -> web.StreamResponse:
    """Archive the code in the path."""
    code = await use_cases(request).archive_promotion_code(actor(request), request.program_id, _ref(request))
    shown = await use_cases(request).read_promotion_codes.one(request.program_id, CodeRef(str(code.id)))
    return _answer(shown, _DELETED)


async def archive_named(request: Request) -> web.StreamResponse:
    """Archive the code that the body names."""
    body = request.body(NamedCode)
    coupon = CouponRef(body.coupon.uuid_code, is_uuid_code=True) if body.coupon else None
    await use_cases(request).archive_promotion_code(
        actor(request), request.program_id, CodeRef(body.code, is_code=True), coupon
    )
    return json_response(OutcomeAnswer(data=Outcome(message=_DELETED)))


_PATH: Final = {"code": "The code in any spelling, or its id; an archived code is found only by its id."}
_CONFLICT: Final = "A redemption has frozen its terms (`terms_frozen`)"
_NO_FREE_CODE: Final = "No code in the program's format is available (`no_free_code`)"
_TAKEN: Final = "The code or the external id is taken (`code_taken`, `external_id_taken`)"

_route = partial(Route, tag="promotion codes", security="bearer", scope="manage", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/promotion-codes",
        handler=create,
        summary="Create a promotion code",
        description="If the code is absent, it is generated.",
        body=PromotionCodeCreation,
        idempotent=True,
        responses={201: PromotionCodeAnswer, 409: _NO_FREE_CODE, 422: _TAKEN},
        examples={"request": {"coupon_uuid": "coupon_123", "code": "SPRING-20"}},
    ),
    _route(
        method="GET",
        path="/v1/promotion-codes",
        handler=list_all,
        summary="List promotion codes, newest first",
        query=CodesQuery,
        responses={200: PromotionCodePage},
    ),
    _route(
        method="PUT",
        path="/v1/promotion-codes",
        handler=change_named,
        summary="Change the promotion code that the body names",
        body=NamedCodeChange,
        description=REDEEMING,
        is_traced=True,
        responses={200: ChangedCodeAnswer, 404: "No such code", 409: _CONFLICT, 422: _TAKEN, 502: MISDIRECTED},
        examples={"request": {"code": "SPRING-20", "metadata": {"channel": "mail"}}},
    ),
    _route(
        method="DELETE",
        path="/v1/promotion-codes",
        handler=archive_named,
        summary="Archive the promotion code that the body names",
        body=NamedCode,
        responses={200: OutcomeAnswer, 404: "No such code"},
        examples={"request": {"code": "SPRING-20", "coupon": {"uuid_code": "coupon_123"}}},
    ),
    _route(
        method="GET",
        path="/v1/promotion-codes/{code}",
        handler=get,
        summary="Show a promotion code",
        path_descriptions=_PATH,
        responses={200: ShownCodeAnswer, 404: "No such code"},
    ),
    _route(
        method="PATCH",
        path="/v1/promotion-codes/{code}",
        handler=change,
        summary="Change a promotion code",
        path_descriptions=_PATH,
        body=PromotionCodeChange,
        responses={200: PromotionCodeAnswer, 404: "No such code", 409: _CONFLICT, 422: _TAKEN},
        examples={"request": {"active": False}},
    ),
    _route(
        method="DELETE",
        path="/v1/promotion-codes/{code}",
        handler=archive,
        summary="Archive a promotion code",
        description="Its string becomes available again; redemptions are unchanged.",
        path_descriptions=_PATH,
        responses={200: PromotionCodeAnswer, 404: "No such code"},
    ),
)
