"""All published events, by type and version: the source of the schemas, the AsyncAPI document and the type filters."""

from typing import Final

from shared.events.checkout import CheckoutCancelledV1, CheckoutCompletedV1, CheckoutRefundedV1
from shared.events.codes import (
    CodeOrderCancelledV1,
    CodeOrderCreatedV1,
    CodeOrderGrantedV1,
    CodeOrderRefusedV1,
    CodesBatchCompletedV1,
    CodesGeneratedV1,
    CodeUpdatedV1,
    CouponCreatedV1,
    CouponUpdatedV1,
    QuotaExhaustedV1,
    QuotaLowV1,
)
from shared.events.envelope import EventData
from shared.events.redemption import (
    CodeCommissionChangedV1,
    CodeExhaustedV1,
    CodeRedeemedV1,
    CodeRedemptionRejectedV1,
    CodeRedemptionSkippedV1,
    CodeRedemptionVoidedV1,
    CouponExhaustedV1,
)
from shared.events.webhooks import (
    WebhookCertificateExpiringV1,
    WebhookDeliveryDeadV1,
    WebhookDeliveryFailingV1,
    WebhookDeliveryRecoveredV1,
    WebhookEndpointArchivedV1,
    WebhookEndpointCreatedV1,
    WebhookEndpointDisabledV1,
    WebhookEndpointEnabledV1,
    WebhookEndpointFailingV1,
    WebhookEndpointPausedV1,
    WebhookEndpointUpdatedV1,
    WebhookRecoveredV1,
    WebhookReplayCompletedV1,
    WebhookSecretReadableV1,
    WebhookSecretUnreadableV1,
)

# Grouped by the exchange on which they are published.
PUBLISHED: Final[dict[str, tuple[type[EventData], ...]]] = {
    "checkout": (CheckoutCompletedV1, CheckoutCancelledV1, CheckoutRefundedV1),
    "codes": (
        CodesGeneratedV1,
        CodesBatchCompletedV1,
        CouponCreatedV1,
        CouponUpdatedV1,
        CodeUpdatedV1,
        QuotaLowV1,
        QuotaExhaustedV1,
        CodeOrderCreatedV1,
        CodeOrderGrantedV1,
        CodeOrderRefusedV1,
        CodeOrderCancelledV1,
    ),
    "redemption": (
        CodeRedeemedV1,
        CodeRedemptionRejectedV1,
        CodeRedemptionSkippedV1,
        CodeRedemptionVoidedV1,
        CodeCommissionChangedV1,
        CodeExhaustedV1,
        CouponExhaustedV1,
    ),
    "webhooks": (
        WebhookDeliveryDeadV1,
        WebhookEndpointDisabledV1,
        WebhookEndpointFailingV1,
        WebhookRecoveredV1,
        WebhookEndpointCreatedV1,
        WebhookEndpointUpdatedV1,
        WebhookEndpointPausedV1,
        WebhookEndpointEnabledV1,
        WebhookEndpointArchivedV1,
        WebhookDeliveryFailingV1,
        WebhookDeliveryRecoveredV1,
        WebhookReplayCompletedV1,
        WebhookSecretUnreadableV1,
        WebhookSecretReadableV1,
        WebhookCertificateExpiringV1,
    ),
}

# What an endpoint may subscribe to: every event that our own services emit.
SUBSCRIBABLE: Final[frozenset[str]] = frozenset(
    model.type for exchange, models in PUBLISHED.items() if exchange != "checkout" for model in models
)
