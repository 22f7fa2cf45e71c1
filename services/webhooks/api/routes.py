"""All routes of the service."""

from typing import Final

from services.webhooks.api import deliveries, endpoints, keys

ROUTES: Final = (*endpoints.ROUTES, *keys.ROUTES, *deliveries.ROUTES)
