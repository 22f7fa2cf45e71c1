"""`/api/v1/promotional-codes`: codes queried by affiliate, coupon and other filters, in camel case."""

import uuid
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, id_or_none_such, naming, once, partner_in, use_cases
from services.codes.api.fields import QueryEmail
from services.codes.api.listed_codes import ListedCodes
from services.codes.api.query.answers import PromotionalCode, PromotionalCodes, promotional_code
from services.codes.api.query.pages import CamelPage, CamelResponse, array
from services.codes.api.query.requests import (
    PromotionalCodeChange,
    PromotionalCodeCreation,
    PromotionalCodeDeletion,
    code_changes,
    new_code,
)
from services.codes.api.query.words import CODE_WORDS
from services.codes.domain.coupons import CouponRef, id_in
from services.codes.domain.promotion_codes import CodeFilter, CodeRef, ShownCode
from shared.clock import utc_now
from shared.idempotency import Once
from shared.known_ids import NOBODY
from shared.web import Request, Route, Text, json_response, not_found, respond


class PromotionalCodesQuery(ListedCodes, CamelPage):
    """The codes to return; every given filter must match."""

    id: Text | None = Field(None, description="One code, by its id.")
    code: Text | None = Field(None, description="One code, by its string in any spelling.")
    external_id: Text | None = Field(None, description="One code, by its external id.")
    coupon_id: Text | None = Field(None, description="The codes of a coupon, by its id or `uuid_code`.")
    affiliate_id: Text | None = Field(None, description="The codes of an affiliate.")
    affiliate_email: QueryEmail | None = Field(
        None, description="The codes of an affiliate, by e-mail; a `+` in it is a plus, escaped or not."
    )
    batch_id: Text | None = Field(None, description="The codes that a job has created.")

    @property
    def is_for_one(self) -> bool:
        """Whether one object is requested and not an array."""
        return any(name is not None for name in (self.id, self.code, self.external_id))


class DeletedCode(CamelResponse):
    """The code that was archived."""

    id: uuid.UUID
    code: str


class CodeDeletion(CamelResponse):
    """What was done."""

    message: str
    deleted_code: DeletedCode


def _answer(shown: ShownCode, status: int = 200) -> web.Response:
    return json_response(promotional_code(shown, utc_now()), status)


async def query(request: Request) -> web.StreamResponse:
    """Return one code, or all that match."""
    asked = request.query(PromotionalCodesQuery)
    wanted = CodeFilter(
        id=None if asked.id is None else id_in(asked.id) or NOBODY,
        code=asked.code,
        external_id=asked.external_id,
        coupon=asked.coupon_id,
        partner_id=None if asked.affiliate_id is None else partner_in(request, asked.affiliate_id),
        partner_email=asked.affiliate_email,
        batch_id=id_or_none_such(asked.batch_id),
        **asked.filters,
    )

    async def read(after: uuid.UUID | None, limit: int) -> tuple[list[PromotionalCode], uuid.UUID | None]:
        page = await use_cases(request).read_promotion_codes(request.program_id, wanted, after, 0, limit)
        now = utc_now()
        return [promotional_code(code, now) for code in page.codes], page.next_after

    if not asked.is_for_one:
        return await array(request, asked, read)
    codes, _ = await read(asked.last_id, 1)
    if not codes:
        named = {"id": asked.id, "code": asked.code, "externalId": asked.external_id}
        given = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
        raise not_found(f"There is no promotional code with {given}.")
    return json_response(codes[0])


async def create(request: Request) -> web.StreamResponse:
    """Create a code."""
    body = request.body(PromotionalCodeCreation)
    made: Once[ShownCode] = once(request, lambda shown: _answer(shown, 201))
    with naming(CODE_WORDS):
        answer = await use_cases(request).create_promotion_code(
            actor(request), request.program_id, CouponRef(body.coupon_id), new_code(request, body), made
        )
    return respond(request, answer)


async def change(request: Request) -> web.StreamResponse:
    """Change a code."""
    body = request.body(PromotionalCodeChange)
    with naming(CODE_WORDS):
        shown = await use_cases(request).change_promotion_code(
            actor(request), request.program_id, _by_id(body.promotional_code_id), code_changes(body)
        )
    return _answer(shown)


async def archive(request: Request) -> web.StreamResponse:
    """Archive a code."""
    ref = _by_id(request.body(PromotionalCodeDeletion).promotional_code_id)
    code = await use_cases(request).archive_promotion_code(actor(request), request.program_id, ref)
    deleted = DeletedCode(id=code.id, code=code.code)
    return json_response(CodeDeletion(message="Promotional code deleted successfully.", deleted_code=deleted))


def _by_id(text: str) -> CodeRef:
    if id_in(text) is None:
        raise not_found(f"There is no promotional code with id {text}.")
    return CodeRef(text)


_CONFLICT: Final = "A redemption has frozen its terms (`terms_frozen`)"
_TAKEN: Final = "The code or the external id is taken (`code_taken`, `external_id_taken`)"

_route = partial(Route, tag="promotional codes", security="bearer", scope="manage", family="query")

ROUTES: Final = (
    _route(
        method="GET",
        path="/api/v1/promotional-codes",
        handler=query,
        summary="Query promotional codes",
        description="One object if `id`, `code` or `externalId` is given (404 if there is none), otherwise the whole "
        "array, newest first. With `limit` it is a page; while there are more, a `Link` header leads to the next one.",
        query=PromotionalCodesQuery,
        is_linked=True,
        responses={200: PromotionalCodes, 404: "No such code"},
    ),
    _route(
        method="POST",
        path="/api/v1/promotional-codes",
        handler=create,
        summary="Create a promotional code",
        description="If the code is absent, it is composed of `prefix`, `codeStructure` and random characters.",
        body=PromotionalCodeCreation,
        idempotent=True,
        responses={201: PromotionalCode, 409: "No code in this format is available (`no_free_code`)", 422: _TAKEN},
        examples={
            "request": {
                "couponId": "coupon_123",
                "codeStructure": {"couponName": True, "randomChars": True},
                "randomCharsLength": 6,
            }
        },
    ),
    _route(
        method="PUT",
        path="/api/v1/promotional-codes",
        handler=change,
        summary="Change a promotional code",
        body=PromotionalCodeChange,
        responses={200: PromotionalCode, 404: "No such code", 409: _CONFLICT, 422: _TAKEN},
    ),
    _route(
        method="DELETE",
        path="/api/v1/promotional-codes",
        handler=archive,
        summary="Archive a promotional code",
        description="Its string becomes available again. To stop it temporarily, make it inactive.",
        body=PromotionalCodeDeletion,
        responses={200: CodeDeletion, 404: "No such code"},
    ),
)
