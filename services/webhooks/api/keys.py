"""`/v1/webhooks/endpoints/{endpoint_id}/keys`, and the public keys at `/.well-known/webhook-keys.json`."""

import uuid
from datetime import timedelta
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.exchange import COMMON, etag, once, owner, use_cases, versions
from services.webhooks.api.shapes import KeyData, PublicKeysData, ShownEndpointData, key_data, shown_data
from services.webhooks.domain.endpoints import ShownEndpoint
from services.webhooks.domain.signature import LONGEST_GRACE_SECONDS, Algorithm
from services.webhooks.usecases.manage_keys import Rotation
from shared.web import (
    Data,
    Int,
    QueryModel,
    Request,
    RequestModel,
    Route,
    Text,
    data_response,
    json_response,
    respond,
)

_DEFAULT_GRACE: Final = 86_400
_CACHED: Final = "public, max-age=300"


class KeyRotation(RequestModel):
    """A new signing key; the old ones of its algorithm sign beside it for the grace period."""

    grace_period_seconds: Annotated[Int, Field(ge=0, le=LONGEST_GRACE_SECONDS)] = _DEFAULT_GRACE
    algorithm: Algorithm | None = Field(None, description="By default all by which the endpoint's messages are signed.")
    secret: Text | None = Field(
        None, description="Your own key: whsec_ and base64 of 24 to 64 bytes, or whsk_ of an ed25519 key."
    )


class PublicKeysQuery(QueryModel):
    """Whose keys."""

    endpoint_id: uuid.UUID = Field(description="The endpoint that receives.")


def _shown(shown: ShownEndpoint) -> web.Response:
    return data_response(shown_data(shown), 201, etag(shown.endpoint))


async def list_keys(request: Request) -> web.StreamResponse:
    """List the live keys without their secrets."""
    keys = await use_cases(request).keys.live(owner(request), request.path_id("endpoint_id"))
    return data_response([key_data(key) for key in keys])


async def rotate(request: Request) -> web.StreamResponse:
    """Add a signing key and set the end of the others."""
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


async def revoke(request: Request) -> web.StreamResponse:
    """End a key at once."""
    endpoint, left = await use_cases(request).keys.revoke(
        owner(request), request.path_id("endpoint_id"), request.path_id("key_id"), versions(request)
    )
    return data_response([key_data(key) for key in left], headers=etag(endpoint))


async def public_keys(request: Request) -> web.StreamResponse:
    """Show the public keys of an endpoint to whoever knows its id."""
    keys = await use_cases(request).keys.public(request.query(PublicKeysQuery).endpoint_id)
    found = PublicKeysData(keys=[key_data(key) for key in keys])
    return json_response(found, headers={"Cache-Control": _CACHED})


_COMMON: Final[dict[str, Any]] = {**COMMON, "tag": "keys"}
_KEYS: Final = "/v1/webhooks/endpoints/{endpoint_id}/keys"
_MISSING: Final = "No such endpoint, or it belongs to somebody else"

ROUTES: Final = (
    Route(
        method="GET",
        path=_KEYS,
        handler=list_keys,
        summary="List the live signing keys, the newest first, without their secrets",
        responses={200: Data[list[KeyData]], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_KEYS}/rotate",
        handler=rotate,
        summary="Rotate the signing key; the new secret is shown this once",
        versioned=True,
        body=KeyRotation,
        body_required=False,
        idempotent=True,
        responses={201: Data[ShownEndpointData], 404: _MISSING, 409: "Too many live keys (`too_many_keys`)"},
        examples={"request": {"grace_period_seconds": 3600}},
        **_COMMON,
    ),
    Route(
        method="DELETE",
        # Only what may be an id, so that nothing is promised at the path of the rotation.
        path=f"{_KEYS}/{{key_id:[0-9a-fA-F-]+}}",
        handler=revoke,
        summary="Revoke a signing key at once; answers with those that are left, and the endpoint's new ETag",
        versioned=True,
        responses={
            200: Data[list[KeyData]],
            404: "No such endpoint or key",
            409: "It is the last key that signs (`last_key`)",
        },
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/.well-known/webhook-keys.json",
        handler=public_keys,
        summary="Show the public keys that verify an endpoint's messages",
        description="Needs no key: what it shows is public. An unknown endpoint has none.",
        tag="keys",
        security="none",
        family="management",
        query=PublicKeysQuery,
        responses={200: PublicKeysData},
    ),
)
