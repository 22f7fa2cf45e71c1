"""`/v1/webhooks/endpoints/{endpoint_id}/keys`, and the public keys at `/.well-known/webhook-keys.json`."""

import uuid
from datetime import timedelta
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, etag, once, owner, use_cases, versions
from services.webhooks.api.endpoint_data import ShownEndpointData, shown_data
from services.webhooks.domain.endpoints import ShownEndpoint
from services.webhooks.domain.signature import LONGEST_GRACE_SECONDS, PUBLIC_PREFIX, Algorithm, ShownKey, encode
from services.webhooks.usecases.manage_keys import Rotation
from shared.web import (
    Data,
    Int,
    Moment,
    QueryModel,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    Text,
    data_response,
    json_response,
    respond,
)

_DEFAULT_GRACE: Final = 86_400
_CACHED: Final = "public, max-age=300"


class KeyRotation(RequestModel):
    """A new signing key. During the grace period, messages are also signed with the previous keys of its algorithm."""

    grace_period_seconds: Annotated[Int, Field(ge=0, le=LONGEST_GRACE_SECONDS)] = _DEFAULT_GRACE
    algorithm: Algorithm | None = Field(None, description="By default, every algorithm that the endpoint signs with.")
    secret: Text | None = Field(
        None, description="Your own signing key: whsec_ and base64 of 24 to 64 bytes, or whsk_ for an ed25519 key."
    )


class PublicKeysQuery(QueryModel):
    """The endpoint whose keys to show."""

    endpoint_id: uuid.UUID = Field(description="The endpoint that receives the webhooks.")


class PublicKeyData(ResponseModel):
    """A signing key. `public_key` is null for an HMAC secret; `expires_at` is null for a key that does not expire."""

    id: uuid.UUID
    algorithm: str
    public_key: str | None
    created_at: Moment
    expires_at: Moment | None


class KeyData(PublicKeyData):
    """A signing key as its owner sees it. The last two members are null for a key from before they were recorded."""

    made_by: uuid.UUID | None = Field(description="The id of the API key or account that made it.")
    starts_with: str | None = Field(
        description="The first characters of the secret, to recognise it by; null for a key with a `public_key`."
    )


class PublicKeysData(ResponseModel):
    """The keys that verify an endpoint's messages."""

    keys: list[PublicKeyData]


_ROUTES: Final = Routes(
    "/v1/webhooks/endpoints/{endpoint_id}/keys",
    "No such endpoint, or it belongs to another account",
    tag="keys",
    **COMMON,
)
_PUBLIC: Final = Routes("/.well-known/webhook-keys.json", tag="keys", security="none", family="management")


def _shown(shown: ShownEndpoint) -> web.Response:
    return data_response(shown_data(shown), 201, etag(shown.endpoint))


@_ROUTES.get("", Data[list[KeyData]])
async def list_keys(request: Request) -> web.StreamResponse:
    """List the active signing keys without their secrets, the newest first."""
    keys = await use_cases(request).keys.live(owner(request), request.path_id("endpoint_id"))
    return data_response([_key(key) for key in keys])


@_ROUTES.post(
    "/rotate",
    Data[ShownEndpointData],
    status=201,
    body=KeyRotation,
    body_required=False,
    idempotent=True,
    versioned=True,
    examples={"request": {"grace_period_seconds": 3600}},
    refusals={409: "Too many active keys (`too_many_keys`)"},
)
async def rotate(request: Request) -> web.StreamResponse:
    """Rotate the signing key; the new secret is shown only once."""
    body = request.body(KeyRotation)
    rotation = Rotation(timedelta(seconds=body.grace_period_seconds), body.algorithm, body.secret)
    answer = await use_cases(request).keys.rotate(
        owner(request),
        request.path_id("endpoint_id"),
        rotation,
        once(request, _shown, has_secret=True),
        versions(request),
    )
    return respond(request, answer)


@_ROUTES.delete(
    # Matches ids only, so that the document does not promise a DELETE at the path of the rotation.
    "/{key_id:[0-9a-fA-F-]+}",
    Data[list[KeyData]],
    versioned=True,
    refusals={404: "No such endpoint or key", 409: "It is the last signing key (`last_key`)"},
)
async def revoke(request: Request) -> web.StreamResponse:
    """Revoke a signing key at once; returns the remaining keys and the endpoint's new ETag."""
    endpoint, left = await use_cases(request).keys.revoke(
        owner(request), request.path_id("endpoint_id"), request.path_id("key_id"), versions(request)
    )
    return data_response([_key(key) for key in left], headers=etag(endpoint))


@_PUBLIC.get("", PublicKeysData, query=PublicKeysQuery)
async def public_keys(request: Request) -> web.StreamResponse:
    """Show the public keys that verify an endpoint's messages.

    Requires no API key. The list is empty for an unknown endpoint.
    """
    keys = await use_cases(request).keys.public(request.query(PublicKeysQuery).endpoint_id)
    found = PublicKeysData(keys=[PublicKeyData.of(key, public_key=_public_text(key)) for key in keys])
    return json_response(found, headers={"Cache-Control": _CACHED})


def _key(key: ShownKey) -> KeyData:
    return KeyData.of(key, public_key=_public_text(key))


def _public_text(key: ShownKey) -> str | None:
    return None if key.public_key is None else encode(PUBLIC_PREFIX, key.public_key)


ROUTES: Final = (*_ROUTES.all, *_PUBLIC.all)
