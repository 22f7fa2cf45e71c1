"""`/v1/webhooks/messages`, and the debugger of signatures."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Final, Self

from aiohttp import web
from pydantic import Field, model_validator

from services.webhooks.api.context import COMMON, once, owner, refuse_partners, use_cases
from services.webhooks.api.delivery_data import MessageName
from services.webhooks.api.event_types import TypeFilter
from services.webhooks.domain.debugging import HINTS, TOLERANCE_SECONDS, Problem, StoredBody
from services.webhooks.domain.endpoints import MAX_ENDPOINTS
from services.webhooks.domain.messages import MessageFilter, Resent
from services.webhooks.domain.names import message_id_of
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
    TenantId,
    Text,
    data_response,
    field_error,
    not_found,
    page_response,
    respond,
    window,
)

_LONGEST_TOLERANCE: Final = 10 * 365 * 86_400


class ListedMessageData(ResponseModel):
    """A message without its content. `id` is the `webhook-id` that receivers see."""

    id: MessageName
    event_type: str
    partner_id: TenantId | None
    occurred_at: Moment
    created_at: Moment
    redacted_at: Moment | None
    is_test: bool


class MessageData(ResponseModel):
    """A message, independent of the format it was sent in. `data` is null once it was redacted.

    For messages that a program published, `event_id` is the program's own id and `kept_until` the time of removal.
    """

    id: MessageName
    event_id: str | None
    event_type: str
    partner_id: TenantId | None
    occurred_at: Moment
    created_at: Moment
    data: dict[str, Any] | None
    kept_until: Moment | None
    redacted_at: Moment | None
    is_test: bool


class MessageQuery(PageQuery):
    """Filters of the list of messages."""

    event_type: TypeFilter = None
    since: Instant | None = Field(None, description="Created at or after this time.")
    until: Instant | None = Field(None, description="Created before this time.")
    _in_order = window("since", "until")


class MessageResend(RequestModel):
    """The endpoints to send a message to again."""

    endpoint_ids: Annotated[list[uuid.UUID], Field(min_length=1, max_length=MAX_ENDPOINTS)] | None = Field(
        None, description="By default, every endpoint that has a delivery of the message."
    )


class ResentData(ResponseModel):
    """A delivery of the message. `is_due` is false if it was already pending and nothing was done."""

    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    is_due: bool


class SignatureCheck(RequestModel):
    """A message as received, and the key to verify it with: `key`, or the keys of the endpoint `endpoint_id`.

    With `endpoint_id`, the body is also compared with the one that was sent to the endpoint under this webhook-id.
    """

    headers: Annotated[dict[Text, Annotated[str, Field(max_length=4096)]], Field(max_length=100)]
    body: str = Field(description="The raw body, as text.")
    key: Text | None = Field(None, description="A key that starts with whsec_, whpk_ or whsk_.")
    endpoint_id: uuid.UUID | None = None
    tolerance_seconds: Annotated[Int, Field(ge=0, le=_LONGEST_TOLERANCE)] = TOLERANCE_SECONDS

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.key is None) == (self.endpoint_id is None):
            raise field_error("key", "Give either key or endpoint_id.")
        return self


class ProblemData(ResponseModel):
    """A problem found: a stable code and an explanation."""

    code: Problem
    hint: str


class SignatureCheckData(ResponseModel):
    """Whether a receiver would accept the message. `verified_by` is the id of the endpoint's key, or `given`."""

    valid: bool
    verified_by: str | None
    problems: list[ProblemData]
    stored_body: StoredBody | None = Field(
        description=(
            "With `endpoint_id`: how the body compares with the one sent to the endpoint under this webhook-id. "
            "respelled: the same JSON in different bytes. forgotten: redacted or no longer stored. "
            "unknown: no such message was sent."
        )
    )


_ROUTES: Final = Routes(
    "/v1/webhooks/messages", "No such message, or it belongs to another account", tag="messages", **COMMON
)
_VERIFYING: Final = Routes("/v1/webhooks/verify-signature", tag="keys", grade="look", **COMMON)


def _resent(found: list[Resent]) -> web.Response:
    return data_response([ResentData.of(each) for each in found], 202)


@_ROUTES.get("", Page[ListedMessageData], query=MessageQuery)
async def list_messages(request: Request) -> web.StreamResponse:
    """List messages, the newest first.

    A page can be short or empty without being the last: continue while `meta.next_cursor` is not null.
    """
    query = request.query(MessageQuery)
    before = query.position(datetime, uuid.UUID)
    chosen = MessageFilter(query.event_type, query.since, query.until)
    page = await use_cases(request).messages.page(owner(request), chosen, before, query.limit)
    cursor = query.cursor_after(*page.next_after) if page.next_after else None
    return page_response([ListedMessageData.of(each, is_test=request.is_test) for each in page.messages], cursor)


@_ROUTES.post(
    "/{message_id}/resend",
    Data[list[ResentData]],
    status=202,
    body=MessageResend,
    body_required=False,
    idempotent=True,
    path_descriptions={"message_id": "The webhook-id that receivers see."},
    refusals={
        404: "No such message or endpoint, or it belongs to another account",
        409: "The content of the message is no longer stored (`content_gone`) or does not exist in the format of an "
        "endpoint (`form_missing`), or the message is a test (`message_not_resendable`)",
    },
)
async def resend_message(request: Request) -> web.StreamResponse:
    """Send a message again, to the endpoints that had it or to those named.

    The message keeps its id, is signed with the keys in effect when it is sent, and starts a new retry schedule. Either
    all deliveries are created or none. Pending deliveries stay as they are. An endpoint that never had the message
    must subscribe to its event type.
    """
    endpoint_ids = request.body(MessageResend).endpoint_ids
    answer = await use_cases(request).resend_message(
        owner(request), _message_id(request), endpoint_ids, once(request, _resent)
    )
    return respond(request, answer)


@_ROUTES.get(
    "/{message_id}",
    Data[MessageData],
    path_descriptions={"message_id": "The webhook-id that receivers see."},
)
async def show_message(request: Request) -> web.StreamResponse:
    """Show a message in full, for receivers of the thin format."""
    form, data = await use_cases(request).messages.one(owner(request), _message_id(request))
    return data_response(MessageData.of(form, data=data, is_test=request.is_test))


@_ROUTES.delete(
    "/{message_id}/content",
    Data[MessageData],
    refusals={409: "The message is being sent right now (`delivery_under_way`)"},
)
async def redact_message(request: Request) -> web.StreamResponse:
    """Redact the content of a message and cancel its pending deliveries.

    Requires a program's key. The message and the record of its deliveries remain; it cannot be sent again.
    """
    # The program's endpoints have the same message as its partner.
    refuse_partners(request)
    await use_cases(request).messages.redact(request.program_id, _message_id(request))
    return await show_message(request)


@_VERIFYING.post(
    "",
    Data[SignatureCheckData],
    body=SignatureCheck,
    examples={
        "request": {
            "headers": {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            "body": '{"test": 2432232314}',
            "key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
    },
    refusals={404: "No such endpoint, or it belongs to another account"},
)
async def verify_signature(request: Request) -> web.StreamResponse:
    """Verify the signature of a message as a receiver would, and explain what is wrong."""
    body = request.body(SignatureCheck)
    finding = await use_cases(request).debug_signature(
        owner(request), body.key or body.endpoint_id or "", body.headers, body.body.encode(), body.tolerance_seconds
    )
    problems = [ProblemData(code=code, hint=HINTS[code]) for code in finding.problems]
    return data_response(
        SignatureCheckData(
            valid=finding.is_valid, verified_by=finding.key, problems=problems, stored_body=finding.stored_body
        )
    )


def _message_id(request: Request) -> uuid.UUID:
    found = message_id_of(request.path("message_id"))
    if found is None:
        raise not_found()
    return found


ROUTES: Final = (*_ROUTES.all, *_VERIFYING.all)
