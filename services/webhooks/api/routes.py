"""All routes of the service, and the webhooks that it sends."""

from typing import Final

from services.webhooks.api import (
    attempts,
    dead_letters,
    deliveries,
    endpoints,
    event_types,
    health,
    keys,
    listeners,
    messages,
    meta,
    outgoing,
    publishing,
    replays,
    stats,
)
from shared.web.operator import operator_routes

ROUTES: Final = (
    *endpoints.ROUTES,
    *health.ROUTES,
    *keys.ROUTES,
    *deliveries.ROUTES,
    *attempts.ROUTES,
    *dead_letters.ROUTES,
    *replays.ROUTES,
    *messages.ROUTES,
    *publishing.ROUTES,
    *event_types.ROUTES,
    *listeners.ROUTES,
    *stats.ROUTES,
    *meta.ROUTES,
    *operator_routes("webhooks"),
)
WEBHOOKS: Final = outgoing.webhooks
