"""`/v1/webhooks/endpoints`."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from aiohttp import web
from pydantic import Field, model_validator

from services.webhooks.api.event_types import CHOICE
from services.webhooks.api.exchange import COMMON, etag, once, owner, partner_in, use_cases, versions
from services.webhooks.api.shapes import (
    AttemptData,
    EndpointData,
    ShownEndpointData,
    attempt_data,
    endpoint_data,
    shown_data,
)
from services.webhooks.domain.addresses import MAX_URL_LENGTH
from services.webhooks.domain.certificates import LONGEST_CHAIN_BYTES, LONGEST_KEY_BYTES, CertificatePair
from services.webhooks.domain.endpoints import (
    DEFAULT_IN_FLIGHT,
    DEFAULT_TIMEOUT,
    LONGEST_STEP_SECONDS,
    LONGEST_TIMEOUT,
    MAX_IN_FLIGHT,
    MAX_RATE_PER_SECOND,
    MAX_STEPS,
    SHORTEST_TIMEOUT,
    Endpoint,
    EndpointDraft,
    EndpointStatus,
    Format,
    OnExhausted,
    Ordering,
    ShownEndpoint,
)
from services.webhooks.domain.event_types import EVERYTHING, TEST
from services.webhooks.domain.headers import LONGEST_VALUE, MAX_HEADERS, Auth, AuthType
from services.webhooks.domain.signature import Signing
from shared.web import (
    Data,
    Instant,
    Int,
    Page,
    PageQuery,
    Request,
    RequestModel,
    Route,
    Spelled,
    Text,
    data_response,
    field_error,
    invalid_field,
    page_after,
    respond,
)

_Types = Annotated[list[Text], Field(min_length=1, max_length=100)]
_InFlight = Annotated[Int, Field(ge=1, le=MAX_IN_FLIGHT)]
_Rate = Annotated[Int, Field(ge=1, le=MAX_RATE_PER_SECOND)]
_Timeout = Annotated[Int, Field(ge=SHORTEST_TIMEOUT, le=LONGEST_TIMEOUT)]
_Schedule = Annotated[
    list[Annotated[Int, Field(ge=1, le=LONGEST_STEP_SECONDS)]], Field(min_length=1, max_length=MAX_STEPS)
]
_URL = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]
_Value = Annotated[str, Field(max_length=LONGEST_VALUE)]
_Headers = Annotated[dict[Text, _Value], Field(max_length=MAX_HEADERS)]
_Metadata = Annotated[dict[Text, Text], Field(max_length=50)]
_UID = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern="^[A-Za-z0-9._:-]+$"),
    Spelled("must consist of the letters A to Z and a to z, digits and the marks . _ : -"),
]
_AUTH_MEMBERS: Final[Mapping[AuthType, tuple[str, ...]]] = {
    "basic": ("username", "password"),
    "bearer": ("token",),
    "authorization": ("scheme", "token"),
    "header": ("name", "value"),
}
_Bundle = Annotated[str, Field(min_length=1, max_length=LONGEST_CHAIN_BYTES)]
_BUNDLE_TEXT: Final = (
    "PEM: the authorities that may vouch for the receiver's certificate, instead of the public ones; for a receiver "
    "whose certificate is of an authority of your own."
)
_NULLABLE: Final = frozenset(
    {"uid", "description", "auth", "client_certificate", "ca_bundle", "rate_limit_per_second", "schedule"}
)


class AuthTerms(RequestModel):
    """How we authenticate ourselves to the receiver.

    By `Authorization`: basic (username, password), bearer (token), or with any scheme (scheme, token), as in
    `Token abc`. Or by a header of another name (name, value).
    """

    type: Literal["basic", "bearer", "authorization", "header"]
    username: Text | None = None
    password: _Value | None = None
    scheme: Text | None = Field(None, description="What stands before the token, such as Token or ApiKey.")
    token: _Value | None = None
    name: Text | None = None
    value: _Value | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        wanted = _AUTH_MEMBERS[self.type]
        for member in ("username", "password", "scheme", "token", "name", "value"):
            if (getattr(self, member) is not None) != (member in wanted):
                raise field_error(member, f"{self.type} needs {' and '.join(wanted)}, and nothing else.")
        return self

    def to_auth(self) -> Auth:
        """Return it as the domain has it."""
        name = self.username or self.scheme or self.name
        return Auth(self.type, name, self.password or self.token or self.value or "")


class CertificateTerms(RequestModel):
    """A client certificate, by which the receiver knows us when it asks for one in the TLS handshake (mTLS)."""

    certificate: Annotated[str, Field(min_length=1, max_length=LONGEST_CHAIN_BYTES)] = Field(
        description="PEM: the certificate first, then the intermediate ones."
    )
    key: Annotated[str, Field(min_length=1, max_length=LONGEST_KEY_BYTES)] = Field(
        description="PEM: its private key, without a password. Encrypted at rest and never shown."
    )

    def to_pair(self) -> CertificatePair:
        """Return it as the domain has it."""
        return CertificatePair(self.certificate, self.key)


class EndpointCreation(RequestModel):
    """An endpoint to be made. It is active at once unless it is to begin otherwise."""

    url: _URL = Field(
        description="https; in development also http to a loopback host. Sent byte for byte as it is given here."
    )
    event_types: _Types = Field([EVERYTHING], description=CHOICE)
    uid: _UID | None = Field(None, description="Your own name for it; no two of your endpoints have the same.")
    description: Text | None = None
    metadata: _Metadata = Field(default_factory=dict, description="Your own notes; we only keep them.")
    status: EndpointStatus = "active"
    format: Format = "flat"
    signing: Signing = "hmac"
    secret: Text | None = Field(
        None, description="Your own key: whsec_ and base64 of 24 to 64 bytes, or whsk_ of an ed25519 key."
    )
    headers: _Headers = Field(default_factory=dict, description="Headers to be sent beside ours.")
    auth: AuthTerms | None = None
    client_certificate: CertificateTerms | None = None
    ca_bundle: _Bundle | None = Field(None, description=_BUNDLE_TEXT)
    timeout_seconds: _Timeout = DEFAULT_TIMEOUT
    max_in_flight: _InFlight = Field(DEFAULT_IN_FLIGHT, description="How many POSTs may be under way at once.")
    rate_limit_per_second: _Rate | None = Field(None, description="How many POSTs begin in any second at most.")
    schedule: _Schedule | None = Field(None, description="Seconds before each retry, instead of the usual schedule.")
    ordering: Ordering = Field("none", description="key: in order per key; strict: one after the other.")
    on_exhausted: OnExhausted = Field("skip", description="Whether a dead letter holds up what is behind it in order.")
    partner_id: uuid.UUID | None = Field(None, description="With a program's key: the partner whose endpoint it is.")


class EndpointChange(RequestModel):
    """Members to be changed; the others stay. Null takes away what need not be there."""

    url: _URL | None = None
    event_types: _Types | None = Field(None, description=CHOICE)
    uid: _UID | None = None
    description: Text | None = None
    metadata: _Metadata | None = None
    status: EndpointStatus | None = None
    format: Format | None = Field(None, description="For messages from now on; those that are made stay as they are.")
    signing: Signing | None = None
    headers: _Headers | None = None
    auth: AuthTerms | None = None
    client_certificate: CertificateTerms | None = None
    ca_bundle: _Bundle | None = Field(None, description=_BUNDLE_TEXT)
    timeout_seconds: _Timeout | None = None
    max_in_flight: _InFlight | None = None
    rate_limit_per_second: _Rate | None = None
    schedule: _Schedule | None = None
    ordering: Ordering | None = None
    on_exhausted: OnExhausted | None = None


class Pause(RequestModel):
    """A pause; deliveries wait and go out once it is over."""

    until: Instant | None = Field(None, description="When it ends by itself; without it somebody has to resume.")


class Test(RequestModel):
    """A test; without a type it is of the type test."""

    event_type: Text = Field(TEST, description="A type of the catalogue, whose example is sent.")


class EndpointQuery(PageQuery):
    """Filters of the list."""

    status: EndpointStatus | None = None
    uid: _UID | None = None
    event_type: Text | None = Field(None, description="Only those that get events of this type.")


def _shown(shown: ShownEndpoint) -> web.Response:
    return data_response(shown_data(shown), 201, etag(shown.endpoint))


def _answer(endpoint: Endpoint) -> web.Response:
    return data_response(endpoint_data(endpoint), headers=etag(endpoint))


async def create(request: Request) -> web.StreamResponse:
    """Create an endpoint."""
    body = request.body(EndpointCreation)
    draft = EndpointDraft(
        url=body.url,
        event_types=tuple(body.event_types),
        uid=body.uid,
        description=body.description,
        metadata=body.metadata,
        status=body.status,
        format=body.format,
        signing=body.signing,
        secret=body.secret,
        headers=body.headers,
        auth=None if body.auth is None else body.auth.to_auth(),
        client_certificate=None if body.client_certificate is None else body.client_certificate.to_pair(),
        ca_bundle=body.ca_bundle,
        timeout_seconds=body.timeout_seconds,
        max_in_flight=body.max_in_flight,
        rate_limit_per_second=body.rate_limit_per_second,
        schedule=None if body.schedule is None else tuple(body.schedule),
        ordering=body.ordering,
        on_exhausted=body.on_exhausted,
        partner_id=partner_in(request, body.partner_id),
    )
    made = once(request, _shown, has_secret=True)
    return respond(request, await use_cases(request).create_endpoint(owner(request), draft, made))


async def list_all(request: Request) -> web.StreamResponse:
    """List endpoints, the newest first."""
    query = request.query(EndpointQuery)
    page = await use_cases(request).read_endpoints.page(
        owner(request),
        status=query.status,
        event_type=query.event_type,
        uid=query.uid,
        before=query.last_id,
        limit=query.limit,
    )
    return page_after([endpoint_data(each) for each in page.endpoints], page.next_after)


async def show(request: Request) -> web.StreamResponse:
    """Show one endpoint."""
    found = await use_cases(request).read_endpoints.one(owner(request), request.path_id("endpoint_id"))
    return _answer(found)


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


async def pause(request: Request) -> web.StreamResponse:
    """Hold deliveries back."""
    return await _set_status(request, "paused", request.body(Pause).until)


async def resume(request: Request) -> web.StreamResponse:
    """End a pause."""
    return await _set_status(request, "active")


async def disable(request: Request) -> web.StreamResponse:
    """Take no more deliveries."""
    return await _set_status(request, "disabled")


async def enable(request: Request) -> web.StreamResponse:
    """Take deliveries again, with a clean record."""
    return await _set_status(request, "active")


async def archive(request: Request) -> web.StreamResponse:
    """Archive an endpoint and cancel what is pending."""
    endpoint_id = request.path_id("endpoint_id")
    found = await use_cases(request).archive_endpoint(owner(request), endpoint_id, versions(request))
    return _answer(found)


async def test(request: Request) -> web.StreamResponse:
    """Send a test and answer with the attempt."""
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


_ALL: Final = "/v1/webhooks/endpoints"
_ONE: Final = "/v1/webhooks/endpoints/{endpoint_id}"
_COMMON: Final[dict[str, Any]] = {**COMMON, "tag": "endpoints"}
_MISSING: Final = "No such endpoint, or it belongs to somebody else"

ROUTES: Final = (
    Route(
        method="POST",
        path=_ALL,
        handler=create,
        summary="Create an endpoint; its secret is shown this once",
        body=EndpointCreation,
        idempotent=True,
        versioned=True,
        responses={
            201: Data[ShownEndpointData],
            409: "There are as many endpoints as there may be (`too_many_endpoints`), or one of them has this uid "
            "(`uid_taken`)",
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
        versioned=True,
        responses={200: Data[EndpointData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="PATCH",
        path=_ONE,
        handler=change,
        summary="Change, pause or resume an endpoint",
        body=EndpointChange,
        versioned=True,
        responses={
            200: Data[EndpointData],
            404: _MISSING,
            409: "There is no secret to sign with (`key_missing`), or another endpoint has this uid (`uid_taken`)",
        },
        examples={"request": {"status": "paused"}},
        **_COMMON,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=archive,
        summary="Archive an endpoint and cancel what is pending",
        versioned=True,
        responses={200: Data[EndpointData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/test",
        handler=test,
        summary="Send a test now, once, and answer with the attempt",
        description=(
            "The event test, or the catalogue's example of another type, in the endpoint's format and whatever its "
            "status. Here it is recorded as a test, and never sent again by a replay."
        ),
        body=Test,
        body_required=False,
        responses={
            200: Data[AttemptData],
            404: _MISSING,
            409: "The secret to sign it with cannot be read (`secret_unreadable`)",
            422: "No such type, or not for the owner of this endpoint",
            429: "The endpoint's rate_limit_per_second is used up for longer than anybody would wait",
        },
        examples={"request": {"event_type": "code.redeemed"}},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/pause",
        handler=pause,
        summary="Hold deliveries back, until a time or until somebody resumes",
        body=Pause,
        body_required=False,
        versioned=True,
        responses={200: Data[EndpointData], 404: _MISSING},
        **_COMMON,
    ),
    *(
        Route(
            method="POST",
            path=f"{_ONE}/{word}",
            handler=handler,
            summary=summary,
            versioned=True,
            responses={200: Data[EndpointData], 404: _MISSING},
            **_COMMON,
        )
        for word, handler, summary in (
            ("resume", resume, "End a pause; what has waited goes out"),
            ("disable", disable, "Take no more deliveries; what is pending becomes dead letters"),
            ("enable", enable, "Take deliveries again, with a clean record"),
        )
    ),
)
