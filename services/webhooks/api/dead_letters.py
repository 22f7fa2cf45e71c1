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
    since: Instant | None = Field(None, description="Given up at or after this time.")
    reason: Text | None = Field(None, description="Given up for this reason.")


class ChosenDeadLetters(RequestModel):
    """Which dead letters to process, the oldest first. Without filters: all of them."""

    endpoint_id: uuid.UUID | None = None
    event_type: TypeFilter = None
    since: Instant | None = None
    reason: Text | None = None
    limit: Annotated[Int, Field(ge=1, le=MAX_REPLAYED)] = MAX_REPLAYED


class ReplayedData(ResponseModel):
    """A dead letter that was made due again."""

    id: uuid.UUID
    status: str


class PurgedData(ResponseModel):
    """The number of purged dead letters. `is_whole` is false if more may match."""

    purged: int
    is_whole: bool


class ReplayedManyData(ResponseModel):
    """The number of dead letters that were made due again. `is_whole` is false if more may match."""

    replayed: int
    is_whole: bool


_NOT_TO_REPLAY: Final = (
    "The delivery is not a dead letter (`delivery_not_replayable`, `delivery_pending`), or its content is no longer "
    "stored (`content_gone`)"
)
_MANY: Final[dict[str, Any]] = {"body": ChosenDeadLetters, "body_required": False, "idempotent": True}
_ROUTES: Final = Routes(
    "/v1/webhooks/dead-letters", "No such delivery, or it belongs to another account", tag="dead letters", **COMMON
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

    A page can be short or empty without being the last: continue while `meta.next_cursor` is not null.
    """
    query = request.query(DeadLetterQuery)
    chosen = DeadLetterFilter(query.endpoint_id, query.event_type, query.since, query.reason)
    page = await use_cases(request).read_deliveries.dead_letters(owner(request), chosen, query.last_id, query.limit)
    return page_after(query, [dead_letter_data(each, test=request.is_test) for each in page.letters], page.next_after)


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

    Replays up to `limit`, the oldest first. If `is_whole` is false, more may match: repeat the request. Where a filter
    matches few of very many dead letters, create a replay instead (`POST /v1/webhooks/replays`).
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
    """Purge dead letters; their deliveries become canceled.

    Purges up to `limit`, the oldest first. If `is_whole` is false, more may match: repeat the request.
    """
    body, chosen = _chosen(request)
    answer = await use_cases(request).dead_letters.purge(owner(request), chosen, body.limit, once(request, _purged))
    return respond(request, answer)


def _chosen(request: Request) -> tuple[ChosenDeadLetters, DeadLetterFilter]:
    body = request.body(ChosenDeadLetters)
    return body, DeadLetterFilter(body.endpoint_id, body.event_type, body.since, body.reason)


ROUTES: Final = tuple(_ROUTES.all)
