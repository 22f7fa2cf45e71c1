"""`/v1/webhooks/listeners`: messages handed to clients that poll for them and need no public address."""

import uuid
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, owner, partner_in, use_cases
from services.webhooks.api.delivery_data import MessageName
from services.webhooks.api.endpoint_data import EndpointData, endpoint_data
from services.webhooks.api.event_types import CHOICE
from services.webhooks.domain.deliveries import MAX_RESPONSE_BYTES, Answer, printable
from services.webhooks.domain.endpoints import Format
from services.webhooks.domain.event_types import EVERYTHING
from services.webhooks.domain.signature import Signing
from services.webhooks.usecases.listen import Handed, ListenerDraft, answer_of
from shared.clock import utc_now
from shared.modes import is_test
from shared.web import (
    Data,
    Int,
    Moment,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    Spelled,
    TenantId,
    Text,
    data_response,
)

_Name = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern="^[A-Za-z0-9._:-]+$"),
    Spelled("must consist of the letters A to Z and a to z, digits and the marks . _ : -"),
]
_LONGEST_WAIT: Final = 10
_MOST_AT_ONCE: Final = 100


class ListenerCreation(RequestModel):
    """A listener to open. It closes after five minutes without a request; with a name, after three days."""

    event_types: Annotated[list[Text], Field(min_length=1, max_length=100)] = Field([EVERYTHING], description=CHOICE)
    format: Format = "flat"
    signing: Signing = "hmac"
    partner_id: uuid.UUID | None = Field(None, description="With a program's key: the partner to listen as.")
    name: _Name | None = Field(
        None,
        description="Opening a listener with this name again resumes where it stopped. Clients that share a name share "
        "the messages.",
    )
    from_now: bool = Field(False, description="Cancel the messages that wait for the listener with that name.")


class ListenerData(ResponseModel):
    """A listener with its secret. `waiting` is the number of messages that wait for it, counted up to 10,000."""

    id: uuid.UUID
    name: str | None
    is_resumed: bool
    waiting: int
    event_types: list[str]
    format: str
    signing: str
    partner_id: TenantId | None
    secret: str | None
    public_key: str | None
    created_at: Moment
    is_test: bool


class ForwardedResult(RequestModel):
    """The result of forwarding a message: the HTTP status, or the reason why there was none."""

    delivery_id: uuid.UUID
    token: Int
    status: Annotated[Int, Field(ge=100, le=599)] | None = None
    error: Text | None = Field(None, description="`timeout`, or any other text for a failed connection.")
    response: Annotated[str, Field(max_length=MAX_RESPONSE_BYTES)] | None = None
    duration_ms: Annotated[Int, Field(ge=0, le=3_600_000)] = 0

    def to_answer(self) -> Answer:
        """Convert to the domain's type."""
        response = None if self.response is None else printable(self.response.encode())
        return answer_of(utc_now(), self.duration_ms, self.status, self.error, response)


class NextQuestion(RequestModel):
    """A request for the next messages, with the results of earlier ones.

    A message without a result is handed out again after a minute. The request body may have up to 64 KiB: truncate the
    responses or split the results over several requests.
    """

    results: list[ForwardedResult] = Field([], max_length=_MOST_AT_ONCE)
    wait_seconds: Annotated[Int, Field(ge=0, le=_LONGEST_WAIT)] = Field(
        0, description="How long to wait if there are no messages."
    )
    limit: Annotated[Int, Field(ge=0, le=_MOST_AT_ONCE)] = Field(
        20,
        description="Maximum number of messages; fewer if they are too large for one response. 0 only reports results.",
    )


class HandedData(ResponseModel):
    """A message as a receiver would get it: POST `body` with `headers`, then report the result.

    The result names `delivery_id` and `token`. `is_repeated` is true if the message was handed out before without a
    result, so it may already have been forwarded.
    """

    delivery_id: uuid.UUID
    token: int
    message_id: MessageName
    event_type: str
    is_repeated: bool
    headers: dict[str, str]
    body: str


_ROUTES: Final = Routes(
    "/v1/webhooks/listeners",
    "No such listener, or it belongs to another account, or it has closed",
    tag="listeners",
    **COMMON,
)


@_ROUTES.post(
    "",
    Data[ListenerData],
    body=ListenerCreation,
    body_required=False,
    examples={"request": {"event_types": ["code.redeemed"]}},
    refusals={201: Data[ListenerData], 409: "Too many endpoints (`too_many_endpoints`)"},
)
async def open_listener(request: Request) -> web.StreamResponse:
    """Open a listener, or reopen the one with that name, and show its secret."""
    body = request.body(ListenerCreation)
    draft = ListenerDraft(
        event_types=tuple(body.event_types),
        format=body.format,
        signing=body.signing,
        partner_id=partner_in(request, body.partner_id),
        name=body.name,
        is_from_now=body.from_now,
    )
    opened = await use_cases(request).listen.open(owner(request), draft)
    shown, listener = opened.shown, opened.shown.endpoint
    found = ListenerData.of(
        listener,
        name=opened.name,
        is_resumed=opened.is_resumed,
        waiting=opened.waiting,
        secret=shown.secret,
        public_key=shown.public_key,
        is_test=is_test(listener.program_id),
    )
    return data_response(found, 200 if opened.is_resumed else 201)


@_ROUTES.post(
    "/{listener_id}/next",
    Data[list[HandedData]],
    body=NextQuestion,
    body_required=False,
    refusals={409: "The listener's secret cannot be decrypted (`secret_unreadable`)"},
)
async def next_messages(request: Request) -> web.StreamResponse:
    """Report results and get the next signed messages, waiting for them if necessary."""
    body = request.body(NextQuestion)
    results = [(each.delivery_id, each.token, each.to_answer()) for each in body.results]
    listen = use_cases(request).listen
    handed = await listen.next(
        owner(request), request.path_id("listener_id"), results, float(body.wait_seconds), body.limit
    )
    return data_response([_handed_data(each) for each in handed])


@_ROUTES.delete("/{listener_id}", Data[EndpointData])
async def close_listener(request: Request) -> web.StreamResponse:
    """Close a listener."""
    found = await use_cases(request).archive_endpoint(owner(request), request.path_id("listener_id"), is_listener=True)
    return data_response(endpoint_data(found))


def _handed_data(handed: Handed) -> HandedData:
    taken = handed.taken
    return HandedData.of(taken, token=handed.token, headers=handed.headers, body=taken.body.decode())


ROUTES: Final = tuple(_ROUTES.all)
