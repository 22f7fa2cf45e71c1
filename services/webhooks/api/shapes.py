"""The objects of the webhooks API, and how domain objects become them."""

from datetime import datetime
from typing import Any, Final, Literal, get_args

from services.webhooks.domain.advice import AdviceCode, advise
from services.webhooks.domain.certificates import ShownCertificate
from services.webhooks.domain.deliveries import (
    DeadLetter,
    Delivery,
    DeliveryDetail,
    RecordedAttempt,
    ShownStatus,
    attempt_name,
    message_name,
)
from services.webhooks.domain.endpoints import Endpoint, ShownEndpoint
from services.webhooks.domain.health import DISABLE_AFTER
from services.webhooks.domain.messages import ListedMessage, Message
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.domain.signature import PUBLIC_PREFIX, ShownKey, encode
from services.webhooks.domain.stats import Stats
from shared.clock import format_microseconds
from shared.modes import is_test, shown_id_or_none
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


class AuthData(ResponseModel):
    """How we authenticate ourselves to a receiver; never the secret.

    `name` is the user's name, the scheme of `Authorization`, or the header's name; null for bearer.
    """

    type: str
    name: str | None


class CertificateData(ResponseModel):
    """A certificate, without its key."""

    subject: str
    issuer: str
    serial_number: str
    fingerprint_sha256: str
    not_before: str
    expires_at: str


class EndpointData(ResponseModel):
    """An endpoint. `resume_at` is set while the receiver is left alone: it asked for rest, or failed too often."""

    id: str
    uid: str | None
    url: str
    event_types: list[str]
    status: str
    format: str
    signing: str
    description: str | None
    metadata: dict[str, str]
    partner_id: str | None
    headers: dict[str, str]
    auth: AuthData | None
    client_certificate: CertificateData | None
    ca_bundle: list[CertificateData] | None
    timeout_seconds: int
    max_in_flight: int
    rate_limit_per_second: int | None
    schedule: list[int] | None
    ordering: str
    on_exhausted: str
    disabled_reason: str | None
    paused_until: str | None
    resume_at: str | None
    created_at: str
    updated_at: str
    is_test: bool


class ShownEndpointData(EndpointData):
    """An endpoint with its new secret, shown this once, and its new public key; null where there is none."""

    secret: str | None
    public_key: str | None


class HealthData(ResponseModel):
    """How a receiver does. `failing_since` is when the failures began that no success has ended.

    If none does until `disables_at`, the endpoint is disabled. An open breaker is tried again at `resume_at`; a pause
    by its owner ends at `paused_until`, or when somebody resumes it. Where `held_back_by` is `secret_unreadable`, a
    secret of the endpoint cannot be opened (`unreadable_secret`): its deliveries wait until that is mended on our side,
    or its owner has rotated the signing key or set `auth` again.
    """

    status: str
    disabled_reason: str | None
    held_back_by: Literal["secret_unreadable"] | None
    unreadable_secret: SecretKind | None
    paused_until: str | None
    breaker: str
    resume_at: str | None
    failing_since: str | None
    disables_at: str | None
    last_success_at: str | None
    last_failure_at: str | None


class DurationsData(ResponseModel):
    """Milliseconds from the start of an attempt to the end of its answer, at three percentiles."""

    p50: float
    p95: float
    p99: float


class StatsData(ResponseModel):
    """What became of the deliveries that were made from `since` to `until`, and of their attempts.

    Deliveries are counted by status, attempts by the class of the answer (`2xx`, `unanswered` where none came).
    `success_rate` is the part of the deliveries that have come to an end which arrived. `is_whole` is false where there
    may be too many to look at all; `since` is then when the oldest of those looked at was made.
    """

    since: str
    until: str
    is_whole: bool
    deliveries: dict[str, int]
    attempts: dict[str, int]
    success_rate: float | None
    duration_ms: DurationsData | None


class KeyData(ResponseModel):
    """A signing key; `public_key` is null for a secret, `expires_at` for one without end."""

    id: str
    algorithm: str
    public_key: str | None
    created_at: str
    expires_at: str | None


class PublicKeysData(ResponseModel):
    """The keys that verify an endpoint's messages."""

    keys: list[KeyData]


class AdviceData(ResponseModel):
    """What to do about an attempt that failed: a code that stays the same, and a sentence."""

    code: AdviceCode
    text: str


class AttemptData(ResponseModel):
    """One POST: `status` is the receiver's, `error_code` says why there was none, `response` begins its answer.

    `advice` says what to do about one that failed.

    `duration_ms` is the whole; its parts are null where they did not take place, as on a connection that was kept.
    """

    id: str
    delivery_id: str
    message_id: str
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
    started_at: str
    next_attempt_at: str | None
    redacted_at: str | None


class DeliveryData(ResponseModel):
    """One event on its way to one endpoint; `message_id` is what receivers see as `webhook-id`.

    What is not at its end is `in_flight` while a process has taken it for an attempt, `paused` while it waits at an
    endpoint that is paused, and `pending` otherwise.
    """

    id: str
    endpoint_id: str
    message_id: str
    event_type: str
    status: str
    attempts_made: int
    last_status: int | None
    last_error_code: str | None
    sequence: int | None
    replay_id: str | None
    next_attempt_at: str | None
    created_at: str
    completed_at: str | None
    is_test: bool


class DeliveryDetailData(DeliveryData):
    """A delivery with every attempt and the body as sent; null once that was redacted or is kept no longer."""

    body: str | None
    attempts: list[AttemptData]


class DeadLetterData(DeliveryData):
    """A delivery that was given up; it can be replayed by its id."""

    reason: str
    died_at: str


class ReplayedData(ResponseModel):
    """A dead letter that is due again."""

    id: str
    status: str


class PurgedData(ResponseModel):
    """How many dead letters are gone, and whether that was all that is meant."""

    purged: int
    is_whole: bool


class ReplayedManyData(ResponseModel):
    """How many dead letters are due again, and whether that was all that is meant."""

    replayed: int
    is_whole: bool


def endpoint_data(endpoint: Endpoint) -> EndpointData:
    """Render an endpoint."""
    return EndpointData(
        id=str(endpoint.id),
        uid=endpoint.uid,
        url=endpoint.url,
        event_types=list(endpoint.event_types),
        status=endpoint.status,
        format=endpoint.format,
        signing=endpoint.signing,
        description=endpoint.description,
        metadata=dict(endpoint.metadata),
        partner_id=shown_id_or_none(endpoint.partner_id),
        headers=dict(endpoint.headers),
        auth=None if endpoint.auth is None else AuthData(type=endpoint.auth.type, name=endpoint.auth.name),
        client_certificate=None if endpoint.client_certificate is None else _certificate(endpoint.client_certificate),
        ca_bundle=None if endpoint.ca_bundle is None else [_certificate(each) for each in endpoint.ca_bundle],
        timeout_seconds=endpoint.timeout_seconds,
        max_in_flight=endpoint.max_in_flight,
        rate_limit_per_second=endpoint.rate_limit_per_second,
        schedule=None if endpoint.schedule is None else list(endpoint.schedule),
        ordering=endpoint.ordering,
        on_exhausted=endpoint.on_exhausted,
        disabled_reason=endpoint.disabled_reason,
        paused_until=_time(endpoint.paused_until),
        resume_at=_time(endpoint.resume_at),
        created_at=format_microseconds(endpoint.created_at),
        updated_at=format_microseconds(endpoint.updated_at),
        is_test=is_test(endpoint.program_id),
    )


def _certificate(shown: ShownCertificate) -> CertificateData:
    return CertificateData(
        subject=shown.subject,
        issuer=shown.issuer,
        serial_number=shown.serial_number,
        fingerprint_sha256=shown.fingerprint_sha256,
        not_before=format_microseconds(shown.not_before),
        expires_at=format_microseconds(shown.expires_at),
    )


def shown_data(shown: ShownEndpoint) -> ShownEndpointData:
    """Render an endpoint with its secret."""
    return ShownEndpointData(
        **endpoint_data(shown.endpoint).model_dump(), secret=shown.secret, public_key=shown.public_key
    )


def health_data(endpoint: Endpoint, unreadable: SecretKind | None) -> HealthData:
    """Render how a receiver does."""
    return HealthData(
        status=endpoint.status,
        disabled_reason=endpoint.disabled_reason,
        held_back_by=None if unreadable is None else "secret_unreadable",
        unreadable_secret=unreadable,
        paused_until=_time(endpoint.paused_until),
        breaker=endpoint.breaker,
        resume_at=_time(endpoint.resume_at),
        failing_since=_time(endpoint.failing_since),
        disables_at=_time(None if endpoint.failing_since is None else endpoint.failing_since + DISABLE_AFTER),
        last_success_at=_time(endpoint.last_success_at),
        last_failure_at=_time(endpoint.last_failure_at),
    )


def stats_data(stats: Stats) -> StatsData:
    """Render what became of deliveries."""
    durations = stats.durations
    return StatsData(
        since=format_microseconds(stats.since),
        until=format_microseconds(stats.until),
        is_whole=stats.is_whole,
        deliveries={status: stats.deliveries.get(status, 0) for status in get_args(ShownStatus)},
        attempts=dict(stats.attempts),
        success_rate=stats.success_rate,
        duration_ms=DurationsData(p50=durations[50], p95=durations[95], p99=durations[99]) if durations else None,
    )


def key_data(key: ShownKey) -> KeyData:
    """Render a signing key."""
    return KeyData(
        id=str(key.id),
        algorithm=key.algorithm,
        public_key=None if key.public_key is None else encode(PUBLIC_PREFIX, key.public_key),
        created_at=format_microseconds(key.created_at),
        expires_at=_time(key.expires_at),
    )


def attempt_data(attempt: RecordedAttempt) -> AttemptData:
    """Render an attempt."""
    answer = attempt.answer
    advice = advise(answer.status, answer.error_code)
    return AttemptData(
        id=attempt_name(attempt.delivery_id, attempt.number),
        delivery_id=str(attempt.delivery_id),
        message_id=message_name(attempt.message_id),
        number=attempt.number,
        trigger=attempt.trigger,
        outcome="succeeded" if answer.has_succeeded else "failed",
        status=answer.status,
        error_code=answer.error_code,
        error=None if answer.error_code is None else ERROR_TEXTS[answer.error_code],
        advice=None if advice is None else AdviceData(code=advice.code, text=advice.text),
        response=answer.response,
        request_headers=None if answer.request_headers is None else dict(answer.request_headers),
        response_headers=None if answer.response_headers is None else dict(answer.response_headers),
        remote_ip=answer.remote_ip,
        duration_ms=answer.duration_ms,
        dns_ms=answer.dns_ms,
        connect_ms=answer.connect_ms,
        tls_ms=answer.tls_ms,
        ttfb_ms=answer.ttfb_ms,
        started_at=format_microseconds(answer.started_at),
        next_attempt_at=_time(attempt.next_attempt_at),
        redacted_at=_time(attempt.redacted_at),
    )


def delivery_data(delivery: Delivery, *, test: bool) -> DeliveryData:
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
        sequence=delivery.sequence,
        replay_id=None if delivery.replay_id is None else str(delivery.replay_id),
        next_attempt_at=_time(delivery.next_attempt_at),
        created_at=format_microseconds(delivery.created_at),
        completed_at=_time(delivery.completed_at),
        is_test=test,
    )


def detail_data(detail: DeliveryDetail, *, test: bool) -> DeliveryDetailData:
    """Render a delivery with body and attempts."""
    return DeliveryDetailData(
        **delivery_data(detail.delivery, test=test).model_dump(),
        body=None if detail.body is None else detail.body.decode(),
        attempts=[attempt_data(attempt) for attempt in detail.attempts],
    )


def dead_letter_data(letter: DeadLetter, *, test: bool) -> DeadLetterData:
    """Render a dead letter."""
    return DeadLetterData(
        **delivery_data(letter.delivery, test=test).model_dump(),
        reason=letter.reason,
        died_at=format_microseconds(letter.died_at),
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_microseconds(moment)


def message_members(found: Message | ListedMessage, *, test: bool) -> dict[str, Any]:
    """Return what every answer says of a message."""
    return {
        "id": message_name(found.id),
        "event_type": found.event_type,
        "partner_id": shown_id_or_none(found.partner_id),
        "occurred_at": format_microseconds(found.occurred_at),
        "created_at": format_microseconds(found.created_at),
        "redacted_at": None if found.redacted_at is None else format_microseconds(found.redacted_at),
        "is_test": test,
    }
