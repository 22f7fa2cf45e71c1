"""The objects of the webhooks API, and how domain objects become them."""

from typing import Final

from services.webhooks.domain.deliveries import (
    DeadLetter,
    Delivery,
    DeliveryDetail,
    RecordedAttempt,
    message_name,
)
from services.webhooks.domain.endpoints import Endpoint, ShownEndpoint
from shared.clock import format_microseconds
from shared.web import ResponseModel

ERROR_TEXTS: Final = {
    "blocked_address": "address not allowed or not resolvable",
    "connect_failed": "the connection could not be made",
    "connect_timeout": "the connection was not made in time",
    "tls_failed": "the TLS connection could not be made; check the certificate",
    "timeout": "no answer in time",
    "connection_lost": "the connection ended before an answer came",
    "invalid_answer": "the answer was not valid HTTP",
}


class EndpointData(ResponseModel):
    """An endpoint. `resume_at` is set while the receiver has asked for rest."""

    id: str
    url: str
    event_types: list[str]
    status: str
    format: str
    description: str | None
    partner_id: str | None
    max_in_flight: int
    disabled_reason: str | None
    resume_at: str | None
    created_at: str
    updated_at: str


class ShownEndpointData(EndpointData):
    """An endpoint with the secret that signs its webhooks, shown this once."""

    secret: str


class AttemptData(ResponseModel):
    """One POST: `status` is the receiver's, `error_code` says why there was none, `response` begins its answer."""

    delivery_id: str
    message_id: str
    number: int
    trigger: str
    outcome: str
    status: int | None
    error_code: str | None
    error: str | None
    response: str | None
    duration_ms: int
    started_at: str


class DeliveryData(ResponseModel):
    """One event on its way to one endpoint; `message_id` is what receivers see as `webhook-id`."""

    id: str
    endpoint_id: str
    message_id: str
    event_type: str
    status: str
    attempts_made: int
    last_status: int | None
    last_error_code: str | None
    next_attempt_at: str | None
    created_at: str
    completed_at: str | None


class DeliveryDetailData(DeliveryData):
    """A delivery with the body as sent and every attempt."""

    body: str
    attempts: list[AttemptData]


class DeadLetterData(DeliveryData):
    """A delivery that was given up; it can be replayed by its id."""

    reason: str
    died_at: str


class ReplayedData(ResponseModel):
    """A dead letter that is due again."""

    id: str
    status: str


class ReplayedManyData(ResponseModel):
    """How many dead letters are due again."""

    replayed: int


def endpoint_data(endpoint: Endpoint) -> EndpointData:
    """Render an endpoint."""
    return EndpointData(
        id=str(endpoint.id),
        url=endpoint.url,
        event_types=list(endpoint.event_types),
        status=endpoint.status,
        format=endpoint.format,
        description=endpoint.description,
        partner_id=None if endpoint.partner_id is None else str(endpoint.partner_id),
        max_in_flight=endpoint.max_in_flight,
        disabled_reason=endpoint.disabled_reason,
        resume_at=None if endpoint.resume_at is None else format_microseconds(endpoint.resume_at),
        created_at=format_microseconds(endpoint.created_at),
        updated_at=format_microseconds(endpoint.updated_at),
    )


def shown_data(shown: ShownEndpoint) -> ShownEndpointData:
    """Render an endpoint with its secret."""
    return ShownEndpointData(**endpoint_data(shown.endpoint).model_dump(), secret=shown.secret)


def attempt_data(attempt: RecordedAttempt) -> AttemptData:
    """Render an attempt."""
    answer = attempt.answer
    return AttemptData(
        delivery_id=str(attempt.delivery_id),
        message_id=message_name(attempt.message_id),
        number=attempt.number,
        trigger=attempt.trigger,
        outcome="succeeded" if answer.has_succeeded else "failed",
        status=answer.status,
        error_code=answer.error_code,
        error=None if answer.error_code is None else ERROR_TEXTS[answer.error_code],
        response=answer.response,
        duration_ms=answer.duration_ms,
        started_at=format_microseconds(answer.started_at),
    )


def delivery_data(delivery: Delivery) -> DeliveryData:
    """Render a delivery."""
    return DeliveryData(
        id=str(delivery.id),
        endpoint_id=str(delivery.endpoint_id),
        message_id=message_name(delivery.message_id),
        event_type=delivery.event_type,
        status=delivery.status,
        attempts_made=delivery.attempts_made,
        last_status=delivery.last_status,
        last_error_code=delivery.last_error_code,
        next_attempt_at=None if delivery.next_attempt_at is None else format_microseconds(delivery.next_attempt_at),
        created_at=format_microseconds(delivery.created_at),
        completed_at=None if delivery.completed_at is None else format_microseconds(delivery.completed_at),
    )


def detail_data(detail: DeliveryDetail) -> DeliveryDetailData:
    """Render a delivery with body and attempts."""
    return DeliveryDetailData(
        **delivery_data(detail.delivery).model_dump(),
        body=detail.body.decode(),
        attempts=[attempt_data(attempt) for attempt in detail.attempts],
    )


def dead_letter_data(letter: DeadLetter) -> DeadLetterData:
    """Render a dead letter."""
    return DeadLetterData(
        **delivery_data(letter.delivery).model_dump(),
        reason=letter.reason,
        died_at=format_microseconds(letter.died_at),
    )
