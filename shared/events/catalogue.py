"""All published events, by type and version: the source of the schemas, the AsyncAPI document and the type filters."""

from typing import Final

from shared.events.checkout import CheckoutCompletedV1
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import EventData
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionRejectedV1
from shared.events.webhooks import (
    WebhookDeliveryDeadV1,
    WebhookEndpointDisabledV1,
    WebhookEndpointFailingV1,
    WebhookRecoveredV1,
)

# By the exchange on which they are published.
PUBLISHED: Final[dict[str, tuple[type[EventData], ...]]] = {
    "checkout": (CheckoutCompletedV1,),
    "codes": (CodesGeneratedV1,),
    "redemption": (CodeRedeemedV1, CodeRedemptionRejectedV1),
    "webhooks": (WebhookDeliveryDeadV1, WebhookEndpointFailingV1, WebhookEndpointDisabledV1, WebhookRecoveredV1),
}

# What an endpoint may subscribe to: everything that our own services say.
SUBSCRIBABLE: Final[frozenset[str]] = frozenset(
    model.type for exchange, models in PUBLISHED.items() if exchange != "checkout" for model in models
)
