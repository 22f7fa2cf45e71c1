"""Endpoints as responses show them."""

import uuid

from services.webhooks.domain.endpoints import Endpoint, ShownEndpoint
from shared.modes import is_test
from shared.web import Moment, ResponseModel, TenantId


class AuthData(ResponseModel):
    """How requests to the receiver are authenticated, without the secret.

    `name` is the user name, the scheme of `Authorization`, or the name of the header; null for `bearer`.
    """

    type: str
    name: str | None


class CertificateData(ResponseModel):
    """A certificate, without its private key."""

    subject: str
    issuer: str
    serial_number: str
    fingerprint_sha256: str
    not_before: Moment
    expires_at: Moment


class EndpointData(ResponseModel):
    """An endpoint.

    `resume_at` is set while nothing is sent because the receiver asked for a pause or failed too often.
    """

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
    """An endpoint with its new secret, which is shown only once, and its new public key. Null if it has none."""

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
