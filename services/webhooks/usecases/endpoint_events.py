"""The events about endpoints. Other endpoints may subscribe to them; an endpoint never receives events about itself."""

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
    """Publishes events whose transaction has committed."""

    def __call__(self, events: Sequence[OutboxEvent], /) -> None:
        """Never blocks."""


def resumed_event(endpoint: Resumed, now: datetime) -> OutboxEvent:
    """Return the event for a pause that has ended."""
    return WebhookEndpointEnabledV1(**_owner_members(endpoint, now), was="paused").to_event(new_id(), now)


def secret_unreadable_event(endpoint: Marked, kind: SecretKind, now: datetime) -> OutboxEvent:
    """Return the event for an endpoint that cannot be sent to because one of its secrets cannot be decrypted."""
    return WebhookSecretUnreadableV1(**_owner_members(endpoint, now), secret=kind).to_event(new_id(), now)


def secret_readable_event(endpoint: Marked, now: datetime) -> OutboxEvent:
    """Return the event for an endpoint whose secrets can be decrypted again."""
    return WebhookSecretReadableV1(**_owner_members(endpoint, now)).to_event(new_id(), now)


def certificate_expiring_event(endpoint: ExpiringCertificate, now: datetime) -> OutboxEvent:
    """Return the event for an endpoint whose client certificate expires soon."""
    return WebhookCertificateExpiringV1(
        **_owner_members(endpoint, now),
        expires_at=endpoint.expires_at,
        days_left=endpoint.days_left(now),
        fingerprint_sha256=endpoint.fingerprint_sha256,
    ).to_event(new_id(), now)


def created_event(endpoint: Endpoint, now: datetime) -> OutboxEvent:
    """Return the event for a new endpoint."""
    return WebhookEndpointCreatedV1(
        **_owner_members(endpoint, now), event_types=list(endpoint.event_types), status=endpoint.status
    ).to_event(new_id(), now)


def archived_event(endpoint: Endpoint, now: datetime) -> OutboxEvent:
    """Return the event for an archived endpoint."""
    return WebhookEndpointArchivedV1(**_owner_members(endpoint, now)).to_event(new_id(), now)


def updated_event(endpoint: Endpoint, changed: Collection[str], now: datetime) -> OutboxEvent:
    """Return the event for a change of the named members."""
    return WebhookEndpointUpdatedV1(**_owner_members(endpoint, now), changed=sorted(changed)).to_event(new_id(), now)


def change_events(before: Endpoint, after: Endpoint, given: Collection[str], now: datetime) -> Iterator[OutboxEvent]:
    """Yield the events for a change, given the members in the request."""
    # The credentials are not shown, so a new secret cannot be distinguished from the old one.
    differ = {name for name in given if name == "auth" or getattr(before, name) != getattr(after, name)}
    if others := differ - {"status", "paused_until"}:
        yield updated_event(after, others, now)
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
        yield WebhookEndpointPausedV1(**_owner_members(after, now), paused_until=after.paused_until).to_event(
            new_id(), now
        )
    elif before.status != "active":
        yield WebhookEndpointEnabledV1(**_owner_members(after, now), was=before.status).to_event(new_id(), now)


def _owner_members(endpoint: Endpoint | Resumed | Marked | ExpiringCertificate, now: datetime) -> dict[str, Any]:
    return {
        "program_id": endpoint.program_id,
        "partner_id": endpoint.partner_id,
        "endpoint_id": endpoint.id,
        "uid": endpoint.uid,
        "occurred_at": now,
    }
