"""All routes of the service, and what it sends itself."""

from typing import Final

from services.webhooks.api import deliveries, endpoints, keys, listeners, messages, outgoing, replays

ROUTES: Final = (
    *endpoints.ROUTES,
    *keys.ROUTES,
    *deliveries.ROUTES,
    *replays.ROUTES,
    *messages.ROUTES,
    *listeners.ROUTES,
)
WEBHOOKS: Final = outgoing.WEBHOOKS
