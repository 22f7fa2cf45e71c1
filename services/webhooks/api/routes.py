"""All routes of the service."""

from typing import Final

from services.webhooks.api import deliveries, endpoints

ROUTES: Final = (*endpoints.ROUTES, *deliveries.ROUTES)
