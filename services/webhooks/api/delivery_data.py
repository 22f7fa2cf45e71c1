"""Deliveries, attempts and dead letters as responses show them."""

import uuid
from typing import Annotated, Final

from pydantic import PlainSerializer

from services.webhooks.domain.advice import AdviceCode, advise
from services.webhooks.domain.names import attempt_name, message_name
from services.webhooks.domain.shown_deliveries import DeadLetter, Delivery, DeliveryDetail, RecordedAttempt
from shared.web import Moment, ResponseModel

MessageName = Annotated[uuid.UUID, PlainSerializer(message_name, return_type=str)]
"""The id of a message as receivers see it."""

ERROR_TEXTS: Final = {
    "blocked_address": "address not allowed or not resolvable",
    "connect_failed": "the connection could not be established",
    "connect_timeout": "the connection could not be established in time",
    "tls_failed": "the TLS handshake failed; check the certificate",
    "timeout": "no response in time",
    "connection_lost": "the connection was closed before the response was complete",
    "invalid_answer": "the response was not valid HTTP",
}


class AdviceData(ResponseModel):
    """What to do about a failed attempt: a stable code and an explanation."""

    code: AdviceCode
    text: str


class AttemptData(ResponseModel):
    """A delivery attempt: one POST to the receiver.

    `status` is the receiver's HTTP status; `error_code` gives the reason if there was none. `response` is the beginning
    of the response body. `advice` says what to do about a failed attempt.

    `duration_ms` is the total; `dns_ms`, `connect_ms` and `tls_ms` are null on a connection that was reused.
    """

    id: str
    delivery_id: uuid.UUID
    message_id: MessageName
    number: int
    trigger: str
    outcome: str
    status: int | None
    error_code: str | None
    error: str | None
    advice: AdviceData | None
    response: str | None
    request_headers: dict[str, str] | None
    response_headers: dict[str, str] | None
    remote_ip: str | None
    duration_ms: int
    dns_ms: int | None
    connect_ms: int | None
    tls_ms: int | None
    ttfb_ms: int | None
    started_at: Moment
    next_attempt_at: Moment | None
    redacted_at: Moment | None


class DeliveryData(ResponseModel):
    """The delivery of a message to an endpoint. `message_id` is the `webhook-id` that receivers see.

    Until it has ended, `status` is `in_flight` while a process holds it for an attempt, `paused` while its endpoint is
    paused, and `pending` otherwise.
    """

    id: uuid.UUID
    endpoint_id: uuid.UUID
    message_id: MessageName
    event_type: str
    status: str
    attempts_made: int
    last_status: int | None
    last_error_code: str | None
    sequence: int | None
    replay_id: uuid.UUID | None
    next_attempt_at: Moment | None
    created_at: Moment
    completed_at: Moment | None
    is_test: bool


class DeliveryDetailData(DeliveryData):
    """A delivery with all its attempts. `body` is what is sent; null once it was redacted or is no longer stored."""

    body: str | None
    attempts: list[AttemptData]


class DeadLetterData(DeliveryData):
    """A delivery that was given up. It can be replayed by its id."""

    reason: str
    died_at: Moment


def attempt_data(attempt: RecordedAttempt) -> AttemptData:
    """Render an attempt."""
    answer = attempt.answer
    return AttemptData.of(
        answer,
        id=attempt_name(attempt.delivery_id, attempt.number),
        delivery_id=attempt.delivery_id,
        message_id=attempt.message_id,
        number=attempt.number,
        trigger=attempt.trigger,
        outcome="succeeded" if answer.has_succeeded else "failed",
        error=None if answer.error_code is None else ERROR_TEXTS[answer.error_code],
        advice=advise(answer.status, answer.error_code),
        next_attempt_at=attempt.next_attempt_at,
        redacted_at=attempt.redacted_at,
    )


def delivery_data(delivery: Delivery, *, test: bool) -> DeliveryData:
    """Render a delivery."""
    return DeliveryData.of(delivery, is_test=test)


def detail_data(detail: DeliveryDetail, *, test: bool) -> DeliveryDetailData:
    """Render a delivery with body and attempts."""
    body = None if detail.body is None else detail.body.decode()
    attempts = [attempt_data(attempt) for attempt in detail.attempts]
    return DeliveryDetailData.of(detail.delivery, is_test=test, body=body, attempts=attempts)


def dead_letter_data(letter: DeadLetter, *, test: bool) -> DeadLetterData:
    """Render a dead letter."""
    return DeadLetterData.of(letter.delivery, is_test=test, reason=letter.reason, died_at=letter.died_at)
