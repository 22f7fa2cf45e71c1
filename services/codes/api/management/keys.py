"""API keys of programs and of partners, one set of handlers for both owners; and keys by creator (`/v1/keys`)."""

import uuid
from functools import partial
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from services.codes.api.context import actor, given, once, use_cases
from services.codes.api.fields import RateLimit, ShortName
from services.codes.domain.keys import APIKey, KeyDraft, OwnerRef, ShownKey
from shared.api_keys import opening
from shared.modes import Mode
from shared.web import (
    Data,
    Moment,
    NoBody,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    TenantId,
    data_response,
    live_key_required,
    page_of,
    respond,
)

_MODE_TEXT: Final = (
    "By default the mode of the calling key, or live for the operator; a test key reaches only test keys."
)


class KeyCreation(RequestModel):
    """A new key; without `scopes` it gets all scopes of its owner that the calling key can grant."""

    name: ShortName | None = None
    scopes: list[str] | None = Field(
        None, max_length=10, description="For a program's secret key, only scopes that the calling key has itself."
    )
    kind: Literal["secret", "publishable"] = Field("secret", description="Only programs have publishable keys.")
    purpose: ShortName = Field("default", description="At most two live keys can have the same purpose.")
    rate_limit_per_minute: RateLimit | None = Field(
        default_factory=lambda: None,
        description="Generated codes per minute; null for no limit. If absent, 100 for a partner's key.",
    )
    mode: Mode | None = Field(None, description=_MODE_TEXT)


class KeysQuery(PageQuery):
    """The keys to list."""

    mode: Mode | None = Field(None, description=_MODE_TEXT)


class KeyChange(RequestModel):
    """Members to change; the others stay."""

    name: ShortName | None = None
    rate_limit_per_minute: RateLimit | None = Field(None, description="Null for no limit.")


class MadeKeysQuery(PageQuery):
    """The creator whose keys to list."""

    made_by: uuid.UUID = Field(description="The id of the API key or account that created them.")


class KeyData(ResponseModel):
    """A key, without its text."""

    id: uuid.UUID
    program_id: TenantId
    partner_id: TenantId | None
    name: str | None
    kind: str
    purpose: str
    scopes: list[str]
    rate_limit_per_minute: int | None
    created_at: Moment
    revoked_at: Moment | None
    made_by: uuid.UUID | None = Field(
        description="The id of the API key or account that created it; null for the operator's token."
    )
    mode: Mode = Field(description="A test key sees and creates only objects with `is_test`.")
    starts_with: str = Field(description="The first characters of its text, to recognise it by; they are no secret.")
    last_used_at: Moment | None = Field(
        description="To the minute, with any service; known about a minute later. Null if it has not been used."
    )


class ShownKeyData(KeyData):
    """A new key; `key` is its text, shown only this once."""

    key: str


def _data(key: APIKey) -> KeyData:
    return KeyData(
        id=key.id,
        program_id=key.owner.program_id,
        partner_id=key.owner.partner_id,
        name=key.terms.name,
        kind=key.terms.kind,
        purpose=key.terms.purpose,
        scopes=list(key.terms.scopes),
        rate_limit_per_minute=key.terms.rate_limit_per_minute,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        made_by=key.made_by_key_id,
        mode=key.mode,
        starts_with=opening(key.terms.kind, key.id, key.mode),
        last_used_at=key.last_used_at,
    )


def _shown(shown: ShownKey) -> web.Response:
    return data_response(ShownKeyData(**dict(_data(shown.key)), key=shown.text), 201)


def _ref_in(request: Request, mode: Mode | None) -> OwnerRef:
    """Return the owner that the path names, in the requested mode; raises the 403 of a test key."""
    if mode is None:
        return _ref(request)
    if mode == "live" and request.is_test:
        raise live_key_required()
    return _ref(request).in_mode(test=mode == "test")


def _ref(request: Request) -> OwnerRef:
    """Return the owner that the path names, in the mode of the calling key."""
    if "partner_id" in request.http.match_info:
        return OwnerRef(partner_id=request.path_id("partner_id"))
    return OwnerRef(program_id=request.path_id("program_id"))


async def create(request: Request) -> web.StreamResponse:
    """Create a key."""
    body = request.body(KeyCreation)
    draft = KeyDraft(
        kind=body.kind,
        purpose=body.purpose,
        name=body.name,
        scopes=tuple(body.scopes) if body.scopes is not None else None,
        rate_limit_per_minute=body.rate_limit_per_minute,
        is_rate_limit_given="rate_limit_per_minute" in body.model_fields_set,
    )
    made = once(request, _shown, has_secret=True)
    ref = _ref_in(request, body.mode)
    return respond(request, await use_cases(request).create_key(actor(request), ref, draft, made))


async def list_all(request: Request) -> web.StreamResponse:
    """List the owner's keys."""
    query = request.query(KeysQuery)
    ref = _ref_in(request, query.mode)
    found = await use_cases(request).read_keys(actor(request), ref, query.last_id, query.limit + 1)
    return page_of(query, found, _data)


async def list_made(request: Request) -> web.StreamResponse:
    """List the keys that a key created."""
    query = request.query(MadeKeysQuery)
    found = await use_cases(request).read_keys.made_by(actor(request), query.made_by, query.last_id, query.limit + 1)
    return page_of(query, found, _data)


async def change(request: Request) -> web.StreamResponse:
    """Change a key."""
    changes = given(KeyDraft, request.body(KeyChange), {})
    key = await use_cases(request).change_key(actor(request), _ref(request), request.path_id("key_id"), changes)
    return data_response(_data(key))


async def rotate(request: Request) -> web.StreamResponse:
    """Create a second key like this one."""
    made = once(request, _shown, has_secret=True)
    answer = await use_cases(request).rotate_key(actor(request), _ref(request), request.path_id("key_id"), made)
    return respond(request, answer)


async def revoke(request: Request) -> web.StreamResponse:
    """Revoke a key."""
    key = await use_cases(request).revoke_key(actor(request), _ref(request), request.path_id("key_id"))
    return data_response(_data(key))


_LACKS: Final = (
    "The calling key lacks a scope: manage, or one that the new key would have; or a test key asks for a live key "
    "(`live_key_required`)"
)


_route = partial(Route, tag="keys", security="bearer", scope="manage", family="management", operator_allowed=True)


def _routes(base: str, owner: str) -> tuple[Route, ...]:
    missing = f"No such {owner} or key"
    return (
        _route(
            method="POST",
            path=base,
            handler=create,
            summary=f"Create an API key of a {owner}",
            description=(
                "The key's text is in this response and can never be read again. A key with the scope `manage` creates "
                "partners' keys and publishable keys; a program's secret key gets no scope that the calling key lacks."
            ),
            body=KeyCreation,
            body_required=False,
            idempotent=True,
            responses={
                201: Data[ShownKeyData],
                403: _LACKS,
                404: f"No such {owner}",
                409: "Two live keys have this purpose already (`too_many_live_keys`)",
            },
        ),
        _route(
            method="GET",
            path=base,
            handler=list_all,
            summary=f"List the API keys of a {owner}",
            query=KeysQuery,
            responses={200: Page[KeyData], 404: f"No such {owner}"},
        ),
        _route(
            method="PATCH",
            path=f"{base}/{{key_id}}",
            handler=change,
            summary=f"Change an API key of a {owner}",
            body=KeyChange,
            responses={200: Data[KeyData], 404: missing, 409: "The key is revoked (`key_revoked`)"},
            examples={"request": {"rate_limit_per_minute": 100}},
        ),
        _route(
            method="POST",
            path=f"{base}/{{key_id}}/rotate",
            handler=rotate,
            summary=f"Create a second API key like this one of a {owner}",
            description=(
                "Both work until one is revoked. To rotate a program's secret key, the calling key needs all of its "
                "scopes."
            ),
            body=NoBody,
            body_required=False,
            idempotent=True,
            responses={
                201: Data[ShownKeyData],
                403: _LACKS,
                404: missing,
                409: "Two live keys have this purpose (`too_many_live_keys`), or this one is revoked (`key_revoked`)",
            },
        ),
        _route(
            method="DELETE",
            path=f"{base}/{{key_id}}",
            handler=revoke,
            summary=f"Revoke an API key of a {owner}",
            description=(
                "Takes effect everywhere within five seconds. Revoking again changes nothing. The keys that it created "
                "stay live; `GET /v1/keys?made_by=` lists them."
            ),
            responses={200: Data[KeyData], 404: missing},
        ),
    )


ROUTES: Final = (
    _route(
        method="GET",
        path="/v1/keys",
        handler=list_made,
        summary="List the API keys that an API key created, newest first",
        description="Keys of the program and of its partners, including revoked ones.",
        query=MadeKeysQuery,
        responses={200: Page[KeyData]},
    ),
    *_routes("/v1/programs/{program_id}/keys", "program"),
    *_routes("/v1/partners/{partner_id}/keys", "partner"),
)
