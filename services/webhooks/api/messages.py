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
    decode_cursor,
    encode_cursor,
    field_error,
    not_found,
    page_response,
    respond,
)

_LONGEST_TOLERANCE: Final = 10 * 365 * 86_400


class ListedMessageData(ResponseModel):
    """A message without what it says; `id` is what receivers see as `webhook-id`."""

    id: MessageName
    event_type: str
    partner_id: TenantId | None
    occurred_at: Moment
    created_at: Moment
    redacted_at: Moment | None
    is_test: bool


class MessageData(ResponseModel):
    """What happened, whatever format it was sent in; `data` is null once it was redacted.

    `event_id` is the program's own of what it has published itself, `kept_until` when that is removed.
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
    since: Instant | None = Field(None, description="Only those that were made at this time or later.")
    until: Instant | None = Field(None, description="Only those that were made before this time.")


class MessageResend(RequestModel):
    """To whom a message is sent again."""

    endpoint_ids: Annotated[list[uuid.UUID], Field(min_length=1, max_length=MAX_ENDPOINTS)] | None = Field(
        None, description="By default every endpoint that it was on its way to."
    )


class ResentData(ResponseModel):
    """A delivery of the message; `is_due` is false where it was on its way already and nothing was done."""

    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    is_due: bool


class SignatureCheck(RequestModel):
    """A message as a receiver has it, and the key to verify it with: a text of your own, or those of an endpoint.

    With an endpoint the body is also compared with the one that it was sent under this webhook-id.
    """

    headers: Annotated[dict[Text, Annotated[str, Field(max_length=4096)]], Field(max_length=100)]
    body: str = Field(description="The raw body, as text.")
    key: Text | None = Field(None, description="A whsec_, whpk_ or whsk_ text.")
    endpoint_id: uuid.UUID | None = None
    tolerance_seconds: Annotated[Int, Field(ge=0, le=_LONGEST_TOLERANCE)] = TOLERANCE_SECONDS

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.key is None) == (self.endpoint_id is None):
            raise field_error("key", "Give either key or endpoint_id.")
        return self


class ProblemData(ResponseModel):
    """Something that is wrong, by a stable code and in words."""

    code: Problem
    hint: str


class SignatureCheckData(ResponseModel):
    """Whether a receiver would accept the message; `verified_by` is the id of the endpoint's key, or `given`."""

    valid: bool
    verified_by: str | None
    problems: list[ProblemData]
    stored_body: StoredBody | None = Field(
        description=(
            "With `endpoint_id`: how the body compares with the one that the endpoint was sent under this webhook-id. "
            "respelled: the same JSON in other bytes. forgotten: redacted or kept no longer. unknown: there was none."
        )
    )


_ROUTES: Final = Routes(
    "/v1/webhooks/messages", "No such message, or it belongs to somebody else", tag="messages", **COMMON
)
_VERIFYING: Final = Routes("/v1/webhooks/verify-signature", tag="keys", **COMMON)


def _resent(found: list[Resent]) -> web.Response:
    return data_response([ResentData.of(each) for each in found], 202)


@_ROUTES.get("", Page[ListedMessageData], query=MessageQuery)
async def list_messages(request: Request) -> web.StreamResponse:
    """List messages, the newest first.

    A page can be short, or even empty, without being the last: go on while there is a next_cursor.
    """
    query = request.query(MessageQuery)
    before = None if query.cursor is None else decode_cursor(query.cursor, datetime, uuid.UUID)
    chosen = MessageFilter(query.event_type, query.since, query.until)
    page = await use_cases(request).messages.page(owner(request), chosen, before, query.limit)
    cursor = encode_cursor(*page.next_after) if page.next_after else None
    return page_response([ListedMessageData.of(each, is_test=request.is_test) for each in page.messages], cursor)


@_ROUTES.post(
    "/{message_id}/resend",
    Data[list[ResentData]],
    status=202,
    body=MessageResend,
    body_required=False,
    idempotent=True,
    path_descriptions={"message_id": "What receivers see as webhook-id."},
    refusals={
        404: "No such message or endpoint, or it belongs to somebody else",
        409: "Its content is gone (`content_gone`), or was never made in the format of an endpoint "
        "(`form_missing`); or it is a test (`message_not_resendable`)",
    },
)
async def resend_message(request: Request) -> web.StreamResponse:
    """Send a message again, to all whom it was on its way to or to those who are named.

    The same message under the same id, signed with the keys of then, by a fresh schedule: all of them or none. What
    is on its way already stays as it is. An endpoint that never had it has to subscribe to its type.
    """
    endpoint_ids = request.body(MessageResend).endpoint_ids
    answer = await use_cases(request).resend_message(
        owner(request), _message_id(request), endpoint_ids, once(request, _resent)
    )
    return respond(request, answer)


@_ROUTES.get(
    "/{message_id}",
    Data[MessageData],
    path_descriptions={"message_id": "What receivers see as webhook-id."},
)
async def show_message(request: Request) -> web.StreamResponse:
    """Show a message in full, as a thin one asks for."""
    form, data = await use_cases(request).messages.one(owner(request), _message_id(request))
    return data_response(MessageData.of(form, data=data, is_test=request.is_test))


@_ROUTES.delete(
    "/{message_id}/content",
    Data[MessageData],
    refusals={409: "It is being sent just now (`delivery_under_way`)"},
)
async def redact_message(request: Request) -> web.StreamResponse:
    """Forget what a message said, and cancel what waits to be sent of it.

    With a program's key. That the message was, and where it went, stays; it cannot be sent again.
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
    refusals={404: "No such endpoint, or it belongs to somebody else"},
)
async def verify_signature(request: Request) -> web.StreamResponse:
    """Verify a message as a receiver would, and say what is wrong."""
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
