"""`/v1/webhooks/deliveries` and their attempts."""

import uuid
from typing import Final, get_args

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, owner, use_cases
from services.webhooks.api.delivery_data import (
    AttemptData,
    DeliveryData,
    DeliveryDetailData,
    attempt_data,
    delivery_data,
    detail_data,
)
from services.webhooks.api.event_types import TypeFilter
from services.webhooks.domain.deliveries import ShownStatus
from services.webhooks.domain.names import attempt_of, message_id_of
from services.webhooks.domain.shown_deliveries import DeliveryFilter
from services.webhooks.usecases.code_keys import code_key
from services.webhooks.usecases.event_ids import ids_of_event
from shared.web import (
    CountedPage,
    CountedQuery,
    Data,
    Instant,
    PageQuery,
    Request,
    Routes,
    Text,
    data_response,
    invalid_field,
    not_found,
    page_after,
    window,
)


class DeliveriesOfEndpointQuery(PageQuery, CountedQuery):
    """Filters of the list of an endpoint's deliveries."""

    status: Text | None = Field(
        None,
        description=(
            "One status, or several separated by commas. in_flight: a process holds it for an attempt. paused: its "
            "endpoint is paused. pending: it waits for any other reason. The others: succeeded, failed, dead, canceled."
        ),
        examples=["failed,dead"],
    )
    event_type: TypeFilter = None
    message_id: Text | None = Field(None, description="The webhook-id that receivers see.")
    since: Instant | None = Field(None, description="Created at or after this time.")
    until: Instant | None = Field(None, description="Created before this time.")
    _in_order = window("since", "until")
    code: Text | None = Field(None, description="About this promo code. Case, spaces and dashes do not matter.")
    event_id: Text | None = Field(None, description="About the event with this id: one of ours, or a program's own.")


class DeliveryQuery(DeliveriesOfEndpointQuery):
    """Filters of the list of deliveries."""

    endpoint_id: uuid.UUID | None = None


_NOT_TO_CANCEL: Final = (
    "The delivery is not pending (`delivery_not_pending`), or is being sent right now (`delivery_under_way`)"
)
_ATTEMPT_ID: Final = {"attempt_id": "The id of the attempt, such as att_0190..._1."}
_ATTEMPT_MISSING: Final = "No such delivery or attempt, or it belongs to another account"
_ROUTES: Final = Routes(
    "/v1/webhooks", "No such delivery, or it belongs to another account", tag="deliveries", **COMMON
)


@_ROUTES.get("/deliveries", CountedPage[DeliveryData], query=DeliveryQuery)
async def list_deliveries(request: Request) -> web.StreamResponse:
    """List deliveries.

    A page can be short or empty without being the last: continue while `meta.next_cursor` is not null.
    """
    query = request.query(DeliveryQuery)
    return await _page(request, query, query.endpoint_id)


@_ROUTES.get(
    "/endpoints/{endpoint_id}/deliveries",
    CountedPage[DeliveryData],
    query=DeliveriesOfEndpointQuery,
    refusals={404: "No such endpoint, or it belongs to another account"},
)
async def list_of_endpoint(request: Request) -> web.StreamResponse:
    """List the deliveries of an endpoint.

    A page can be short or empty without being the last: continue while `meta.next_cursor` is not null.
    """
    endpoint = await use_cases(request).read_endpoints.one(owner(request), request.path_id("endpoint_id"))
    return await _page(request, request.query(DeliveriesOfEndpointQuery), endpoint.id)


async def _page(
    request: Request, query: DeliveriesOfEndpointQuery, endpoint_id: uuid.UUID | None
) -> web.StreamResponse:
    chosen = DeliveryFilter(
        endpoint_id=endpoint_id,
        statuses=_statuses(query.status),
        event_type=query.event_type,
        message_ids=_message_ids(request, query),
        since=query.since,
        until=query.until,
        code_key=_code_key(request, query),
    )
    read = use_cases(request).read_deliveries
    page = await read.page(owner(request), chosen, query.last_id, query.limit)
    count = await read.count(owner(request), chosen) if query.count else None
    return page_after(
        query, [delivery_data(each, test=request.is_test) for each in page.deliveries], page.next_after, count
    )


def _statuses(text: str | None) -> frozenset[ShownStatus] | None:
    if text is None:
        return None
    named = frozenset(each.strip() for each in text.split(","))
    found = frozenset(status for status in get_args(ShownStatus) if status in named)
    if len(found) < len(named):
        known = ", ".join(get_args(ShownStatus))
        raise invalid_field("status", f"The status parameter must be one or several of {known}.")
    return found


def _message_ids(request: Request, query: DeliveriesOfEndpointQuery) -> frozenset[uuid.UUID] | None:
    """Return the messages that are meant: those of an event, or one; both only if they are the same."""
    found = None if query.event_id is None else ids_of_event(request.program_id, query.event_id)
    if query.message_id is None:
        return found
    if (message_id := message_id_of(query.message_id)) is None:
        raise invalid_field("message_id", "The message_id parameter must be the id of a message, such as msg_0190...")
    return frozenset({message_id}) if found is None else found & {message_id}


def _code_key(request: Request, query: DeliveriesOfEndpointQuery) -> uuid.UUID | None:
    try:
        return None if query.code is None else code_key(request.program_id, query.code)
    except ValueError as error:
        raise invalid_field("code", f"The code parameter is not a valid code. {error}") from None


@_ROUTES.get("/deliveries/{delivery_id}", Data[DeliveryDetailData])
async def show_delivery(request: Request) -> web.StreamResponse:
    """Show a delivery with its attempts."""
    found = await use_cases(request).read_deliveries.one(owner(request), request.path_id("delivery_id"))
    return data_response(detail_data(found, test=request.is_test))


@_ROUTES.get("/deliveries/{delivery_id}/attempts", Data[list[AttemptData]])
async def list_attempts(request: Request) -> web.StreamResponse:
    """List the attempts of a delivery."""
    found = await use_cases(request).read_deliveries.one(owner(request), request.path_id("delivery_id"))
    return data_response([attempt_data(attempt) for attempt in found.attempts])


@_ROUTES.get("/deliveries/{delivery_id}/attempts/{number}", Data[AttemptData], refusals={404: _ATTEMPT_MISSING})
async def show_attempt(request: Request) -> web.StreamResponse:
    """Show an attempt."""
    number = _number(request)
    return await _attempt(request, request.path_id("delivery_id"), number)


@_ROUTES.get(
    "/attempts/{attempt_id}",
    Data[AttemptData],
    path_descriptions=_ATTEMPT_ID,
    refusals={404: _ATTEMPT_MISSING},
)
async def show_attempt_by_id(request: Request) -> web.StreamResponse:
    """Show an attempt by its id."""
    return await _attempt(request, *_attempt_id(request))


async def _attempt(request: Request, delivery_id: uuid.UUID, number: int) -> web.StreamResponse:
    found = await use_cases(request).read_deliveries.one(owner(request), delivery_id, number)
    if not found.attempts:
        raise not_found()
    return data_response(attempt_data(found.attempts[0]))


@_ROUTES.post(
    "/deliveries/{delivery_id}/retry",
    Data[AttemptData],
    refusals={
        409: "The delivery is being sent right now (`delivery_under_way`), its content is no longer stored "
        "(`content_gone`), or the endpoint's secret cannot be decrypted (`secret_unreadable`)",
        429: "The endpoint's rate_limit_per_second is used up",
    },
)
async def retry(request: Request) -> web.StreamResponse:
    """Send a delivery now, once, and return the attempt.

    The message keeps its id and is signed with the keys in effect now, whatever the status of the delivery and the
    endpoint. A success completes the delivery; a failure changes neither its schedule nor the health of the endpoint.
    """
    attempt = await use_cases(request).handle_delivery.resend(owner(request), request.path_id("delivery_id"))
    return data_response(attempt_data(attempt))


@_ROUTES.post("/deliveries/{delivery_id}/cancel", Data[DeliveryData], refusals={409: _NOT_TO_CANCEL})
async def cancel(request: Request) -> web.StreamResponse:
    """Cancel a pending delivery."""
    delivery_id = request.path_id("delivery_id")
    await use_cases(request).handle_delivery.cancel(owner(request), delivery_id)
    found = await use_cases(request).read_deliveries.one(owner(request), delivery_id)
    return data_response(delivery_data(found.delivery, test=request.is_test))


@_ROUTES.delete("/deliveries/{delivery_id}/attempts/{number}/content", Data[list[AttemptData]])
async def redact_attempt(request: Request) -> web.StreamResponse:
    """Redact the headers and the response of an attempt, and return all attempts."""
    number, delivery_id = _number(request), request.path_id("delivery_id")
    await use_cases(request).handle_delivery.redact_attempt(owner(request), delivery_id, number)
    found = await use_cases(request).read_deliveries.one(owner(request), delivery_id)
    return data_response([attempt_data(attempt) for attempt in found.attempts])


@_ROUTES.delete(
    "/attempts/{attempt_id}/content",
    Data[AttemptData],
    path_descriptions=_ATTEMPT_ID,
    refusals={404: _ATTEMPT_MISSING},
)
async def redact_attempt_by_id(request: Request) -> web.StreamResponse:
    """Redact the headers and the response of an attempt by its id, and return the attempt."""
    delivery_id, number = _attempt_id(request)
    await use_cases(request).handle_delivery.redact_attempt(owner(request), delivery_id, number)
    return await _attempt(request, delivery_id, number)


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


ROUTES: Final = tuple(_ROUTES.all)
