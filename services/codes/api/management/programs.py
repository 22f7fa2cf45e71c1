"""`/v1/programs`: the operator creates and changes programs; a program's own key reads it and changes some settings."""

from decimal import Decimal
from functools import partial
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, given, naming, once, use_cases
from services.codes.api.fields import (
    Alphabet,
    CodeLength,
    CodePacks,
    CodesPerOrder,
    Currency,
    Email,
    Hundredths,
    LifetimeSeconds,
    LinkURL,
    Money,
    Name,
    WebhookAttributes,
)
from services.codes.api.management.words import PROGRAM_MEMBERS
from services.codes.domain.money import in_percent
from services.codes.domain.programs import ChangedProgram, Program, ProgramSettings
from shared.idempotency import Once
from shared.web import (
    Data,
    Moment,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    TenantId,
    Timezone,
    data_response,
    page_of,
    respond,
)


class ProgramCreation(RequestModel):
    """A new program; absent members have their defaults."""

    name: Name
    link_url: LinkURL = Field(
        default_factory=str,
        description="The target of codes' links; `promo=<code>` is added to its query. Required for partners to mint.",
    )
    currency: Currency = Field("USD", description="ISO 4217 code.")
    timezone: Timezone = Field("UTC", description="IANA name; the time zone for days, months and bare dates.")
    support_email: Email | None = None
    code_length: CodeLength = Field(8, description="Characters after the prefix in generated codes.")
    code_alphabet: Alphabet = "0123456789ABCDEF"
    code_lifetime_seconds: LifetimeSeconds = Field(172_800, description="The validity of a generated code.")
    webhook_attributes: WebhookAttributes = Field(
        default_factory=list, description="Checkout attributes in the default webhook body, in this order."
    )
    max_codes_per_order: CodesPerOrder = Field(10, description="The maximum number of codes per order.")
    commission_cap_percent: Hundredths = Field(
        default_factory=lambda: Decimal(100),
        description="The maximum commission of all partners of an order together, as a share of the payment.",
    )
    allow_self_referral: bool = Field(
        True,
        description="Whether partners may buy with their own codes; if false, such uses are refused or earn nothing.",
    )
    code_packs: CodePacks = Field(
        default_factory=list, description="The numbers of codes that partners can order; empty for any number."
    )
    is_demo: bool = Field(
        False, description="Whether made-up history may be written into it (`mintwire demo fill`). Cannot be changed."
    )


class ProgramChange(RequestModel):
    """Settings to change; the others stay."""

    name: Name = Field(default_factory=str)
    link_url: LinkURL = Field(default_factory=str)
    currency: Currency = Field(default_factory=str)
    timezone: Timezone = Field(default_factory=str)
    support_email: Email | None = None
    code_length: CodeLength = Field(default_factory=int)
    code_alphabet: Alphabet = Field(default_factory=str)
    code_lifetime_seconds: LifetimeSeconds = Field(default_factory=int)
    webhook_attributes: WebhookAttributes = Field(default_factory=list)
    max_codes_per_order: CodesPerOrder = Field(default_factory=int)
    commission_cap_percent: Hundredths = Field(default_factory=Decimal)
    allow_self_referral: bool = Field(default_factory=bool)
    code_packs: CodePacks = Field(default_factory=list)


class ProgramData(ResponseModel):
    """A program."""

    id: TenantId
    name: str
    currency: str
    timezone: str
    link_url: str | None
    support_email: str | None
    code_length: int
    code_alphabet: str
    code_lifetime_seconds: int
    webhook_attributes: list[str]
    max_codes_per_order: int
    commission_cap_percent: Money
    allow_self_referral: bool
    code_packs: list[int]
    is_demo: bool
    created_at: Moment
    updated_at: Moment


class ChangedProgramData(ProgramData):
    """A program after a change."""

    shifts: list[str] = Field(
        description="What a new time zone shifts and what it does not; empty if it has not changed."
    )


def _data(program: Program) -> ProgramData:
    return ProgramData(**_members(program))


def _changed_data(changed: ChangedProgram) -> ChangedProgramData:
    before, after = changed.before.settings.timezone, changed.after.settings.timezone
    return ChangedProgramData(**_members(changed.after), shifts=[] if before == after else _shifts(before, after))


def _shifts(before: str, after: str) -> list[str]:
    return [
        f"Limits per day, week and month count days in {after}; uses in the current ones are counted again by these.",
        f"New bare dates are days in {after}, and durations in days, months and years are counted there.",
        f"Coupons and codes keep their exact times: the last moment of a day in {before} need not be one in {after}.",
    ]


def _members(program: Program) -> dict[str, Any]:
    settings = program.settings
    return {
        "id": program.id,
        "name": settings.name,
        "currency": settings.currency,
        "timezone": settings.timezone,
        "link_url": settings.link_url or None,
        "support_email": settings.support_email,
        "code_length": settings.code_length,
        "code_alphabet": settings.code_alphabet,
        "code_lifetime_seconds": settings.code_lifetime_seconds,
        "webhook_attributes": list(settings.webhook_attributes),
        "max_codes_per_order": settings.max_codes_per_order,
        "commission_cap_percent": in_percent(settings.commission_cap_hundredths),
        "allow_self_referral": settings.allow_self_referral,
        "code_packs": list(settings.code_packs),
        "is_demo": settings.is_demo,
        "created_at": program.created_at,
        "updated_at": program.updated_at,
    }


async def create(request: Request) -> web.StreamResponse:
    """Create a program."""
    settings = given(ProgramSettings, request.body(ProgramCreation), PROGRAM_MEMBERS).values
    made: Once[Program] = once(request, lambda program: data_response(_data(program), 201))
    return respond(request, await use_cases(request).create_program(actor(request), settings, made))


async def list_all(request: Request) -> web.StreamResponse:
    """List programs."""
    query = request.query(PageQuery)
    programs = await use_cases(request).read_programs(query.last_id, query.limit + 1)
    return page_of(query, programs, _data)


async def get(request: Request) -> web.StreamResponse:
    """Show a program."""
    program = await use_cases(request).read_programs.one(actor(request), request.path_id("program_id"))
    return data_response(_data(program))


async def change(request: Request) -> web.StreamResponse:
    """Change a program."""
    changes = given(ProgramSettings, request.body(ProgramChange), PROGRAM_MEMBERS)
    with naming(PROGRAM_MEMBERS):
        changed = await use_cases(request).change_program(actor(request), request.path_id("program_id"), changes)
    return data_response(_changed_data(changed))


_route = partial(Route, tag="programs", security="operator", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/programs",
        handler=create,
        summary="Create a program",
        description="Creates the program and its partner coupon (100 % off, once, one use per code).",
        body=ProgramCreation,
        idempotent=True,
        responses={201: Data[ProgramData]},
        examples={"request": {"name": "CinematicCard", "link_url": "https://cinematiccard.com/"}},
    ),
    _route(
        method="GET",
        path="/v1/programs",
        handler=list_all,
        summary="List programs",
        query=PageQuery,
        responses={200: Page[ProgramData]},
    ),
    _route(
        method="GET",
        path="/v1/programs/{program_id}",
        handler=get,
        summary="Show a program",
        security="bearer",
        scope="manage",
        operator_allowed=True,
        responses={200: Data[ProgramData], 404: "No such program"},
    ),
    _route(
        method="PATCH",
        path="/v1/programs/{program_id}",
        handler=change,
        summary="Change a program's settings",
        description="Existing codes keep their terms; new codes follow within five seconds. A program's own key can "
        "change `link_url`, `timezone`, `webhook_attributes`, `support_email` and `code_packs`; the others are for the "
        "operator.",
        security="bearer",
        scope="manage",
        operator_allowed=True,
        live_only=True,
        body=ProgramChange,
        responses={
            200: Data[ChangedProgramData],
            403: "Some fields are only for the operator (`operator_only`), or the key lacks the scope",
            404: "No such program",
        },
        examples={"request": {"support_email": "vip@cinematiccard.com"}},
    ),
)
