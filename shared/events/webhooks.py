"""What the webhook service says about its own work."""

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.events.checkout import EventUUID
from shared.events.envelope import EventData, ShortText

SOURCE = "/mintwire/webhooks"


class WebhookDeliveryDeadV1(EventData):
    """A delivery used up its attempts, or its endpoint is gone; it can be replayed."""

    type: ClassVar[str] = "webhook.delivery_dead"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    delivery_id: EventUUID
    endpoint_id: EventUUID
    message_id: ShortText
    event_type: ShortText
    reason: ShortText
    attempts: int
    last_status: int | None
    died_at: Annotated[AwareDatetime, Field(strict=False)]


class WebhookEndpointFailingV1(EventData):
    """Nothing has succeeded at an endpoint for a while; `level` is how much of the time until it is off is over."""

    type: ClassVar[str] = "webhook.endpoint_failing"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    level: int
    failing_since: Annotated[AwareDatetime, Field(strict=False)]
    disables_at: Annotated[AwareDatetime, Field(strict=False)]
    delivery_id: EventUUID
    message_id: ShortText
    event_type: ShortText
    last_status: int | None
    last_error_code: ShortText | None


class WebhookRecoveredV1(EventData):
    """An endpoint that was reported to be failing has taken a delivery."""

    type: ClassVar[str] = "webhook.recovered"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    failing_since: Annotated[AwareDatetime, Field(strict=False)]
    recovered_at: Annotated[AwareDatetime, Field(strict=False)]
    delivery_id: EventUUID
    message_id: ShortText
    event_type: ShortText


class WebhookEndpointDisabledV1(EventData):
    """An endpoint was switched off: its receiver said that it is gone (410) or asked for it, or it failed too long."""

    type: ClassVar[str] = "webhook.endpoint_disabled"
    version: ClassVar[int] = 1
    source: ClassVar[str] = SOURCE

    program_id: EventUUID
    partner_id: EventUUID | None
    endpoint_id: EventUUID
    reason: ShortText
    disabled_at: Annotated[AwareDatetime, Field(strict=False)]
