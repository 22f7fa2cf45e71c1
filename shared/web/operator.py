"""The operators' API that every service has, `/v1/operator/{service}/…`: for the operator only, by token or account.

It knows no database: what it shows comes in as protocols, which `app` fills in.
"""

import base64
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from aiohttp import web
from pydantic import Field

from shared.events.history import HistoryFilter, HistoryPage, PastEvent, Place
from shared.web.models import Data, Instant, Moment, ResponseModel, Text, window
from shared.web.paging import Page, PageQuery, decode_cursor, encode_cursor
from shared.web.problems import invalid_field
from shared.web.request import Request
from shared.web.responses import data_response, page_response
from shared.web.routes import Route


class ReadsHistory(Protocol):
    """The history of a service's own events."""

    async def page(self, wanted: HistoryFilter, after: Place | None, limit: int) -> HistoryPage:
        """Return the next page of the events that fit."""


class CountsLetters(Protocol):
    """The dead letters that the service keeps because their queue has no room for them."""

    async def count(self) -> int:
        """Return how many there are, counted up to ten thousand."""


@dataclass(frozen=True, slots=True)
class Operating:
    """What the operators' API of a service needs. Without a token only accounts are let in."""

    token: str | None
    history: ReadsHistory
    overflow: CountsLetters


OPERATING: Final = web.AppKey("operating", Operating)


class HistoryQuery(PageQuery):
    """Which events to list; all given members must match."""

    type: Text | None = Field(None, description="A type, or a group such as code.*")
    program_id: Text | None = None
    since: Instant | None = None
    until: Instant | None = None
    _in_order = window("since", "until")
    bodies: Literal["true", "false"] = Field("true", description="`false` leaves them out, for who only counts.")


class EventData(ResponseModel):
    """An event; its body byte for byte as it was published."""

    id: uuid.UUID
    type: str
    created_at: Moment
    body_base64: str | None


async def list_events(request: Request) -> web.StreamResponse:
    """List events of the service's history."""
    query = request.query(HistoryQuery)
    wanted = HistoryFilter(query.type, _program_id(query.program_id), query.since, query.until)
    after = None if query.cursor is None else decode_cursor(query.cursor, datetime, uuid.UUID)
    page = await request.dependency(OPERATING).history.page(wanted, after, query.limit)
    cursor = encode_cursor(*page.next_after) if page.next_after else None
    return page_response([_data(each, has_body=query.bodies == "true") for each in page.events], cursor)


class DeadLettersData(ResponseModel):
    """What the service keeps of its dead letters, beside its dead queue."""

    kept: int = Field(description="Letters for which the dead queue has no room; counted up to 10,000.")


async def show_dead_letters(request: Request) -> web.StreamResponse:
    """Count the dead letters that are not in their queue."""
    return data_response(DeadLettersData(kept=await request.dependency(OPERATING).overflow.count()))


def _program_id(text: str | None) -> uuid.UUID | None:
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        raise invalid_field("program_id", "The program_id parameter must be the id of a program.") from None


def _data(past: PastEvent, *, has_body: bool) -> EventData:
    event = past.event
    body = base64.b64encode(event.body).decode() if has_body else None
    return EventData(id=event.id, type=event.type, created_at=past.created_at, body_base64=body)


_COMMON: Final[dict[str, Any]] = {"tag": "operator", "security": "operator", "family": "management"}


def operator_routes(service: str) -> tuple[Route, ...]:
    """Return the routes for one service; each service has its own, so that all of them can live behind one origin."""
    return (
        Route(
            method="GET",
            path=f"/v1/operator/{service}/events",
            handler=list_events,
            summary="List events that the service has published, oldest first",
            description="Goes back as far as the history is kept. A page may be short or empty before the end; go on "
            "while there is a `meta.next_cursor`. `mintwire events republish` publishes what it finds here again.",
            query=HistoryQuery,
            responses={200: Page[EventData]},
            **_COMMON,
        ),
        Route(
            method="GET",
            path=f"/v1/operator/{service}/dead-letters",
            handler=show_dead_letters,
            summary="Count the dead letters that their queue has no room for",
            description="They go back into their dead queue as it empties, the oldest first.",
            responses={200: Data[DeadLettersData]},
            **_COMMON,
        ),
    )
