"""`POST /v1/webhooks/messages`: events of a program's own types."""

import uuid
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, once, partner_in, refuse_partners, use_cases
from services.webhooks.api.delivery_data import MessageName
from services.webhooks.domain.event_types import CUSTOM_PATTERN
from services.webhooks.domain.messages import (
    LARGE_PAYLOAD_BYTES,
    LONGEST_RETENTION_DAYS,
    MAX_PAYLOAD_BYTES,
    SHORTEST_RETENTION_DAYS,
    MessageDraft,
    Published,
)
from services.webhooks.usecases.publish_message import Publication
from shared.idempotency import Once
from shared.web import (
    Data,
    Instant,
    Int,
    Moment,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    Spelled,
    TenantId,
    data_response,
    respond,
)

# Larger than for other requests: white space and escapes can make a payload longer than what is sent.
_BODY_LIMIT: Final = 2 * MAX_PAYLOAD_BYTES
_LARGE: Final = f"The payload has more than {LARGE_PAYLOAD_BYTES} bytes; some receivers do not accept that."
_CUSTOM_FORM: Final = (
    "must be custom. followed by 1 to 5 dot-separated names of up to 40 letters a to z, digits, - and _, such as "
    "custom.card.sent"
)
_Name = Annotated[str, Field(min_length=1, max_length=255)]


class MessageCreation(RequestModel):
    """An event to deliver to the endpoints that subscribe to its type."""

    event_type: Annotated[str, Field(max_length=255, pattern=CUSTOM_PATTERN), Spelled(_CUSTOM_FORM)] = Field(
        description="Your own name after custom., in lower case, such as custom.card.sent"
    )
    payload: dict[str, Any] = Field(
        description=(
            f"The content of the event, at most {MAX_PAYLOAD_BYTES} bytes. "
            "No member may be named event, partner_id or timestamp."
        )
    )
    event_id: _Name | None = Field(
        None,
        description="Your own id of the event. For at least 35 days, a repeat returns the existing message.",
    )
    partner_id: uuid.UUID | None = Field(
        None, description="A partner who receives the event too. The partner sees the whole payload."
    )
    ordering_key: _Name | None = Field(
        None, description="At endpoints with ordering by key, events with the same key are delivered in order."
    )
    occurred_at: Instant | None = Field(None, description="When the event happened; by default, now.")
    retention_days: Annotated[Int, Field(ge=SHORTEST_RETENTION_DAYS, le=LONGEST_RETENTION_DAYS)] | None = Field(
        None, description="How many days the message is stored and can be replayed; by default, as for all messages."
    )


class PublishWarning(ResponseModel):
    """A warning: the message was accepted but may cause problems."""

    code: str
    hint: str


class PublishedData(ResponseModel):
    """A published message. `deliveries` is the number of endpoints that it is delivered to."""

    id: MessageName
    event_id: str
    event_type: str
    partner_id: TenantId | None
    occurred_at: Moment
    created_at: Moment
    kept_until: Moment
    redacted_at: Moment | None
    is_test: bool
    deliveries: int
    warnings: list[PublishWarning]


# Partners may not publish, and a program's key comes as Bearer.
_ROUTES: Final = Routes("/v1/webhooks/messages", tag="messages", **COMMON | {"security": "bearer"})


def _published(request: Request, found: Published) -> web.Response:
    data = PublishedData.of(
        found.message,
        is_test=request.is_test,
        event_id=found.event_id,
        kept_until=found.kept_until,
        deliveries=found.deliveries,
        warnings=[PublishWarning(code="large_payload", hint=_LARGE)] if found.is_large else [],
    )
    return data_response(data, 201 if found.is_new else 200)


@_ROUTES.post(
    "",
    Data[PublishedData],
    body=MessageCreation,
    body_limit=_BODY_LIMIT,
    idempotent=True,
    is_traced=True,
    examples={
        "request": {
            "event_type": "custom.card.sent",
            "event_id": "card-4711-sent",
            "payload": {"card_id": "a1b2c3d4", "recipient_name": "Sarah"},
        }
    },
    description="Requires a program's key. The message goes to the program's endpoints that subscribe to its type, "
    "and with partner_id also to those of that partner. It has the same formats and delivery guarantees as every "
    "other message. A repeat with the same event_id and the same members returns the existing message. "
    f"The body may have up to {_BODY_LIMIT} bytes.",
    refusals={
        201: Data[PublishedData],
        409: "Another message has this event_id (`event_id_conflict`), or the message with this event_id is no longer "
        "stored (`content_gone`)",
        413: "The payload is too large (`payload_too_large`)",
    },
    tag="messages",
)
async def publish(request: Request) -> web.StreamResponse:
    """Publish a custom event."""
    refuse_partners(request)
    body = request.body(MessageCreation)
    partner_id = partner_in(request, body.partner_id)
    draft = MessageDraft(**dict(body) | {"partner_id": partner_id, "traceparent": request.traceparent})
    made: Once[Published] = once(request, lambda found: _published(request, found))
    return respond(request, await use_cases(request).publish_message(Publication.of(request.program_id, draft), made))


ROUTES: Final = tuple(_ROUTES.all)
