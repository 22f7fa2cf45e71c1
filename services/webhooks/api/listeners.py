"""`/v1/webhooks/listeners`: messages handed live to whoever asks for them, without any public address."""

import uuid
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.event_types import CHOICE
from services.webhooks.api.exchange import COMMON, owner, partner_in, use_cases
from services.webhooks.api.shapes import EndpointData, endpoint_data
from services.webhooks.domain.deliveries import MAX_RESPONSE_BYTES, Answer, message_name, printable
from services.webhooks.domain.endpoints import Format
from services.webhooks.domain.event_types import EVERYTHING
from services.webhooks.domain.signature import Signing
from services.webhooks.usecases.listen import Handed, ListenerDraft, answer_of
from shared.clock import format_microseconds, utc_now
from shared.modes import is_test, shown_id_or_none
from shared.web import Data, Int, Request, RequestModel, ResponseModel, Route, Spelled, Text, data_response

_Name = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern="^[A-Za-z0-9._:-]+$"),
    Spelled("must consist of the letters A to Z and a to z, digits and the marks . _ : -"),
]
_LONGEST_WAIT: Final = 10
_MOST_AT_ONCE: Final = 100


class ListenerCreation(RequestModel):
    """A listener to be opened. It closes itself when nobody has asked for five minutes; with a name, for three days."""

    event_types: Annotated[list[Text], Field(min_length=1, max_length=100)] = Field([EVERYTHING], description=CHOICE)
    format: Format = "flat"
    signing: Signing = "hmac"
    partner_id: uuid.UUID | None = Field(None, description="With a program's key: the partner to listen as.")
    name: _Name | None = Field(
        None, description="Opened again by this name, it goes on where it stopped; who shares a name shares messages."
    )
    from_now: bool = Field(False, description="Cancel what has waited for the listener of that name.")


class ListenerData(ResponseModel):
    """A listener with its secret; `waiting` is how many messages have waited for it, counted up to 10,000."""

    id: str
    name: str | None
    is_resumed: bool
    waiting: int
    event_types: list[str]
    format: str
    signing: str
    partner_id: str | None
    secret: str | None
    public_key: str | None
    created_at: str
    is_test: bool


class ForwardedResult(RequestModel):
    """What came of a message that was handed out: the status of whoever got it, or why there was none."""

    delivery_id: uuid.UUID
    token: Int
    status: Annotated[Int, Field(ge=100, le=599)] | None = None
    error: Text | None = Field(None, description="`timeout`, or anything else for a connection that failed.")
    response: Annotated[str, Field(max_length=MAX_RESPONSE_BYTES)] | None = None
    duration_ms: Annotated[Int, Field(ge=0, le=3_600_000)] = 0

    def to_answer(self) -> Answer:
        """Return it as the domain has it."""
        response = None if self.response is None else printable(self.response.encode())
        return answer_of(utc_now(), self.duration_ms, self.status, self.error, response)


class NextQuestion(RequestModel):
    """Asks for what is there; `results` settle what was handed out before, all else comes again after a minute.

    The request may have 64 KiB like every other: report the beginnings of answers, or the results in several requests.
    """

    results: list[ForwardedResult] = Field([], max_length=_MOST_AT_ONCE)
    wait_seconds: Annotated[Int, Field(ge=0, le=_LONGEST_WAIT)] = Field(
        0, description="How long to wait if nothing is there."
    )
    limit: Annotated[Int, Field(ge=0, le=_MOST_AT_ONCE)] = Field(
        20, description="How many at most; of large messages as many as fit into an answer. 0 only reports results."
    )


class HandedData(ResponseModel):
    """A message as a receiver would get it: POST `body` with `headers`, and report with `delivery_id` and `token`.

    `is_repeated` says that it was handed out before and no result came: it may have been forwarded already.
    """

    delivery_id: str
    token: int
    message_id: str
    event_type: str
    is_repeated: bool
    headers: dict[str, str]
    body: str


async def open_listener(request: Request) -> web.StreamResponse:
    """Open a listener."""
    body = request.body(ListenerCreation)
    draft = ListenerDraft(
        tuple(body.event_types),
        body.format,
        body.signing,
        partner_in(request, body.partner_id),
        body.name,
        body.from_now,
    )
    opened = await use_cases(request).listen.open(owner(request), draft)
    shown, listener = opened.shown, opened.shown.endpoint
    found = ListenerData(
        id=str(listener.id),
        name=opened.name,
        is_resumed=opened.is_resumed,
        waiting=opened.waiting,
        event_types=list(listener.event_types),
        format=listener.format,
        signing=listener.signing,
        partner_id=shown_id_or_none(listener.partner_id),
        secret=shown.secret,
        public_key=shown.public_key,
        created_at=format_microseconds(listener.created_at),
        is_test=is_test(listener.program_id),
    )
    return data_response(found, 200 if opened.is_resumed else 201)


async def next_messages(request: Request) -> web.StreamResponse:
    """Take results in and hand out what is there."""
    body = request.body(NextQuestion)
    results = [(each.delivery_id, each.token, each.to_answer()) for each in body.results]
    listen = use_cases(request).listen
    handed = await listen.next(
        owner(request), request.path_id("listener_id"), results, float(body.wait_seconds), body.limit
    )
    return data_response([_handed_data(each) for each in handed])


async def close_listener(request: Request) -> web.StreamResponse:
    """Close a listener; what waits for it is canceled."""
    found = await use_cases(request).archive_endpoint(owner(request), request.path_id("listener_id"), is_listener=True)
    return data_response(endpoint_data(found))


def _handed_data(handed: Handed) -> HandedData:
    return HandedData(
        delivery_id=str(handed.taken.delivery_id),
        token=handed.token,
        message_id=message_name(handed.taken.message_id),
        event_type=handed.taken.event_type,
        is_repeated=handed.taken.is_repeated,
        headers=handed.headers,
        body=handed.taken.body.decode(),
    )


_COMMON: Final[dict[str, Any]] = {**COMMON, "tag": "listeners"}
_ONE: Final = "/v1/webhooks/listeners/{listener_id}"
_MISSING: Final = "No such listener, or it belongs to somebody else, or it has closed itself"

ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/webhooks/listeners",
        handler=open_listener,
        summary="Open a listener, or the one of that name again, and show its secret",
        body=ListenerCreation,
        body_required=False,
        responses={
            200: Data[ListenerData],
            201: Data[ListenerData],
            409: "There are as many endpoints as there may be (`too_many_endpoints`)",
        },
        examples={"request": {"event_types": ["code.redeemed"]}},
        **_COMMON,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/next",
        handler=next_messages,
        summary="Report results and get the next signed messages, waiting for them if there are none",
        body=NextQuestion,
        body_required=False,
        responses={
            200: Data[list[HandedData]],
            404: _MISSING,
            409: "The secret to sign it with cannot be read (`secret_unreadable`)",
        },
        **_COMMON,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=close_listener,
        summary="Close a listener",
        responses={200: Data[EndpointData], 404: _MISSING},
        **_COMMON,
    ),
)
