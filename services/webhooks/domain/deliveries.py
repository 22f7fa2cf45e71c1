"""Deliveries and attempts: the facts of one attempt, and what follows from it."""

import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from services.webhooks.domain import schedule
from services.webhooks.domain.bodies import content_type
from services.webhooks.domain.certificates import TLSTerms
from services.webhooks.domain.endpoints import DisabledReason, Endpoint
from services.webhooks.domain.headers import Auth
from services.webhooks.domain.names import message_name
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.domain.signature import SigningKey, algorithms

DeliveryStatus = Literal["pending", "succeeded", "failed", "dead", "canceled"]
# A pending delivery is also shown as in flight while a process holds it for an attempt, and as paused while its
# endpoint is. Neither is stored: both are read from the queue and the endpoint.
ShownStatus = Literal["pending", "in_flight", "paused", "succeeded", "failed", "dead", "canceled"]
Trigger = Literal["automatic", "manual", "replay", "test", "listen"]
ErrorCode = Literal[
    "blocked_address", "connect_failed", "connect_timeout", "tls_failed", "timeout", "connection_lost", "invalid_answer"
]
GONE: Final = 410
# The reason of dead letters that were pending when their endpoint was disabled.
ENDPOINT_DISABLED: Final = "endpoint_disabled"
# What a receiver may ask for with the response header `webhook-delivery`.
ABORT: Final = "abort-message"
DISABLE: Final = "disable"
RECEIVER_ASKED: Final[DisabledReason] = "receiver_asked"
OVERLOADED: Final = frozenset({429, 502, 503, 504})
MAX_RESPONSE_BYTES: Final = 16 * 1024
# The longest timeout of a POST and half as much again: a process that has not reported by then counts as dead.
LEASE_SECONDS: Final = 45.0
# A delivery counts as failing once the attempt with this number fails and another one follows.
FAILING_STEP: Final = 4


@dataclass(slots=True, kw_only=True)
class HeldDelivery:
    """A delivery that this process has leased; `token` fences its result, `step` is its number in the schedule.

    `is_erased` is set if a customer was erased from the message: receivers may echo the customer, so their responses
    are not stored. `lease_ends` and `begins_before` are on the monotonic clock, which no change of the wall clock
    moves; at endpoints with a limit per second the POST must start before the latter.
    """

    delivery_id: uuid.UUID
    endpoint_id: uuid.UUID
    endpoint_version: int
    message_id: uuid.UUID
    event_type: str
    body: bytes
    step: int
    trigger: Trigger
    ends_at: datetime
    token: int
    lease_ends: float
    format: str = "flat"
    sequence: int | None = None
    ordering_key: str | None = None
    breaker_trips: int = 0
    traceparent: str | None = None
    occurred_at: datetime | None = None
    begins_before: float | None = None
    position: int | None = None
    is_erased: bool = False
    followers: deque["HeldDelivery"] = field(default_factory=deque)
    """The next deliveries of an ordered line, sent one by one while each succeeds; under the same lease."""

    @property
    def is_first_try(self) -> bool:
        """Whether it has not been sent before; what has been may wait for what has not."""
        return self.step == 1 and self.trigger == "automatic"


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """One complete POST; `headers` are the endpoint's own, with its authentication.

    The values of `secret_headers` are never shown.
    """

    url: str
    message_name: str
    body: bytes
    keys: Sequence[SigningKey]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 15.0
    sequence: int | None = None
    secret_headers: tuple[str, ...] = ()
    traceparent: str | None = None
    tls: TLSTerms | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint as the sender needs it, with its active keys, the newest first.

    Nothing is sent while a secret is `missing` because it cannot be decrypted.
    """

    endpoint: Endpoint
    keys: tuple[tuple[SigningKey, datetime | None], ...]
    auth: Auth | None = None
    is_archived: bool = False
    missing: SecretKind | None = None
    tls: TLSTerms | None = None

    @property
    def steps(self) -> Sequence[int]:
        """Seconds before each attempt."""
        own = self.endpoint.schedule
        return schedule.STEPS if own is None else (0, *own)

    def live_keys(self, now: datetime) -> list[SigningKey]:
        """Return the keys that sign at this time."""
        wanted = algorithms(self.endpoint.signing)
        return [key for key, ends in self.keys if key.algorithm in wanted and (ends is None or ends > now)]

    def outgoing(
        self,
        message_id: uuid.UUID,
        format_: str,
        body: bytes,
        now: datetime,
        sequence: int | None = None,
        traceparent: str | None = None,
    ) -> Outgoing:
        """Return the POST for a message, signed with the keys in effect now."""
        headers = dict(self.endpoint.headers)
        secret_headers: tuple[str, ...] = ()
        if self.auth is not None:
            name, value = self.auth.header
            headers[name] = value
            secret_headers = (name,)
        return Outgoing(
            url=self.endpoint.url,
            message_name=message_name(message_id),
            body=body,
            keys=self.live_keys(now),
            content_type=content_type(format_),
            headers=headers,
            timeout_seconds=float(self.endpoint.timeout_seconds),
            sequence=sequence,
            secret_headers=secret_headers,
            traceparent=traceparent,
            tls=self.tls,
        )


@dataclass(slots=True)
class Answer:
    """The result of one POST: a status, or an error code if there was none; the rest as far as it was measured."""

    started_at: datetime
    duration_ms: int
    status: int | None
    error_code: ErrorCode | None
    response: str | None
    retry_after: str | None = None
    dns_ms: int | None = None
    connect_ms: int | None = None
    tls_ms: int | None = None
    ttfb_ms: int | None = None
    remote_ip: str | None = None
    request_headers: Mapping[str, str] | None = None
    response_headers: Mapping[str, str] | None = None
    control: str | None = None

    @property
    def has_succeeded(self) -> bool:
        """Whether the receiver accepted the message."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def kind(self) -> str:
        """The class of the status, such as `2xx`, or the error code."""
        return self.error_code or f"{(self.status or 0) // 100}xx"


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to the delivery (`due_at` for another try) and to its endpoint."""

    status: DeliveryStatus
    due_at: datetime | None = None
    reason: str | None = None
    resume_at: datetime | None = None
    disabled_reason: DisabledReason | None = None
    names_a_time: bool = False


SUCCEEDED: Final = Decision("succeeded")


def decide(
    answer: Answer,
    step: int,
    ends_at: datetime,
    now: datetime,
    throttled: int,
    chance: float,
    steps: Sequence[int] = schedule.STEPS,
) -> Decision:
    """Judge one response: 2xx succeeds, 410 disables the endpoint, an overloaded one rests, all else is retried.

    `throttled` counts the consecutive overload responses, this one included. With the header `webhook-delivery` a
    receiver may ask for no retry of this message, or for no more messages at all.
    """
    status = answer.status
    asked_off = RECEIVER_ASKED if answer.control == DISABLE else None
    if answer.has_succeeded:
        return Decision("succeeded", disabled_reason=asked_off) if asked_off else SUCCEEDED
    if status == GONE:
        return Decision("dead", reason="endpoint_gone", disabled_reason="gone")
    if asked_off:
        return Decision("dead", reason=ENDPOINT_DISABLED, disabled_reason=asked_off)
    if answer.control == ABORT:
        return Decision("dead", reason="aborted_by_receiver")
    resume_at, asked = None, None
    if status in OVERLOADED:
        asked = schedule.retry_after(answer.retry_after, now)
        resume_at = now + (asked or schedule.throttle(throttled))
    due_at = schedule.next_attempt(step, now, ends_at, resume_at, chance, steps)
    names_a_time = asked is not None
    if due_at is None:
        reason = "attempts_exhausted" if step >= len(steps) else "expired"
        return Decision("dead", reason=reason, resume_at=resume_at, names_a_time=names_a_time)
    return Decision("pending", due_at=due_at, resume_at=resume_at, names_a_time=names_a_time)


@dataclass(slots=True)
class Settlement:
    """One attempt with its response and the decision; results are written in groups of these.

    `resume_at` is when the endpoint may be sent to again, `breaker_trips` how often its breaker has opened in a row if
    that changed, `is_news` whether the health of the endpoint has to be judged again.
    """

    held: HeldDelivery
    target: Target
    answer: Answer
    decision: Decision
    resume_at: datetime | None = None
    breaker_trips: int | None = None
    is_news: bool = False

    @property
    def seconds_on_the_way(self) -> float | None:
        """The time from the event to its delivery; None unless this attempt delivered it on schedule.

        Never negative, whatever the clocks say.
        """
        held, answer = self.held, self.answer
        if held.occurred_at is None or held.trigger != "automatic" or not answer.has_succeeded:
            return None
        return max(0.0, (answer.started_at - held.occurred_at).total_seconds() + answer.duration_ms / 1000)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The backlog: how long the oldest delivery has been due, and how many due deliveries no process has leased."""

    age: timedelta
    due: int


def printable(raw: bytes) -> str:
    """Return the bytes of a response as text that the database accepts."""
    return raw[:MAX_RESPONSE_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")
