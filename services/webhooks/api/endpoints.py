"""`/v1/webhooks/endpoints`."""

import uuid
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import Field

from services.webhooks.api.exchange import once, owner, use_cases
from services.webhooks.api.shapes import (
    AttemptData,
    EndpointData,
    ShownEndpointData,
    attempt_data,
    endpoint_data,
    shown_data,
)
from services.webhooks.domain.addresses import MAX_URL_LENGTH
from services.webhooks.domain.endpoints import (
    DEFAULT_IN_FLIGHT,
    EVERYTHING,
    MAX_IN_FLIGHT,
    EndpointDraft,
    EndpointStatus,
    ShownEndpoint,
)
from shared.web import (
    Data,
    Int,
    Page,
    PageQuery,
    Request,
    RequestModel,
    Route,
    Text,
    data_response,
    invalid_field,
    page_of,
    respond,
)

_Types = Annotated[list[Text], Field(min_length=1, max_length=100)]
_InFlight = Annotated[Int, Field(ge=1, le=MAX_IN_FLIGHT)]
_URL = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]
_LONGEST_GRACE: Final = 604_800
_DEFAULT_GRACE: Final = 86_400


class EndpointCreation(RequestModel):
    """An endpoint to be made. It is active at once unless it is to begin paused."""

    url: _URL = Field(description="https; in development also http to a loopback host.")
    event_types: _Types = Field([EVERYTHING], description="Types of events, or * for all but webhook.*")
    description: Text | None = None
    status: Literal["active", "paused"] = "active"
    format: Literal["flat"] = "flat"
    max_in_flight: _InFlight = Field(DEFAULT_IN_FLIGHT, description="How many POSTs may be under way at once.")
    partner_id: uuid.UUID | None = Field(None, description="With a program's key: the partner whose endpoint it is.")
    secret: Text | None = Field(None, description="Your own secret: whsec_ and base64 of 24 to 64 bytes.")


class EndpointChange(RequestModel):
    """Members to be changed; the others stay."""

    url: _URL | None = None
    event_types: _Types | None = None
    description: Text | None = None
    status: Literal["active", "paused"] | None = None
    max_in_flight: _InFlight | None = None


class KeyRotation(RequestModel):
    """A new signing key; the old ones sign beside it for the grace period."""

    grace_period_seconds: Annotated[Int, Field(ge=0, le=_LONGEST_GRACE)] = _DEFAULT_GRACE
    secret: Text | None = Field(None, description="Your own secret: whsec_ and base64 of 24 to 64 bytes.")


class EndpointQuery(PageQuery):
    """Filters of the list."""

    status: EndpointStatus | None = None


def _shown(shown: ShownEndpoint) -> web.Response:
    return data_response(shown_data(shown), 201)


async def create(request: Request) -> web.StreamResponse:
    """Create an endpoint."""
    body = request.body(EndpointCreation)
    draft = EndpointDraft(
        url=body.url,
        event_types=tuple(body.event_types),
        format=body.format,
        description=body.description,
        status=body.status,
        max_in_flight=body.max_in_flight,
        partner_id=body.partner_id,
        secret=body.secret,
    )
    made = once(request, _shown, has_secret=True)
    return respond(request, await use_cases(request).create_endpoint(owner(request), draft, made))


async def list_all(request: Request) -> web.StreamResponse:
    """List endpoints, the newest first."""
    query = request.query(EndpointQuery)
    found = await use_cases(request).read_endpoints.page(owner(request), query.status, query.last_id, query.limit + 1)
    return page_of(query, found, endpoint_data)


async def show(request: Request) -> web.StreamResponse:
    """Show one endpoint."""
    found = await use_cases(request).read_endpoints.one(owner(request), request.path_id("endpoint_id"))
    return data_response(endpoint_data(found))


async def change(request: Request) -> web.StreamResponse:
    """Change, pause or resume an endpoint."""
    changes: dict[str, Any] = request.body(EndpointChange).model_dump(exclude_unset=True)
    for name, value in changes.items():
        if value is None and name != "description":
            raise invalid_field(name, f"The {name} field must not be null.")
    found = await use_cases(request).change_endpoint(owner(request), request.path_id("endpoint_id"), changes)
    return data_response(endpoint_data(found))


async def archive(request: Request) -> web.StreamResponse:
    """Archive an endpoint and cancel what is pending."""
    found = await use_cases(request).archive_endpoint(owner(request), request.path_id("endpoint_id"))
    return data_response(endpoint_data(found))


async def test(request: Request) -> web.StreamResponse:
    """Send the test event and answer with the attempt."""
    attempt = await use_cases(request).send_test(
        owner(request), request.credential.program_name, request.path_id("endpoint_id")
    )
    return data_response(attempt_data(attempt))


async def rotate(request: Request) -> web.StreamResponse:
    """Add a signing key and set the end of the others."""
    body = request.body(KeyRotation)
    answer = await use_cases(request).rotate_key(
        owner(request),
        request.path_id("endpoint_id"),
        timedelta(seconds=body.grace_period_seconds),
        body.secret,
        once(request, _shown, has_secret=True),
    )
    return respond(request, answer)


_ALL: Final = "/v1/webhooks/endpoints"
_ONE: Final = "/v1/webhooks/endpoints/{endpoint_id}"
_COMMON: Final[dict[str, Any]] = {
    "tag": "endpoints",
    "security": "either",
    "family": "management",
    "scope": "webhooks",
}
_MISSING: Final = "No such endpoint, or it belongs to somebody else"

ROUTES: Final = (
    Route(
        method="POST",
        path=_ALL,
        handler=create,
        summary="Create an endpoint; its secret is shown this once",
        body=EndpointCreation,
        idempotent=True,
        responses={
            201: Data[ShownEndpointData],
            409: "There are as many endpoints as there may be",
            422: "A field cannot be accepted",
        },
        examples={"request": {"url": "https://example.com/webhooks", "event_types": ["code.redeemed"]}},
        **_COMMON,
    ),
    Route(
        method="GET",
        path=_ALL,
        handler=list_all,
        summary="List endpoints",
        query=EndpointQuery,
        responses={200: Page[EndpointData]},
        **_COMMON,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        summary="Show an endpoint",
        responses={200: Data[EndpointData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="PATCH",
        path=_ONE,
        handler=change,
        summary="Change, pause or resume an endpoint",
        body=EndpointChange,
        responses={200: Data[EndpointData], 404: _MISSING, 422: "A field cannot be accepted"},
        examples={"request": {"status": "paused"}},
        **_COMMON,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=archive,
        summary="Archive an endpoint and cancel what is pending",
        responses={200: Data[EndpointData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/test",
        handler=test,
        summary="Send the test event now, once, and answer with the attempt",
        responses={200: Data[AttemptData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/keys/rotate",
        handler=rotate,
        summary="Rotate the signing key; the new secret is shown this once",
        body=KeyRotation,
        body_required=False,
        idempotent=True,
        responses={201: Data[ShownEndpointData], 404: _MISSING, 409: "Too many live keys", 422: "A bad secret"},
        examples={"request": {"grace_period_seconds": 3600}},
        **_COMMON,
    ),
)
