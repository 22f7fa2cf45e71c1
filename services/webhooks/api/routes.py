"""All routes of the service."""

from typing import Final

from services.webhooks.api import deliveries, endpoints, keys, listeners, messages, replays

ROUTES: Final = (
    *endpoints.ROUTES,
    *keys.ROUTES,
    *deliveries.ROUTES,
    *replays.ROUTES,
    *messages.ROUTES,
    *listeners.ROUTES,
)
