"""`/v1/partners`: a program's partners, their approval and their suspension."""

from functools import partial
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import Field, model_validator

from services.codes.api.context import actor, given, once, use_cases
from services.codes.api.fields import Email, Metadata, Name, Prefix, QueryEmail, Remaining
from services.codes.api.management.quota import QuotaData, quota_data
from services.codes.domain.given import merged
from services.codes.domain.partners import Partner, PartnerDraft, PartnerStatus
from shared.idempotency import Once
from shared.modes import is_test
from shared.web import (
    CountedPage,
    CountedQuery,
    Data,
    Moment,
    NoBody,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    TenantId,
    data_response,
    field_error,
    page_after,
    respond,
)

MAX_NAME: Final = 255


class PartnerCreation(RequestModel):
    """A new partner."""

    name: Name | None = Field(None, description="If absent, first and last name together.")
    first_name: Name | None = Field(None, description="The person's first name, for codes that contain it.")
    last_name: Name | None = None
    email: Email | None = Field(None, description="Unique within the program, ignoring case.")
    prefix: Prefix | None = Field(
        None,
        description="The start of each code; derived from the name if absent. Prefixes of a program's partners must "
        "not look alike: O counts as 0, I and L as 1.",
    )
    status: Literal["pending", "active", "suspended"] = "pending"
    support_email: Email | None = None
    metadata: Metadata = Field(default_factory=dict)
    quota_low_threshold: Remaining | None = Field(
        None, description="`quota.low` is emitted when this many codes or fewer remain; null for never."
    )

    @model_validator(mode="after")
    def _has_a_name(self) -> "PartnerCreation":
        if self.full_name is None:
            raise field_error("name", "is required unless first_name or last_name is given")
        if len(self.full_name) > MAX_NAME:
            raise field_error("name", f"is required if first and last name have more than {MAX_NAME} characters")
        return self

    @property
    def full_name(self) -> str | None:
        """The name, or else that of the person."""
        return self.name or " ".join(part for part in (self.first_name, self.last_name) if part) or None


class PartnerChange(RequestModel):
    """Members to change; the others stay."""

    name: Name = Field(default_factory=str)
    first_name: Name | None = None
    last_name: Name | None = None
    email: Email | None = None
    prefix: Prefix = Field(default_factory=str)
    support_email: Email | None = None
    metadata: Metadata = Field(
        default_factory=dict, description="Merged into the existing metadata; null removes a member."
    )
    quota_low_threshold: Remaining | None = None


class PartnerQuery(PageQuery, CountedQuery):
    """The partners to list."""

    status: Literal["pending", "active", "suspended"] | None = None
    email: QueryEmail | None = None


class PartnerData(ResponseModel):
    """A partner."""

    id: TenantId
    program_id: TenantId
    name: str
    first_name: str | None
    last_name: str | None
    email: str | None
    status: str
    prefix: str
    support_email: str | None
    metadata: dict[str, Any]
    quota: QuotaData
    quota_low_threshold: int | None
    created_at: Moment
    updated_at: Moment
    archived_at: Moment | None


def _data(partner: Partner) -> PartnerData:
    return PartnerData(
        id=partner.id,
        program_id=partner.program_id,
        name=partner.name,
        first_name=partner.first_name,
        last_name=partner.last_name,
        email=partner.email,
        status=partner.status,
        prefix=partner.prefix,
        support_email=partner.support_email,
        metadata=dict(partner.metadata),
        quota=quota_data(partner.quota, test=is_test(partner.id)),
        quota_low_threshold=partner.quota_low_threshold,
        created_at=partner.created_at,
        updated_at=partner.updated_at,
        archived_at=partner.archived_at,
    )


async def create(request: Request) -> web.StreamResponse:
    """Create a partner."""
    body = request.body(PartnerCreation)
    draft = given(PartnerDraft, body, {}, name=body.full_name, metadata=merged({}, body.metadata)).values
    made: Once[Partner] = once(request, lambda partner: data_response(_data(partner), 201))
    return respond(request, await use_cases(request).create_partner(actor(request), request.program_id, draft, made))


async def list_all(request: Request) -> web.StreamResponse:
    """List the program's partners."""
    query = request.query(PartnerQuery)
    read_partners = use_cases(request).read_partners
    page = await read_partners(request.program_id, query.last_id, query.limit, query.status, query.email)
    count = await read_partners.count(request.program_id, query.status, query.email) if query.count else None
    return page_after(query, [_data(partner) for partner in page.items], page.next_after, count)


async def get(request: Request) -> web.StreamResponse:
    """Show a partner."""
    partner = await use_cases(request).read_partners.one(actor(request), request.path_id("partner_id"))
    return data_response(_data(partner))


async def change(request: Request) -> web.StreamResponse:
    """Change a partner."""
    changes = given(PartnerDraft, request.body(PartnerChange), {})
    partner = await use_cases(request).change_partner(actor(request), request.path_id("partner_id"), changes)
    return data_response(_data(partner))


async def archive(request: Request) -> web.StreamResponse:
    """Archive a partner."""
    return data_response(_data(await use_cases(request).archive_partner(actor(request), request.path_id("partner_id"))))


async def approve(request: Request) -> web.StreamResponse:
    """Allow a partner to mint."""
    return await _set_status(request, "active")


async def suspend(request: Request) -> web.StreamResponse:
    """Stop a partner from minting."""
    return await _set_status(request, "suspended")


async def _set_status(request: Request, status: PartnerStatus) -> web.StreamResponse:
    done: Once[Partner] = once(request, lambda partner: data_response(_data(partner)))
    answer = await use_cases(request).set_partner_status(actor(request), request.path_id("partner_id"), status, done)
    return respond(request, answer)


_TAKEN: Final = "The e-mail address or the prefix is taken (`email_taken`, `prefix_taken`)"

_route = partial(Route, tag="partners", security="bearer", scope="manage", family="management")

ROUTES: Final = (
    _route(
        method="POST",
        path="/v1/partners",
        handler=create,
        summary="Create a partner",
        live_only=True,
        body=PartnerCreation,
        idempotent=True,
        responses={201: Data[PartnerData], 422: _TAKEN},
        examples={"request": {"name": "Acme Gifts", "email": "dev@acme.example", "status": "active"}},
    ),
    _route(
        method="GET",
        path="/v1/partners",
        handler=list_all,
        summary="List partners",
        query=PartnerQuery,
        responses={200: CountedPage[PartnerData]},
    ),
    _route(
        method="GET",
        path="/v1/partners/{partner_id}",
        handler=get,
        summary="Show a partner",
        operator_allowed=True,
        responses={200: Data[PartnerData], 404: "No such partner"},
    ),
    _route(
        method="PATCH",
        path="/v1/partners/{partner_id}",
        handler=change,
        summary="Change a partner",
        live_only=True,
        operator_allowed=True,
        body=PartnerChange,
        responses={
            200: Data[PartnerData],
            404: "No such partner",
            422: _TAKEN,
        },
        examples={"request": {"support_email": "vip@acme.example"}},
    ),
    _route(
        method="DELETE",
        path="/v1/partners/{partner_id}",
        handler=archive,
        summary="Archive a partner",
        description="Its keys are revoked and its codes refused; its e-mail address and prefix become available again.",
        live_only=True,
        operator_allowed=True,
        responses={200: Data[PartnerData], 404: "No such partner"},
    ),
    *(
        _route(
            method="POST",
            path=f"/v1/partners/{{partner_id}}/{name}",
            handler=handler,
            summary=summary,
            live_only=True,
            operator_allowed=True,
            body=NoBody,
            body_required=False,
            idempotent=True,
            responses={200: Data[PartnerData], 404: "No such partner"},
        )
        for name, handler, summary in (
            ("approve", approve, "Approve a partner, also after a suspension"),
            ("suspend", suspend, "Suspend a partner: its mints and its codes are refused"),
        )
    ),
)
