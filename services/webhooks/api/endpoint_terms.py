"""The settings of an endpoint that its owner chooses, as requests name them."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from services.webhooks.api.event_types import CHOICE
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
    EndpointStatus,
    Format,
    OnExhausted,
    Ordering,
)
from services.webhooks.domain.event_types import EVERYTHING
from services.webhooks.domain.headers import LONGEST_VALUE, MAX_HEADERS, Auth, AuthType
from services.webhooks.domain.signature import Signing
from shared.web import Int, RequestModel, Spelled, Text, field_error

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
UID = Annotated[
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
    "PEM: the certificate authorities to trust instead of the public ones, for a receiver whose certificate was issued "
    "by an authority of your own."
)


class AuthTerms(RequestModel):
    """How requests to the receiver are authenticated.

    `basic` (username, password), `bearer` (token) and `authorization` (scheme, token, as in `Token abc`) set the
    `Authorization` header; `header` (name, value) sets another one.
    """

    type: Literal["basic", "bearer", "authorization", "header"]
    username: Text | None = None
    password: _Value | None = None
    scheme: Text | None = Field(None, description="The scheme before the token, such as Token or ApiKey.")
    token: _Value | None = None
    name: Text | None = None
    value: _Value | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        wanted = _AUTH_MEMBERS[self.type]
        for member in ("username", "password", "scheme", "token", "name", "value"):
            if (getattr(self, member) is not None) != (member in wanted):
                raise field_error(member, f"{self.type} takes exactly {' and '.join(wanted)}.")
        return self

    def to_auth(self) -> Auth:
        """Convert to the domain's type."""
        name = self.username or self.scheme or self.name
        return Auth(self.type, name, self.password or self.token or self.value or "")


class CertificateTerms(RequestModel):
    """A client certificate, presented when the receiver asks for one in the TLS handshake (mutual TLS)."""

    certificate: Annotated[str, Field(min_length=1, max_length=LONGEST_CHAIN_BYTES)] = Field(
        description="PEM: the certificate, followed by the intermediate ones."
    )
    key: Annotated[str, Field(min_length=1, max_length=LONGEST_KEY_BYTES)] = Field(
        description="PEM: its private key, without a passphrase. Encrypted at rest and never shown."
    )

    def to_pair(self) -> CertificatePair:
        """Convert to the domain's type."""
        return CertificatePair(self.certificate, self.key)


class EndpointCreation(RequestModel):
    """A new endpoint. It is active at once unless `status` says otherwise."""

    url: _URL = Field(description="https; in development also http to a loopback host. Used byte for byte as given.")
    event_types: _Types = Field([EVERYTHING], description=CHOICE)
    uid: UID | None = Field(None, description="Your own name for the endpoint, unique among your endpoints.")
    description: Text | None = None
    metadata: _Metadata = Field(
        default_factory=dict, description="Your own key-value pairs. Stored and returned, not interpreted."
    )
    status: EndpointStatus = "active"
    format: Format = "flat"
    signing: Signing = "hmac"
    secret: Text | None = Field(
        None, description="Your own signing key: whsec_ and base64 of 24 to 64 bytes, or whsk_ for an ed25519 key."
    )
    headers: _Headers = Field(default_factory=dict, description="Additional headers to send with each webhook.")
    auth: AuthTerms | None = None
    client_certificate: CertificateTerms | None = None
    ca_bundle: _Bundle | None = Field(None, description=_BUNDLE_TEXT)
    timeout_seconds: _Timeout = DEFAULT_TIMEOUT
    max_in_flight: _InFlight = Field(DEFAULT_IN_FLIGHT, description="Maximum number of concurrent POSTs.")
    rate_limit_per_second: _Rate | None = Field(None, description="Maximum number of POSTs started per second.")
    schedule: _Schedule | None = Field(None, description="Seconds before each retry, instead of the default schedule.")
    ordering: Ordering = Field(
        "none", description="none: as they come. key: in order per ordering key. strict: one at a time."
    )
    on_exhausted: OnExhausted = Field(
        "skip", description="What a dead letter does to an ordered queue. skip: it continues. block: it waits."
    )
    partner_id: uuid.UUID | None = Field(None, description="With a program's key: the partner who owns the endpoint.")


class EndpointChange(RequestModel):
    """The members to change; the others stay as they are. Null clears an optional member."""

    url: _URL | None = None
    event_types: _Types | None = Field(None, description=CHOICE)
    uid: UID | None = None
    description: Text | None = None
    metadata: _Metadata | None = None
    status: EndpointStatus | None = None
    format: Format | None = Field(None, description="Applies to new messages; existing ones keep theirs.")
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
