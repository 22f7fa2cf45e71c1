"""`/api/partners`: the partner API, in the shape that partners know; its texts and members are fixed."""

import math
import uuid
from functools import partial
from typing import Any, Final, Literal

from aiohttp import hdrs, web
from pydantic import Field

from services.codes.api.context import once, use_cases
from services.codes.api.fields import Reference
from services.codes.api.listed_codes import ListedCodes
from services.codes.domain.access import Actor
from services.codes.domain.codes import IssuedCode
from services.codes.domain.errors import Missing
from services.codes.domain.minting import Minted, MintOutcome, RateState, Refused, code_link
from services.codes.domain.promotion_codes import CodeFilter
from services.codes.usecases.generate_code import Wanted
from shared.idempotency import Answer, Once
from shared.times import format_milliseconds
from shared.web import (
    CountedQuery,
    CountMembers,
    HTTPProblem,
    MillisecondMoment,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    absent_by_default,
    count_members,
    invalid_api_key,
    json_answer,
    json_response,
    rate_limit_headers,
    rate_limited,
    respond,
)


class Generation(RequestModel):
    """The partner's reference for the code, if it has one."""

    reference: Reference | None = Field(
        None,
        description="Your own name for the code, such as an order number. A repeat with the same reference returns the "
        "same code, whatever its state, and charges nothing, as long as your account is active. The reference is "
        "available again once the code is archived.",
    )


class GeneratedCode(ResponseModel):
    """A code. The last two members are present only if the request has a `reference`."""

    ok: Literal[True] = True
    code: str = Field(description="The partner's prefix and random characters.")
    url: str = Field(description="Link that applies the code at checkout.")
    expires_at: MillisecondMoment | None = Field(description="Null only if the merchant has removed the expiry since.")
    reference: str = Field("", description="As given.", json_schema_extra=absent_by_default)
    codes_remaining: int = Field(
        0, description="The number of codes that you have left.", json_schema_extra=absent_by_default
    )


class PartnerCode(ResponseModel):
    """A code of the partner and its use."""

    id: uuid.UUID
    code: str
    url: str | None = Field(description="Null until the merchant has set the address for links.")
    expires_at: MillisecondMoment | None
    status: Literal["active", "redeemed", "expired", "inactive"]
    times_redeemed: int
    last_redeemed_at: MillisecondMoment | None
    created_at: MillisecondMoment
    reference: str | None = Field(description="The reference that was given when it was generated.")
    is_test: bool


class OnePartnerCode(PartnerCode):
    """One code of the partner."""

    ok: Literal[True] = True


class PartnerCodes(CountMembers):
    """A page of codes, newest first, or with a prefix in the order of their characters."""

    ok: Literal[True] = True
    codes: list[PartnerCode]
    next_cursor: str | None


class PartnerQuota(ResponseModel):
    """The partner's quota and its use."""

    ok: Literal[True] = True
    granted: int
    adjusted: int
    minted: int
    refunded: int
    remaining: int
    codes_remaining: int = Field(description="The same as `remaining`, with the name used in webhooks.")
    is_test: bool


class CodesQuery(ListedCodes, PageQuery, CountedQuery):
    """The codes to list; every given filter must match."""

    reference: Text | None = Field(None, description="The code that was generated with this reference.")
    external_id: Text | None = Field(None, description="The code with this external id.")


async def generate(request: Request) -> web.StreamResponse:
    """Mint one code."""
    partner_id = request.partner_id  # refuses a program's key
    if (account := request.account) is not None:
        await use_cases(request).admit_account(account.id, request.program_id, partner_id)
    wanted = Wanted(request.credential, request.body(Generation).reference)
    if request.idempotency_key is None:
        return _render(request, await use_cases(request).generate_code.outcome(wanted))
    made: Once[MintOutcome] = once(request, lambda outcome: _answer(request, outcome))
    return respond(request, await use_cases(request).generate_code(wanted, made))


def _render(request: Request, outcome: MintOutcome) -> web.Response:
    headers = _rate_headers(outcome.rate)
    if isinstance(outcome, Minted):
        return json_response(_shown(outcome), headers=headers)
    response = request.render(_problem(outcome))
    response.headers.update(headers)
    return response


def _answer(request: Request, outcome: MintOutcome) -> web.Response | Answer:
    # Written twice for a code that one statement minted: to be stored with it, and with the state of its rate limit.
    if isinstance(outcome, Minted):
        return json_answer(_shown(outcome), headers=_rate_headers(outcome.rate))
    return _render(request, outcome)


def _shown(minted: Minted) -> dict[str, Any]:
    body = {
        "ok": True,
        "code": minted.code,
        "url": minted.link,
        "expires_at": format_milliseconds(minted.expires_at) if minted.expires_at else None,
    }
    if minted.reference is not None:
        body |= {"reference": minted.reference, "codes_remaining": minted.remaining}
    return body


def _problem(refused: Refused) -> HTTPProblem:
    match refused.reason:
        case "invalid_key":
            return invalid_api_key()
        case "partner_not_active":
            return HTTPProblem(403, "partner_inactive", "Partner account is not active")
        case "coupon_inactive":
            return HTTPProblem(403, "coupon_inactive", "Codes are not being issued at present")
        case "link_url_missing":
            return HTTPProblem(
                403,
                "link_url_missing",
                "The merchant has not set link_url, so a code would lead nowhere; nothing is used",
            )
        case "no_codes_remaining":
            return HTTPProblem(403, "quota_exhausted", "No codes remaining")
        case "rate_limited":
            rate = refused.rate
            if rate is None:
                raise ValueError("only a key with a limit can reach it")
            return rate_limited(rate.limit, math.ceil(rate.resets_in_seconds))


def _rate_headers(rate: RateState | None) -> dict[str, str]:
    if rate is None:
        return {}
    return rate_limit_headers(rate.limit, rate.limit - rate.used, math.ceil(rate.resets_in_seconds))


async def list_codes(request: Request) -> web.StreamResponse:
    """List the partner's codes."""
    query = request.query(CodesQuery)
    read_codes = use_cases(request).read_codes
    wanted = CodeFilter(
        partner_id=request.partner_id, reference=query.reference, external_id=query.external_id, **query.filters
    )
    page = await read_codes(request.program_id, wanted, query.last_id, query.limit)
    count = await read_codes.count(request.program_id, wanted) if query.count else None
    return json_response(
        {
            "ok": True,
            "codes": [_code(request, code).model_dump(mode="json") for code in page.codes],
            "next_cursor": query.cursor_after(page.next_after) if page.next_after else None,
            **count_members(count),
        }
    )


async def get_code(request: Request) -> web.StreamResponse:
    """Show one code, by its id or in any spelling."""
    try:
        code = await use_cases(request).read_codes.one(request.program_id, request.partner_id, request.path("code"))
    except Missing:
        if request.path("code") != "generate":
            raise
        # There is no code of this name, so the path is only that of the mint.
        detail = "This path accepts POST."
        raise HTTPProblem(405, "method_not_allowed", detail, headers={"Allow": hdrs.METH_POST}) from None
    return json_response({"ok": True, **_code(request, code).model_dump(mode="json")})


async def get_quota(request: Request) -> web.StreamResponse:
    """Show the remaining codes."""
    confined = Actor(request.program_id, "partner")
    quota = (await use_cases(request).read_partners.one(confined, request.partner_id)).quota
    return json_response(
        PartnerQuota(
            granted=quota.granted,
            adjusted=quota.adjusted,
            minted=quota.minted,
            refunded=quota.refunded,
            remaining=quota.remaining,
            codes_remaining=quota.remaining,
            is_test=request.is_test,
        )
    )


def _code(request: Request, code: IssuedCode) -> PartnerCode:
    return PartnerCode.of(code, url=code_link(code.link_url, code.code), is_test=request.is_test)


_route = partial(Route, tag="partner", security="partner_key", scope="codes:read", family="partner")

ROUTES: Final = (
    _route(
        method="POST",
        path="/api/partners/codes/generate",
        handler=generate,
        summary="Mint a unique, single-use promo code",
        description="One code per call. Send no body, `{}`, or your own `reference`, for which a repeat returns the "
        "same code.",
        scope="codes:generate",
        body=Generation,
        body_required=False,
        idempotent=True,
        rate_limited=True,
        responses={
            200: GeneratedCode,
            403: "Partner account is not active, or no codes remaining, or codes are not being issued at present "
            "(`coupon_inactive`), or the merchant has not set the address for links (`link_url_missing`), or the key "
            "lacks the scope",
        },
        examples={
            200: {
                "ok": True,
                "code": "PREFIX-1A0A48C0",
                "url": "https://cinematiccard.com/?promo=PREFIX-1A0A48C0",
                "expires_at": "2026-03-18T23:29:28.917Z",
            }
        },
    ),
    _route(
        method="GET",
        path="/api/partners/codes",
        handler=list_codes,
        summary="List your codes, newest first",
        query=CodesQuery,
        responses={200: PartnerCodes},
    ),
    _route(
        method="GET",
        path="/api/partners/codes/{code}",
        handler=get_code,
        summary="Show one of your codes",
        path_descriptions={
            "code": "The code's id, or the code itself in any spelling: case, dashes and spaces are ignored."
        },
        responses={200: OnePartnerCode, 404: "No such code"},
    ),
    _route(
        method="GET",
        path="/api/partners/quota",
        handler=get_quota,
        summary="Show the number of codes that you have left",
        responses={200: PartnerQuota},
    ),
)
