"""`/v1/webhooks/deliveries` and `/v1/webhooks/dead-letters`."""

import uuid
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.event_types import TypeFilter
from services.webhooks.api.exchange import COMMON, once, owner, use_cases
from services.webhooks.api.shapes import (
    AttemptData,
    DeadLetterData,
    DeliveryData,
    DeliveryDetailData,
    PurgedData,
    ReplayedData,
    ReplayedManyData,
    attempt_data,
    dead_letter_data,
    delivery_data,
    detail_data,
)
from services.webhooks.domain.deliveries import (
    DeadLetterFilter,
    DeliveryFilter,
    ShownStatus,
    attempt_of,
    message_id_of,
)
from services.webhooks.usecases.code_keys import code_key
from services.webhooks.usecases.handle_dead_letters import MAX_REPLAYED, Handled
from shared.web import (
    Data,
    Instant,
    Int,
    Page,
    PageQuery,
    Request,
    RequestModel,
    Route,
    Text,
    data_response,
    invalid_field,
    not_found,
    page_after,
    respond,
)


class DeliveriesOfEndpointQuery(PageQuery):
    """Filters of the list of an endpoint's deliveries."""

    status: ShownStatus | None = Field(
        None,
        description=(
            "in_flight: a process has taken it for an attempt. paused: it waits at an endpoint that is paused. "
            "pending: it waits for anything else."
        ),
    )
    event_type: TypeFilter = None
    message_id: Text | None = Field(None, description="What receivers see as webhook-id.")
    since: Instant | None = Field(None, description="Only those that were made at this time or later.")
    until: Instant | None = Field(None, description="Only those that were made before this time.")
    code: Text | None = Field(
        None, description="Only those about this promo code, in any spelling: case, spaces and dashes do not matter."
    )


class DeliveryQuery(DeliveriesOfEndpointQuery):
    """Filters of the list of deliveries."""

    endpoint_id: uuid.UUID | None = None


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


def _replayed(delivery_id: uuid.UUID) -> web.Response:
    return data_response(ReplayedData(id=str(delivery_id), status="pending"))


def _purged(handled: Handled) -> web.Response:
    return data_response(PurgedData(purged=handled.count, is_whole=handled.is_whole))


def _replayed_many(handled: Handled) -> web.Response:
    return data_response(ReplayedManyData(replayed=handled.count, is_whole=handled.is_whole))


async def list_deliveries(request: Request) -> web.StreamResponse:
    """List deliveries, the newest first."""
    query = request.query(DeliveryQuery)
    return await _page(request, query, query.endpoint_id)


async def list_of_endpoint(request: Request) -> web.StreamResponse:
    """List the deliveries of an endpoint, the newest first."""
    endpoint = await use_cases(request).read_endpoints.one(owner(request), request.path_id("endpoint_id"))
    return await _page(request, request.query(DeliveriesOfEndpointQuery), endpoint.id)


async def _page(
    request: Request, query: DeliveriesOfEndpointQuery, endpoint_id: uuid.UUID | None
) -> web.StreamResponse:
    message_id = None if query.message_id is None else message_id_of(query.message_id)
    if query.message_id is not None and message_id is None:
        raise invalid_field("message_id", "The message_id field must be a message's id, as in msg_0190...")
    chosen = DeliveryFilter(
        endpoint_id=endpoint_id,
        status=query.status,
        event_type=query.event_type,
        message_id=message_id,
        since=query.since,
        until=query.until,
        code_key=_code_key(request, query),
    )
    page = await use_cases(request).read_deliveries.page(owner(request), chosen, query.last_id, query.limit)
    return page_after([delivery_data(each, test=request.is_test) for each in page.deliveries], page.next_after)


def _code_key(request: Request, query: DeliveriesOfEndpointQuery) -> uuid.UUID | None:
    try:
        return None if query.code is None else code_key(request.program_id, query.code)
    except ValueError as error:
        raise invalid_field("code", f"The code parameter cannot be a code. {error}") from None


async def show_delivery(request: Request) -> web.StreamResponse:
    """Show one delivery with its attempts."""
    found = await use_cases(request).read_deliveries.one(owner(request), request.path_id("delivery_id"))
    return data_response(detail_data(found, test=request.is_test))


async def list_attempts(request: Request) -> web.StreamResponse:
    """List the attempts of a delivery, the first one first."""
    found = await use_cases(request).read_deliveries.one(owner(request), request.path_id("delivery_id"))
    return data_response([attempt_data(attempt) for attempt in found.attempts])


async def show_attempt(request: Request) -> web.StreamResponse:
    """Show one attempt."""
    number = _number(request)
    return await _attempt(request, request.path_id("delivery_id"), number)


async def show_attempt_by_id(request: Request) -> web.StreamResponse:
    """Show one attempt by its own id."""
    return await _attempt(request, *_attempt_id(request))


async def _attempt(request: Request, delivery_id: uuid.UUID, number: int) -> web.StreamResponse:
    found = await use_cases(request).read_deliveries.one(owner(request), delivery_id, number)
    if not found.attempts:
        raise not_found()
    return data_response(attempt_data(found.attempts[0]))


async def retry(request: Request) -> web.StreamResponse:
    """Send a delivery now and answer with the attempt."""
    attempt = await use_cases(request).handle_delivery.resend(owner(request), request.path_id("delivery_id"))
    return data_response(attempt_data(attempt))


async def cancel(request: Request) -> web.StreamResponse:
    """End a pending delivery before it is sent."""
    delivery_id = request.path_id("delivery_id")
    await use_cases(request).handle_delivery.cancel(owner(request), delivery_id)
    found = await use_cases(request).read_deliveries.one(owner(request), delivery_id)
    return data_response(delivery_data(found.delivery, test=request.is_test))


async def redact_attempt(request: Request) -> web.StreamResponse:
    """Forget headers and answer of an attempt."""
    number, delivery_id = _number(request), request.path_id("delivery_id")
    await use_cases(request).handle_delivery.redact_attempt(owner(request), delivery_id, number)
    found = await use_cases(request).read_deliveries.one(owner(request), delivery_id)
    return data_response([attempt_data(attempt) for attempt in found.attempts])


async def redact_attempt_by_id(request: Request) -> web.StreamResponse:
    """Forget headers and answer of an attempt by its own id."""
    delivery_id, number = _attempt_id(request)
    await use_cases(request).handle_delivery.redact_attempt(owner(request), delivery_id, number)
    return await _attempt(request, delivery_id, number)


async def list_dead_letters(request: Request) -> web.StreamResponse:
    """List dead letters, the newest deliveries first."""
    query = request.query(DeadLetterQuery)
    chosen = DeadLetterFilter(query.endpoint_id, query.event_type, query.since, query.reason)
    page = await use_cases(request).read_deliveries.dead_letters(owner(request), chosen, query.last_id, query.limit)
    return page_after([dead_letter_data(each, test=request.is_test) for each in page.letters], page.next_after)


async def replay(request: Request) -> web.StreamResponse:
    """Replay one dead letter."""
    answer = await use_cases(request).dead_letters.replay(
        owner(request), request.path_id("delivery_id"), once(request, _replayed)
    )
    return respond(request, answer)


async def replay_many(request: Request) -> web.StreamResponse:
    """Replay the dead letters that the filters mean."""
    body, chosen = _chosen(request)
    answer = await use_cases(request).dead_letters.replay_many(
        owner(request), chosen, body.limit, once(request, _replayed_many)
    )
    return respond(request, answer)


async def purge(request: Request) -> web.StreamResponse:
    """Give up for good the dead letters that the filters mean."""
    body, chosen = _chosen(request)
    answer = await use_cases(request).dead_letters.purge(owner(request), chosen, body.limit, once(request, _purged))
    return respond(request, answer)


def _chosen(request: Request) -> tuple[ChosenDeadLetters, DeadLetterFilter]:
    body = request.body(ChosenDeadLetters)
    return body, DeadLetterFilter(body.endpoint_id, body.event_type, body.since, body.reason)


def _number(request: Request) -> int:
    number = request.path("number")
    if not (number.isascii() and number.isdigit() and len(number) < 9):
        raise not_found()
    return int(number)


def _attempt_id(request: Request) -> tuple[uuid.UUID, int]:
    found = attempt_of(request.path("attempt_id"))
    if found is None:
        raise not_found()
    return found


_COMMON: Final[dict[str, Any]] = COMMON
_NOT_TO_REPLAY: Final = (
    "It is no dead letter (`delivery_not_replayable`, `delivery_pending`), or its content is gone (`content_gone`)"
)
_NOT_TO_CANCEL: Final = "It is not pending (`delivery_not_pending`), or is being sent just now (`delivery_under_way`)"
_MISSING: Final = "No such delivery, or it belongs to somebody else"
_MANY: Final = (
    "Up to `limit`, the oldest first. `is_whole` is false where there may be more: ask again. What a filter finds only "
    "far behind many others is found by a replay (`POST /v1/webhooks/replays`)."
)
_ATTEMPT_ID: Final = {"attempt_id": "The attempt's id, as in att_0190..._1."}
_ATTEMPT_MISSING: Final = "No such delivery or attempt, or it belongs to somebody else"

ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/webhooks/deliveries",
        handler=list_deliveries,
        summary="List deliveries",
        description="A page can be short, or even empty, without being the last: go on while there is a next_cursor.",
        tag="deliveries",
        query=DeliveryQuery,
        responses={200: Page[DeliveryData]},
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/endpoints/{endpoint_id}/deliveries",
        handler=list_of_endpoint,
        summary="List the deliveries of an endpoint",
        description="A page can be short, or even empty, without being the last: go on while there is a next_cursor.",
        tag="deliveries",
        query=DeliveriesOfEndpointQuery,
        responses={200: Page[DeliveryData], 404: "No such endpoint, or it belongs to somebody else"},
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/deliveries/{delivery_id}",
        handler=show_delivery,
        summary="Show a delivery with its attempts",
        tag="deliveries",
        responses={200: Data[DeliveryDetailData], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/deliveries/{delivery_id}/attempts",
        handler=list_attempts,
        summary="List the attempts of a delivery",
        tag="deliveries",
        responses={200: Data[list[AttemptData]], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/deliveries/{delivery_id}/attempts/{number}",
        handler=show_attempt,
        summary="Show an attempt",
        tag="deliveries",
        responses={200: Data[AttemptData], 404: _ATTEMPT_MISSING},
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/attempts/{attempt_id}",
        handler=show_attempt_by_id,
        summary="Show an attempt by its id",
        tag="deliveries",
        responses={200: Data[AttemptData], 404: _ATTEMPT_MISSING},
        path_descriptions=_ATTEMPT_ID,
        **_COMMON,
    ),
    Route(
        method="DELETE",
        path="/v1/webhooks/attempts/{attempt_id}/content",
        handler=redact_attempt_by_id,
        summary="Forget headers and answer of an attempt by its id; answers with the attempt",
        tag="deliveries",
        responses={200: Data[AttemptData], 404: _ATTEMPT_MISSING},
        path_descriptions=_ATTEMPT_ID,
        **_COMMON,
    ),
    Route(
        method="POST",
        path="/v1/webhooks/deliveries/{delivery_id}/retry",
        handler=retry,
        summary="Send a delivery now, once, and answer with the attempt",
        description=(
            "The same message under the same id, signed with the keys of this moment, whatever the status of delivery "
            "and endpoint. A success ends the delivery; a failure changes nothing, neither its schedule nor the "
            "endpoint's health."
        ),
        tag="deliveries",
        responses={
            200: Data[AttemptData],
            404: _MISSING,
            409: "It is being sent just now (`delivery_under_way`), or its content is gone (`content_gone`), or the "
            "secret to sign it with cannot be read (`secret_unreadable`)",
            429: "The endpoint's rate_limit_per_second is used up for longer than anybody would wait",
        },
        **_COMMON,
    ),
    Route(
        method="POST",
        path="/v1/webhooks/deliveries/{delivery_id}/cancel",
        handler=cancel,
        summary="End a pending delivery before it is sent",
        tag="deliveries",
        responses={200: Data[DeliveryData], 404: _MISSING, 409: _NOT_TO_CANCEL},
        **_COMMON,
    ),
    Route(
        method="DELETE",
        path="/v1/webhooks/deliveries/{delivery_id}/attempts/{number}/content",
        handler=redact_attempt,
        summary="Forget headers and answer of an attempt; answers with the attempts",
        tag="deliveries",
        responses={200: Data[list[AttemptData]], 404: _MISSING},
        **_COMMON,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/dead-letters",
        handler=list_dead_letters,
        summary="List dead letters",
        description="A page can be short, or even empty, without being the last: go on while there is a next_cursor.",
        tag="dead letters",
        query=DeadLetterQuery,
        responses={200: Page[DeadLetterData]},
        **_COMMON,
    ),
    Route(
        method="POST",
        path="/v1/webhooks/dead-letters/replay",
        handler=replay_many,
        summary="Replay dead letters",
        tag="dead letters",
        body=ChosenDeadLetters,
        body_required=False,
        idempotent=True,
        responses={200: Data[ReplayedManyData]},
        description=_MANY,
        examples={"request": {"event_type": "code.redeemed"}},
        **_COMMON,
    ),
    Route(
        method="POST",
        path="/v1/webhooks/dead-letters/purge",
        handler=purge,
        summary="Give dead letters up for good; their deliveries become canceled",
        tag="dead letters",
        body=ChosenDeadLetters,
        body_required=False,
        idempotent=True,
        responses={200: Data[PurgedData]},
        description=_MANY,
        examples={"request": {"reason": "endpoint_gone"}},
        **_COMMON,
    ),
    Route(
        method="POST",
        path="/v1/webhooks/dead-letters/{delivery_id}/replay",
        handler=replay,
        summary="Replay a dead letter",
        tag="dead letters",
        idempotent=True,
        responses={200: Data[ReplayedData], 404: _MISSING, 409: _NOT_TO_REPLAY},
        **_COMMON,
    ),
)
