"""`/v1/webhooks/replays`: bulk replays as jobs."""

import uuid
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, once, owner, use_cases
from services.webhooks.domain.replays import (
    DEFAULT_RATE,
    MOST_RATE,
    ReplayDraft,
    ReplayProgress,
    ReplayStatus,
    Which,
)
from shared.modes import is_test
from shared.web import (
    Data,
    Instant,
    Int,
    Moment,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    Text,
    data_response,
    page_after,
    respond,
)


class ReplayCreation(RequestModel):
    """Which messages to send to an endpoint again."""

    endpoint_id: uuid.UUID
    which: Which = Field(
        description="failed: dead letters. missing: messages without a delivery. all: all but pending deliveries."
    )
    since: Instant = Field(description="Events received at or after this time.")
    until: Instant | None = Field(None, description="Events received before this time; by default, now.")
    event_types: Annotated[list[Text], Field(min_length=1, max_length=100)] | None = Field(
        None, description="Event types, or groups such as code.*; by default, all."
    )
    dry_run: bool = Field(False, description="Count the messages without sending them.")
    rate_per_second: Annotated[Int, Field(ge=1, le=MOST_RATE)] = Field(
        DEFAULT_RATE, description="Number of deliveries made due per second."
    )


class ReplayQuery(PageQuery):
    """Filters of the list."""

    endpoint_id: uuid.UUID | None = None


class ReplayData(ResponseModel):
    """A replay and its progress.

    `matched` is the number of messages found so far: `enqueued` were made due again, `skipped` have no stored content.
    `succeeded`, `dead` and `waiting` count the deliveries by result, without those that a later replay has sent again.
    Up to 10,000 are counted, fewer in a list; `is_whole` is false if there may be more.
    """

    id: uuid.UUID
    endpoint_id: uuid.UUID
    which: str
    since: Moment
    until: Moment
    event_types: list[str] | None
    dry_run: bool
    rate_per_second: int
    status: ReplayStatus
    matched: int
    enqueued: int
    skipped: int
    succeeded: int
    dead: int
    waiting: int
    is_whole: bool
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    is_test: bool


_ROUTES: Final = Routes(
    "/v1/webhooks/replays", "No such replay, or it belongs to another account", tag="replays", **COMMON
)


def replay_data(progress: ReplayProgress) -> ReplayData:
    """Render a replay."""
    replay = progress.replay
    results = {name: getattr(progress, name) for name in ("succeeded", "dead", "waiting", "is_whole")}
    return ReplayData.of(replay, dry_run=replay.is_dry_run, is_test=is_test(replay.program_id), **results)


def _accepted(progress: ReplayProgress) -> web.Response:
    return data_response(replay_data(progress), 202)


@_ROUTES.post(
    "",
    Data[ReplayData],
    status=202,
    body=ReplayCreation,
    idempotent=True,
    examples={
        "request": {
            "endpoint_id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "which": "failed",
            "since": "2026-03-16T00:00:00Z",
            "dry_run": True,
        }
    },
    refusals={
        404: "No such endpoint, or it belongs to another account",
        409: "Too many replays are running (`too_many_replays`)",
    },
)
async def create(request: Request) -> web.StreamResponse:
    """Create a replay: send failed, missing or all messages again, in the background."""
    body = request.body(ReplayCreation)
    event_types = None if body.event_types is None else tuple(body.event_types)
    terms = dict(body) | {"event_types": event_types, "is_dry_run": body.dry_run}
    del terms["dry_run"]
    draft = ReplayDraft(**terms)
    return respond(request, await use_cases(request).replays.create(owner(request), draft, once(request, _accepted)))


@_ROUTES.get("", Page[ReplayData], query=ReplayQuery)
async def list_all(request: Request) -> web.StreamResponse:
    """List replays."""
    query = request.query(ReplayQuery)
    page = await use_cases(request).replays.page(owner(request), query.endpoint_id, query.last_id, query.limit)
    return page_after(query, [replay_data(each) for each in page.replays], page.next_after)


@_ROUTES.get("/{replay_id}", Data[ReplayData])
async def show(request: Request) -> web.StreamResponse:
    """Show a replay with its progress."""
    found = await use_cases(request).replays.one(owner(request), request.path_id("replay_id"))
    return data_response(replay_data(found))


@_ROUTES.post(
    "/{replay_id}/cancel", Data[ReplayData], refusals={409: "The replay has already finished (`replay_ended`)"}
)
async def cancel(request: Request) -> web.StreamResponse:
    """Cancel a replay; deliveries that are already due are still sent."""
    found = await use_cases(request).replays.cancel(owner(request), request.path_id("replay_id"))
    return data_response(replay_data(found))


ROUTES: Final = tuple(_ROUTES.all)
