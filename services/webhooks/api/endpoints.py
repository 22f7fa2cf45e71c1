"""`/v1/webhooks/endpoints`."""

from datetime import datetime
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, etag, once, owner, partner_in, use_cases, versions
from services.webhooks.api.delivery_data import AttemptData, attempt_data
from services.webhooks.api.endpoint_data import EndpointData, ShownEndpointData, endpoint_data, shown_data
from services.webhooks.api.endpoint_terms import UID, EndpointChange, EndpointCreation
from services.webhooks.domain.endpoints import (
    Endpoint,
    EndpointDraft,
    EndpointStatus,
    ShownEndpoint,
)
from services.webhooks.domain.event_types import TEST
from shared.web import (
    Data,
    Instant,
    Page,
    PageQuery,
    Request,
    RequestModel,
    Routes,
    Text,
    data_response,
    invalid_field,
    page_after,
    respond,
)

_NULLABLE: Final = frozenset(
    {"uid", "description", "auth", "client_certificate", "ca_bundle", "rate_limit_per_second", "schedule"}
)


class Pause(RequestModel):
    """A pause. Deliveries wait until it ends."""

    until: Instant | None = Field(None, description="When the pause ends; without it, when the endpoint is resumed.")


class Test(RequestModel):
    """A test webhook."""

    event_type: Text = Field(TEST, description="A type from the catalog; its example is sent.")


class EndpointQuery(PageQuery):
    """Filters of the list."""

    status: EndpointStatus | None = None
    uid: UID | None = None
    event_type: Text | None = Field(None, description="Subscribed to this event type.")


_ROUTES: Final = Routes(
    "/v1/webhooks/endpoints", "No such endpoint, or it belongs to another account", tag="endpoints", **COMMON
)


def _shown(shown: ShownEndpoint) -> web.Response:
    return data_response(shown_data(shown), 201, etag(shown.endpoint))


def _answer(endpoint: Endpoint) -> web.Response:
    return data_response(endpoint_data(endpoint), headers=etag(endpoint))


@_ROUTES.post(
    "",
    Data[ShownEndpointData],
    status=201,
    body=EndpointCreation,
    idempotent=True,
    versioned=True,
    examples={"request": {"url": "https://example.com/webhooks", "event_types": ["code.redeemed"]}},
    refusals={
        409: "Too many endpoints (`too_many_endpoints`), or another endpoint has this uid (`uid_taken`)",
    },
)
async def create(request: Request) -> web.StreamResponse:
    """Create an endpoint; its secret is shown only once."""
    body = request.body(EndpointCreation)
    read = {
        "event_types": tuple(body.event_types),
        "auth": None if body.auth is None else body.auth.to_auth(),
        "client_certificate": None if body.client_certificate is None else body.client_certificate.to_pair(),
        "schedule": None if body.schedule is None else tuple(body.schedule),
        "partner_id": partner_in(request, body.partner_id),
    }
    draft = EndpointDraft(**dict(body) | read)
    made = once(request, _shown, has_secret=True)
    return respond(request, await use_cases(request).create_endpoint(owner(request), draft, made))


@_ROUTES.get("", Page[EndpointData], query=EndpointQuery)
async def list_all(request: Request) -> web.StreamResponse:
    """List endpoints."""
    query = request.query(EndpointQuery)
    page = await use_cases(request).read_endpoints.page(
        owner(request),
        status=query.status,
        event_type=query.event_type,
        uid=query.uid,
        before=query.last_id,
        limit=query.limit,
    )
    return page_after(query, [endpoint_data(each) for each in page.endpoints], page.next_after)


@_ROUTES.get("/{endpoint_id}", Data[EndpointData], versioned=True)
async def show(request: Request) -> web.StreamResponse:
    """Show an endpoint."""
    found = await use_cases(request).read_endpoints.one(owner(request), request.path_id("endpoint_id"))
    return _answer(found)


@_ROUTES.patch(
    "/{endpoint_id}",
    Data[EndpointData],
    body=EndpointChange,
    versioned=True,
    examples={"request": {"status": "paused"}},
    refusals={409: "There is no key to sign with (`key_missing`), or another endpoint has this uid (`uid_taken`)"},
)
async def change(request: Request) -> web.StreamResponse:
    """Change, pause or resume an endpoint."""
    body = request.body(EndpointChange)
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    for name, value in changes.items():
        if value is None and name not in _NULLABLE:
            raise invalid_field(name, f"The {name} field must not be null.")
    if body.auth is not None:
        changes["auth"] = body.auth.to_auth()
    if body.client_certificate is not None:
        changes["client_certificate"] = body.client_certificate.to_pair()
    endpoint_id = request.path_id("endpoint_id")
    return _answer(await use_cases(request).change_endpoint(owner(request), endpoint_id, changes, versions(request)))


@_ROUTES.post("/{endpoint_id}/pause", Data[EndpointData], body=Pause, body_required=False, versioned=True)
async def pause(request: Request) -> web.StreamResponse:
    """Pause an endpoint, until a given time or until it is resumed."""
    return await _set_status(request, "paused", request.body(Pause).until)


@_ROUTES.post("/{endpoint_id}/resume", Data[EndpointData], versioned=True)
async def resume(request: Request) -> web.StreamResponse:
    """Resume a paused endpoint; waiting deliveries are sent."""
    return await _set_status(request, "active")


@_ROUTES.post("/{endpoint_id}/disable", Data[EndpointData], versioned=True)
async def disable(request: Request) -> web.StreamResponse:
    """Disable an endpoint; its pending deliveries become dead letters."""
    return await _set_status(request, "disabled")


@_ROUTES.post("/{endpoint_id}/enable", Data[EndpointData], versioned=True)
async def enable(request: Request) -> web.StreamResponse:
    """Enable a disabled endpoint and reset its failure record."""
    return await _set_status(request, "active")


@_ROUTES.delete("/{endpoint_id}", Data[EndpointData], versioned=True)
async def archive(request: Request) -> web.StreamResponse:
    """Archive an endpoint and cancel its pending deliveries."""
    endpoint_id = request.path_id("endpoint_id")
    found = await use_cases(request).archive_endpoint(owner(request), endpoint_id, versions(request))
    return _answer(found)


@_ROUTES.post(
    "/{endpoint_id}/test",
    Data[AttemptData],
    body=Test,
    body_required=False,
    examples={"request": {"event_type": "code.redeemed"}},
    refusals={
        409: "The endpoint's secret cannot be decrypted (`secret_unreadable`)",
        422: "No such event type, or it is not available to the owner of this endpoint",
        429: "The endpoint's rate_limit_per_second is used up",
    },
)
async def test(request: Request) -> web.StreamResponse:
    """Send a test webhook now, once, and return the attempt.

    It is the event `test` or the catalog's example of another type, in the endpoint's format and whatever the
    endpoint's status. It is recorded as a test and never replayed.
    """
    event_type = request.body(Test).event_type
    attempt = await use_cases(request).send_test(
        owner(request), request.credential.program_name, request.path_id("endpoint_id"), event_type
    )
    return data_response(attempt_data(attempt))


async def _set_status(request: Request, status: EndpointStatus, until: datetime | None = None) -> web.StreamResponse:
    found = await use_cases(request).change_endpoint.set_status(
        owner(request), request.path_id("endpoint_id"), status, until, versions(request)
    )
    return _answer(found)


ROUTES: Final = tuple(_ROUTES.all)
