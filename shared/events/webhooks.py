"""Events of the webhooks service about its own work."""

from typing import ClassVar, Literal

from shared.events.checkout import EventUUID
from shared.events.envelope import EventTime, ServiceEvent, ShortText

SOURCE = "/mintwire/webhooks"


class _DeliveryEvent(ServiceEvent):
    """An event about one delivery."""

    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    delivery_id: EventUUID
    endpoint_id: EventUUID
    message_id: ShortText
    event_type: ShortText


class WebhookDeliveryDeadV1(_DeliveryEvent):
    """A delivery used up its attempts, or its endpoint is gone; it can be replayed."""

    type: ClassVar[str] = "webhook.delivery_dead"
    version: ClassVar[int] = 1

    reason: ShortText
    attempts: int
    last_status: int | None
    died_at: EventTime


class WebhookEndpointFailingV1(ServiceEvent):
    """Nothing has succeeded at an endpoint for a while; `level` is the percentage of the time until it is disabled."""

    type: ClassVar[str] = "webhook.endpoint_failing"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    level: int
    failing_since: EventTime
    disables_at: EventTime
    delivery_id: EventUUID
    message_id: ShortText
    event_type: ShortText
    last_status: int | None
    last_error_code: ShortText | None


class WebhookRecoveredV1(ServiceEvent):
    """An endpoint that was reported as failing accepted a delivery."""

    type: ClassVar[str] = "webhook.recovered"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    failing_since: EventTime
    recovered_at: EventTime
    delivery_id: EventUUID
    message_id: ShortText
    event_type: ShortText


class WebhookEndpointDisabledV1(ServiceEvent):
    """An endpoint was disabled: its receiver is gone (410) or asked for it, it failed for too long, or by its owner."""

    type: ClassVar[str] = "webhook.endpoint_disabled"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    reason: ShortText
    disabled_at: EventTime


class _EndpointEvent(ServiceEvent):
    """A change of an endpoint, by a person or by time; its URL is not included."""

    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    uid: str | None
    occurred_at: EventTime


class WebhookEndpointCreatedV1(_EndpointEvent):
    """An endpoint was created."""

    type: ClassVar[str] = "webhook.endpoint_created"
    version: ClassVar[int] = 1

    event_types: list[ShortText]
    status: Literal["active", "paused", "disabled"]


class WebhookEndpointUpdatedV1(_EndpointEvent):
    """An endpoint was changed; `changed` names the members that differ, `keys` for its signing keys."""

    type: ClassVar[str] = "webhook.endpoint_updated"
    version: ClassVar[int] = 1

    changed: list[ShortText]


class WebhookEndpointPausedV1(_EndpointEvent):
    """An endpoint was paused: its deliveries wait until a time or until it is resumed."""

    type: ClassVar[str] = "webhook.endpoint_paused"
    version: ClassVar[int] = 1

    paused_until: EventTime | None


class WebhookEndpointEnabledV1(_EndpointEvent):
    """An endpoint that was paused or disabled is active again."""

    type: ClassVar[str] = "webhook.endpoint_enabled"
    version: ClassVar[int] = 1

    was: Literal["paused", "disabled"]


class WebhookEndpointArchivedV1(_EndpointEvent):
    """An endpoint was archived: nothing more is sent there, and pending deliveries are canceled."""

    type: ClassVar[str] = "webhook.endpoint_archived"
    version: ClassVar[int] = 1


class WebhookSecretUnreadableV1(_EndpointEvent):
    """A secret of an endpoint cannot be decrypted: nothing is sent there until it can be, or its owner sets another.

    `secret` is `signing_key`, which a rotation replaces, or `auth`.
    """

    type: ClassVar[str] = "webhook.secret_unreadable"
    version: ClassVar[int] = 1

    secret: Literal["signing_key", "auth"]


class WebhookSecretReadableV1(_EndpointEvent):
    """The secrets of an endpoint can be decrypted again: its waiting deliveries go out."""

    type: ClassVar[str] = "webhook.secret_readable"
    version: ClassVar[int] = 1


class WebhookCertificateExpiringV1(_EndpointEvent):
    """The client certificate of an endpoint expires soon: emitted 30 days, 7 days and one day ahead.

    `days_left` is in whole days.
    """

    type: ClassVar[str] = "webhook.certificate_expiring"
    version: ClassVar[int] = 1

    expires_at: EventTime
    days_left: int
    fingerprint_sha256: ShortText


class WebhookDeliveryFailingV1(_DeliveryEvent):
    """Four attempts of a delivery failed, on the default schedule within 35 minutes; retries continue."""

    type: ClassVar[str] = "webhook.delivery_failing"
    version: ClassVar[int] = 1

    attempts: int
    last_status: int | None
    last_error_code: ShortText | None
    next_attempt_at: EventTime


class WebhookDeliveryRecoveredV1(_DeliveryEvent):
    """A delivery that was reported as failing has arrived."""

    type: ClassVar[str] = "webhook.delivery_recovered"
    version: ClassVar[int] = 1

    attempts: int
    recovered_at: EventTime


class WebhookReplayCompletedV1(ServiceEvent):
    """A replay has scheduled everything that it selected; the job shows the results."""

    type: ClassVar[str] = "webhook.replay_completed"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    replay_id: EventUUID
    which: Literal["failed", "missing", "all"]
    matched: int
    enqueued: int
    skipped: int
    completed_at: EventTime
