"""`/v1/operator/{service}/events`: the history of what the service has published."""

import base64
import uuid
from datetime import datetime
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from shared.events.history import HistoryFilter, PastEvent
from shared.web.models import Instant, Moment, ResponseModel, Text, window
from shared.web.operator.context import COMMON, OPERATING
from shared.web.paging import Page, PageQuery
from shared.web.problems import invalid_field
from shared.web.request import Request
from shared.web.responses import page_response
from shared.web.routes import Routes


class HistoryQuery(PageQuery):
    """The events to list; every given filter must match."""

    type: Text | None = Field(None, description="A type, or a group such as code.*")
    program_id: Text | None = None
    since: Instant | None = None
    until: Instant | None = None
    _in_order = window("since", "until")
    bodies: Literal["true", "false"] = Field("true", description="`false` omits them, to count only.")


class EventData(ResponseModel):
    """An event. Its body is byte for byte what was published."""

    id: uuid.UUID
    type: str
    created_at: Moment
    body_base64: str | None


ROUTES: Final = Routes("", **COMMON)


@ROUTES.get("/events", Page[EventData], query=HistoryQuery)
async def list_events(request: Request) -> web.StreamResponse:
    """List events that the service has published, oldest first.

    Covers the stored history. A page may be short or empty before the end; continue while there is a
    `meta.next_cursor`. Accounts of the grade `look` get no bodies. `mintwire events republish` publishes these events
    again.
    """
    query = request.query(HistoryQuery)
    wanted = HistoryFilter(query.type, _program_id(query.program_id), query.since, query.until)
    after = query.position(datetime, uuid.UUID)
    page = await request.dependency(OPERATING).history.page(wanted, after, query.limit)
    cursor = query.cursor_after(*page.next_after) if page.next_after else None
    account = request.account
    # The content may be about customers.
    has_body = query.bodies == "true" and (account is None or account.may_change)
    return page_response([_data(each, has_body=has_body) for each in page.events], cursor)


def _program_id(text: str | None) -> uuid.UUID | None:
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        raise invalid_field("program_id", "The program_id parameter must be the id of a program.") from None


def _data(past: PastEvent, *, has_body: bool) -> EventData:
    event = past.event
    body = base64.b64encode(event.body).decode() if has_body else None
    return EventData(id=event.id, type=event.type, created_at=past.created_at, body_base64=body)
