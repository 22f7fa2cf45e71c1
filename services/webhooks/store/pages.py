"""The bounds of lists of deliveries, how owners' endpoints are chosen, and where one page ends and the next begins."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from services.webhooks.domain.endpoints import Owner

SCANNED_PER_PAGE: Final = 2000
# For an owner with more endpoints than this, the list does not search each endpoint.
MOST_ENDPOINTS: Final = 1000
# How many endpoints, those with the newest rows, one page is made of.
SOURCES: Final = 50


def endpoint_choice(owner: Owner, endpoint_id: uuid.UUID | None) -> dict[str, uuid.UUID | None]:
    """Return the condition that selects endpoints: those of an owner, or one of them."""
    return {"program": owner.program_id, "partner": owner.partner_id, "endpoint": endpoint_id}


def cut(rows: Sequence[Any], limit: int) -> tuple[list[Any], uuid.UUID | None]:
    """Return the rows of a page and the id to continue after; there is one more than `limit` if there are more."""
    found = sorted((row for row in rows if not row.get("is_mark")), key=lambda row: row["id"], reverse=True)
    if len(found) > limit:
        return found[:limit], found[limit - 1]["id"]
    return found, next((row["id"] for row in rows if row.get("is_mark")), None)
