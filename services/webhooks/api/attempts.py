"""`/v1/webhooks/endpoints/{endpoint_id}/attempts`: what was sent to an endpoint, and what it answered."""

import uuid
from typing import Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, owner, use_cases
from services.webhooks.api.delivery_data import AttemptData, attempt_data
from services.webhooks.domain.deliveries import Trigger
from shared.web import Page, PageQuery, Request, Routes, page_response


class AttemptQuery(PageQuery):
    """Filters of the list of an endpoint's attempts."""

    trigger: Trigger | None = Field(None, description="What the attempt was made for; `test` is the history of tests.")


_ROUTES: Final = Routes(
    "/v1/webhooks/endpoints/{endpoint_id}/attempts",
    "No such endpoint, or it belongs to another account",
    tag="deliveries",
    **COMMON,
)


@_ROUTES.get("", Page[AttemptData], query=AttemptQuery)
async def list_of_endpoint(request: Request) -> web.StreamResponse:
    """List the attempts of an endpoint, those of its newest deliveries first.

    A page can be short or empty without being the last: continue while `meta.next_cursor` is not null.
    """
    query = request.query(AttemptQuery)
    endpoint = await use_cases(request).read_endpoints.one(owner(request), request.path_id("endpoint_id"))
    before = query.position(uuid.UUID, int)
    page = await use_cases(request).read_deliveries.attempts(endpoint.id, query.trigger, before, query.limit)
    cursor = query.cursor_after(*page.next_after) if page.next_after else None
    return page_response([attempt_data(each) for each in page.attempts], cursor)


ROUTES: Final = tuple(_ROUTES.all)
