"""`/v1/webhooks/replays`: bulk replays as jobs."""

import uuid
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.exchange import COMMON, once, owner, use_cases
from services.webhooks.domain.replays import (
    DEFAULT_RATE,
    MOST_RATE,
    ReplayDraft,
    ReplayProgress,
    ReplayStatus,
    Which,
)
from shared.clock import format_microseconds
from shared.modes import is_test
from shared.web import (
    Data,
    Instant,
    Int,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    data_response,
    page_after,
    respond,
)


class ReplayCreation(RequestModel):
    """What to send again to one endpoint."""

    endpoint_id: uuid.UUID
    which: Which = Field(
        description="failed: dead letters; missing: what never was on its way there; all: all but what is pending."
    )
    since: Instant = Field(description="Of events that came in at this time or later.")
    until: Instant | None = Field(None, description="And before this time; by default now.")
    event_types: Annotated[list[Text], Field(min_length=1, max_length=100)] | None = Field(
        None, description="Only events of these types, or of groups such as code.*"
    )
    dry_run: bool = Field(False, description="Only count.")
    rate_per_second: Annotated[Int, Field(ge=1, le=MOST_RATE)] = Field(
        DEFAULT_RATE, description="How many become due in a second."
    )


class ReplayQuery(PageQuery):
    """Filters of the list."""

    endpoint_id: uuid.UUID | None = None


class ReplayData(ResponseModel):
    """A replay. `matched` counts what was found so far: `enqueued` is due again, `skipped` has no content any more.

    Of the deliveries that no later replay has sent again, `succeeded`, `dead` and `waiting` say what came of them. Up
    to 10,000 are counted, fewer in a list; `is_whole` is false where there may be more.
    """

    id: str
    endpoint_id: str
    which: str
    since: str
    until: str
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
    created_at: str
    started_at: str | None
    completed_at: str | None
    is_test: bool


def replay_data(progress: ReplayProgress) -> ReplayData:
    """Render a replay."""
    replay = progress.replay
    return ReplayData(
        id=str(replay.id),
        endpoint_id=str(replay.endpoint_id),
        which=replay.which,
        since=format_microseconds(replay.since),
        until=format_microseconds(replay.until),
        event_types=None if replay.event_types is None else list(replay.event_types),
        dry_run=replay.is_dry_run,
        rate_per_second=replay.rate_per_second,
        status=replay.status,
        matched=replay.matched,
        enqueued=replay.enqueued,
        skipped=replay.skipped,
        succeeded=progress.succeeded,
        dead=progress.dead,
        waiting=progress.waiting,
        is_whole=progress.is_whole,
        created_at=format_microseconds(replay.created_at),
        started_at=None if replay.started_at is None else format_microseconds(replay.started_at),
        completed_at=None if replay.completed_at is None else format_microseconds(replay.completed_at),
        is_test=is_test(replay.program_id),
    )


def _accepted(progress: ReplayProgress) -> web.Response:
    return data_response(replay_data(progress), 202)


async def create(request: Request) -> web.StreamResponse:
    """Begin a replay."""
    body = request.body(ReplayCreation)
    draft = ReplayDraft(
        endpoint_id=body.endpoint_id,
        which=body.which,
        since=body.since,
        until=body.until,
        event_types=None if body.event_types is None else tuple(body.event_types),
        is_dry_run=body.dry_run,
        rate_per_second=body.rate_per_second,
    )
    return respond(request, await use_cases(request).replays.create(owner(request), draft, once(request, _accepted)))


async def list_all(request: Request) -> web.StreamResponse:
    """List replays, the newest first."""
    query = request.query(ReplayQuery)
    page = await use_cases(request).replays.page(owner(request), query.endpoint_id, query.last_id, query.limit)
    return page_after([replay_data(each) for each in page.replays], page.next_after)


async def show(request: Request) -> web.StreamResponse:
    """Show one replay."""
    found = await use_cases(request).replays.one(owner(request), request.path_id("replay_id"))
    return data_response(replay_data(found))


async def cancel(request: Request) -> web.StreamResponse:
    """End a replay where it is."""
    found = await use_cases(request).replays.cancel(owner(request), request.path_id("replay_id"))
    return data_response(replay_data(found))


_COMMON: Final[dict[str, Any]] = {**COMMON, "tag": "replays"}
_ONE: Final = "/v1/webhooks/replays/{replay_id}"
_MISSING: Final = "No such replay, or it belongs to somebody else"

ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/webhooks/replays",
        handler=create,
        summary="Send again what failed, what is missing, or all; the work goes on after the answer",
        body=ReplayCreation,
        idempotent=True,
        responses={
            202: Data[ReplayData],
            404: "No such endpoint, or it belongs to somebody else",
            409: "As many replays are under way as may be (`too_many_replays`)",
        },
        examples={
            "request": {
                "endpoint_id": "01890a5d-ac96-774b-bcce-b302099a8057",
                "which": "failed",
                "since": "2026-03-16T00:00:00Z",
                "dry_run": True,
            }
        },
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/replays",
        handler=list_all,
        summary="List replays",
        query=ReplayQuery,
        responses={200: Page[ReplayData]},
        **_COMMON,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        summary="Show a replay with its progress",
        responses={200: Data[ReplayData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/cancel",
        handler=cancel,
        summary="End a replay where it is; what is due already goes out",
        responses={200: Data[ReplayData], 404: _MISSING, 409: "It has already finished (`replay_ended`)"},
        **_COMMON,
    ),
)
