"""What is told of what is done to an endpoint; other endpoints may subscribe to it, itself never hears of it."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from services.webhooks.domain.certificates import ExpiringCertificate
from services.webhooks.domain.endpoints import DISABLED_BY_OWNER, Endpoint, Marked, Resumed
from services.webhooks.domain.secrets import SecretKind
from shared.events.envelope import OutboxEvent
from shared.events.webhooks import (
    WebhookCertificateExpiringV1,
    WebhookEndpointArchivedV1,
    WebhookEndpointCreatedV1,
    WebhookEndpointDisabledV1,
    WebhookEndpointEnabledV1,
    WebhookEndpointPausedV1,
    WebhookEndpointUpdatedV1,
    WebhookSecretReadableV1,
    WebhookSecretUnreadableV1,
)
from shared.ids import new_id


class HandOver(Protocol):
    """Takes events whose transaction has committed, to publish them."""

    def __call__(self, events: Sequence[OutboxEvent], /) -> None:
        """Never blocks."""


def resumed(endpoint: Resumed, now: datetime) -> OutboxEvent:
    """Return the event of a pause that has come to its end by itself."""
    return WebhookEndpointEnabledV1(**_whose(endpoint, now), was="paused").to_event(new_id(), now)


def secret_unreadable(endpoint: Marked, kind: SecretKind, now: datetime) -> OutboxEvent:
    """Return the event of an endpoint that cannot be sent to because a secret of it cannot be opened."""
    return WebhookSecretUnreadableV1(**_whose(endpoint, now), secret=kind).to_event(new_id(), now)


def secret_readable(endpoint: Marked, now: datetime) -> OutboxEvent:
    """Return the event of an endpoint whose secrets can be opened again."""
    return WebhookSecretReadableV1(**_whose(endpoint, now)).to_event(new_id(), now)


def certificate_expiring(endpoint: ExpiringCertificate, now: datetime) -> OutboxEvent:
    """Return the event of an endpoint whose client certificate expires before long."""
    return WebhookCertificateExpiringV1(
        **_whose(endpoint, now),
        expires_at=endpoint.expires_at,
        days_left=endpoint.days_left(now),
        fingerprint_sha256=endpoint.fingerprint_sha256,
    ).to_event(new_id(), now)


def created(endpoint: Endpoint, now: datetime) -> OutboxEvent:
    """Return the event of a new endpoint."""
    return WebhookEndpointCreatedV1(
        **_whose(endpoint, now), event_types=list(endpoint.event_types), status=endpoint.status
    ).to_event(new_id(), now)


def archived(endpoint: Endpoint, now: datetime) -> OutboxEvent:
    """Return the event of an endpoint's end."""
    return WebhookEndpointArchivedV1(**_whose(endpoint, now)).to_event(new_id(), now)


def updated(endpoint: Endpoint, changed: Collection[str], now: datetime) -> OutboxEvent:
    """Return the event of a change to the named members."""
    return WebhookEndpointUpdatedV1(**_whose(endpoint, now), changed=sorted(changed)).to_event(new_id(), now)


def compared(before: Endpoint, after: Endpoint, given: Collection[str], now: datetime) -> Iterator[OutboxEvent]:
    """Yield what is to be told of a change, given the members that were to be changed."""
    # Of what authenticates us the secret is not shown, so a new one cannot be told from the old one.
    differ = {name for name in given if name == "auth" or getattr(before, name) != getattr(after, name)}
    if others := differ - {"status", "paused_until"}:
        yield updated(after, others, now)
    if not differ & {"status", "paused_until"}:
        return
    if after.status == "disabled":
        yield WebhookEndpointDisabledV1(
            program_id=after.program_id,
            partner_id=after.partner_id,
            endpoint_id=after.id,
            reason=after.disabled_reason or DISABLED_BY_OWNER,
            disabled_at=now,
        ).to_event(new_id(), now)
    elif after.status == "paused":
        yield WebhookEndpointPausedV1(**_whose(after, now), paused_until=after.paused_until).to_event(new_id(), now)
    elif before.status != "active":
        yield WebhookEndpointEnabledV1(**_whose(after, now), was=before.status).to_event(new_id(), now)


def _whose(endpoint: Endpoint | Resumed | Marked | ExpiringCertificate, now: datetime) -> dict[str, Any]:
    return {
        "program_id": endpoint.program_id,
        "partner_id": endpoint.partner_id,
        "endpoint_id": endpoint.id,
        "uid": endpoint.uid,
        "occurred_at": now,
    }
