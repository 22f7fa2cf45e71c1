"""`/v1/webhooks/dead-letters`."""

import uuid
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, once, owner, use_cases
from services.webhooks.api.delivery_data import DeadLetterData, dead_letter_data
from services.webhooks.api.event_types import TypeFilter
from services.webhooks.domain.shown_deliveries import DeadLetterFilter
from services.webhooks.usecases.handle_dead_letters import MAX_REPLAYED, Handled
from shared.web import (
    Data,
    Instant,
    Int,
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


class DeadLetterQuery(PageQuery):
    """Filters of the list of dead letters."""

    endpoint_id: uuid.UUID | None = None
    event_type: TypeFilter = None
    since: Instant | None = Field(None, description="Only those that died at this time or later.")
    reason: Text | None = Field(None, description="Only those that were given up for this reason.")


class ChosenDeadLetters(RequestModel):
    """Which dead letters are meant; without filters all of them, the oldest first."""

    endpoint_id: uuid.UUID | None = None
    event_type: TypeFilter = None
    since: Instant | None = None
    reason: Text | None = None
    limit: Annotated[Int, Field(ge=1, le=MAX_REPLAYED)] = MAX_REPLAYED


class ReplayedData(ResponseModel):
    """A dead letter that is due again."""

    id: uuid.UUID
    status: str


class PurgedData(ResponseModel):
    """How many dead letters are gone, and whether that was all that is meant."""

    purged: int
    is_whole: bool


class ReplayedManyData(ResponseModel):
    """How many dead letters are due again, and whether that was all that is meant."""

    replayed: int
    is_whole: bool


_NOT_TO_REPLAY: Final = (
    "It is no dead letter (`delivery_not_replayable`, `delivery_pending`), or its content is gone (`content_gone`)"
)
_MANY: Final[dict[str, Any]] = {"body": ChosenDeadLetters, "body_required": False, "idempotent": True}
_ROUTES: Final = Routes(
    "/v1/webhooks/dead-letters", "No such delivery, or it belongs to somebody else", tag="dead letters", **COMMON
)


def _replayed(delivery_id: uuid.UUID) -> web.Response:
    return data_response(ReplayedData(id=delivery_id, status="pending"))


def _purged(handled: Handled) -> web.Response:
    return data_response(PurgedData(purged=handled.count, is_whole=handled.is_whole))


def _replayed_many(handled: Handled) -> web.Response:
    return data_response(ReplayedManyData(replayed=handled.count, is_whole=handled.is_whole))


@_ROUTES.get("", Page[DeadLetterData], query=DeadLetterQuery)
async def list_dead_letters(request: Request) -> web.StreamResponse:
    """List dead letters.

    A page can be short, or even empty, without being the last: go on while there is a next_cursor.
    """
    query = request.query(DeadLetterQuery)
    chosen = DeadLetterFilter(query.endpoint_id, query.event_type, query.since, query.reason)
    page = await use_cases(request).read_deliveries.dead_letters(owner(request), chosen, query.last_id, query.limit)
    return page_after([dead_letter_data(each, test=request.is_test) for each in page.letters], page.next_after)


@_ROUTES.post(
    "/{delivery_id}/replay",
    Data[ReplayedData],
    idempotent=True,
    refusals={409: _NOT_TO_REPLAY},
)
async def replay(request: Request) -> web.StreamResponse:
    """Replay a dead letter."""
    answer = await use_cases(request).dead_letters.replay(
        owner(request), request.path_id("delivery_id"), once(request, _replayed)
    )
    return respond(request, answer)


@_ROUTES.post(
    "/replay",
    Data[ReplayedManyData],
    **_MANY,
    examples={"request": {"event_type": "code.redeemed"}},
)
async def replay_many(request: Request) -> web.StreamResponse:
    """Replay dead letters.

    Up to `limit`, the oldest first. `is_whole` is false where there may be more: ask again. What a filter finds
    only far behind many others is found by a replay (`POST /v1/webhooks/replays`).
    """
    body, chosen = _chosen(request)
    answer = await use_cases(request).dead_letters.replay_many(
        owner(request), chosen, body.limit, once(request, _replayed_many)
    )
    return respond(request, answer)


@_ROUTES.post(
    "/purge",
    Data[PurgedData],
    **_MANY,
    examples={"request": {"reason": "endpoint_gone"}},
)
async def purge(request: Request) -> web.StreamResponse:
    """Give dead letters up for good; their deliveries become canceled.

    Up to `limit`, the oldest first. `is_whole` is false where there may be more: ask again. What a filter finds
    only far behind many others is found by a replay (`POST /v1/webhooks/replays`).
    """
    body, chosen = _chosen(request)
    answer = await use_cases(request).dead_letters.purge(owner(request), chosen, body.limit, once(request, _purged))
    return respond(request, answer)


def _chosen(request: Request) -> tuple[ChosenDeadLetters, DeadLetterFilter]:
    body = request.body(ChosenDeadLetters)
    return body, DeadLetterFilter(body.endpoint_id, body.event_type, body.since, body.reason)


ROUTES: Final = tuple(_ROUTES.all)
