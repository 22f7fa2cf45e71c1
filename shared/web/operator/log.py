"""`/v1/operator/{service}/log`: what operators did to the service by this API."""

import uuid
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from shared.web.models import Moment, ResponseModel
from shared.web.operator.context import COMMON, OPERATING
from shared.web.paging import Page, PageQuery, page_of
from shared.web.request import Request
from shared.web.routes import Routes


class EntryData(ResponseModel):
    """An operator's action, begun or completed."""

    id: uuid.UUID
    actor: str = Field(description="`operator`, for the operator's token, or `account <id>`.")
    action: str
    target: str = Field(description="The queue or other object of the action.")
    justification: str | None
    details: dict[str, Any] = Field(description="What was requested, or the result.")
    created_at: Moment


ROUTES: Final = Routes("", **COMMON)


@ROUTES.get("/log", Page[EntryData], query=PageQuery)
async def list_entries(request: Request) -> web.StreamResponse:
    """List what operators did to the service by this API, newest first.

    A longer action has two entries: one before it starts (`letters.purge_started`) and one with its result
    (`letters.purged`). The second is missing if the process died in between. Entries are kept for 730 days.
    """
    query = request.query(PageQuery)
    found = await request.dependency(OPERATING).log.page(query.last_id, query.limit + 1)
    return page_of(query, found, EntryData.of)
