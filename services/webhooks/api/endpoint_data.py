"""Endpoints as answers show them."""

import uuid

from services.webhooks.domain.endpoints import Endpoint, ShownEndpoint
from shared.modes import is_test
from shared.web import Moment, ResponseModel, TenantId


class AuthData(ResponseModel):
    """How we authenticate ourselves to a receiver; never the secret.

    `name` is the user's name, the scheme of `Authorization`, or the header's name; null for bearer.
    """

    type: str
    name: str | None


class CertificateData(ResponseModel):
    """A certificate, without its key."""

    subject: str
    issuer: str
    serial_number: str
    fingerprint_sha256: str
    not_before: Moment
    expires_at: Moment


class EndpointData(ResponseModel):
    """An endpoint. `resume_at` is set while the receiver is left alone: it asked for rest, or failed too often."""

    id: uuid.UUID
    uid: str | None
    url: str
    event_types: list[str]
    status: str
    format: str
    signing: str
    description: str | None
    metadata: dict[str, str]
    partner_id: TenantId | None
    headers: dict[str, str]
    auth: AuthData | None
    client_certificate: CertificateData | None
    ca_bundle: list[CertificateData] | None
    timeout_seconds: int
    max_in_flight: int
    rate_limit_per_second: int | None
    schedule: list[int] | None
    ordering: str
    on_exhausted: str
    disabled_reason: str | None
    paused_until: Moment | None
    resume_at: Moment | None
    created_at: Moment
    updated_at: Moment
    is_test: bool


class ShownEndpointData(EndpointData):
    """An endpoint with its new secret, shown this once, and its new public key; null where there is none."""

    secret: str | None
    public_key: str | None


def endpoint_data(endpoint: Endpoint) -> EndpointData:
    """Render an endpoint."""
    return EndpointData.of(endpoint, is_test=is_test(endpoint.program_id))


def shown_data(shown: ShownEndpoint) -> ShownEndpointData:
    """Render an endpoint with its secret."""
    endpoint = shown.endpoint
    secrets = {"secret": shown.secret, "public_key": shown.public_key}
    return ShownEndpointData.of(endpoint, is_test=is_test(endpoint.program_id), **secrets)
