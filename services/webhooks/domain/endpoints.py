"""Endpoints: what they are, and which events reach them."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from services.webhooks.domain.certificates import CertificatePair, ShownCertificate
from services.webhooks.domain.errors import InvalidField
from services.webhooks.domain.event_types import is_operational, subscribes
from services.webhooks.domain.headers import Auth, AuthType
from services.webhooks.domain.signature import Signing

EndpointStatus = Literal["active", "paused", "disabled"]
Format = Literal["flat", "standard", "thin", "cloudevents"]
Ordering = Literal["none", "key", "strict"]
OnExhausted = Literal["skip", "block"]
Breaker = Literal["closed", "open", "half_open"]
DisabledReason = Literal["by_owner", "failing", "gone", "receiver_asked"]
PauseReason = Literal[
    "owner",
    "secret_unreadable",
    "breaker",
    "retry_after",
    "disabled_by_owner",
    "disabled_failing",
    "disabled_gone",
    "disabled_receiver_asked",
]
DEFAULT_IN_FLIGHT: Final = 50
MAX_IN_FLIGHT: Final = 100
MAX_ENDPOINTS: Final = 500
MAX_RATE_PER_SECOND: Final = 10_000
SHORTEST_TIMEOUT, DEFAULT_TIMEOUT, LONGEST_TIMEOUT = 5, 15, 30
MAX_STEPS: Final = 20
LONGEST_STEP_SECONDS: Final = 172_800
DISABLED_BY_OWNER: Final = "by_owner"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of endpoints that a key may see: a whole program, or one partner.

    `caller_id` is the key or account that acts for it, if one does.
    """

    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    caller_id: uuid.UUID | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ShownAuth:
    """How requests to the receiver are authenticated, without the secret."""

    type: AuthType
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The settings of an endpoint that its owner chooses."""

    url: str
    event_types: tuple[str, ...]
    uid: str | None = None
    format: Format = "flat"
    signing: Signing = "hmac"
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    status: EndpointStatus = "active"
    timeout_seconds: int = DEFAULT_TIMEOUT
    max_in_flight: int = DEFAULT_IN_FLIGHT
    rate_limit_per_second: int | None = None
    schedule: tuple[int, ...] | None = None
    ordering: Ordering = "none"
    on_exhausted: OnExhausted = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDraft(Terms):
    """A requested endpoint; `secret` is the caller's own key, if any."""

    auth: Auth | None = None
    client_certificate: CertificatePair | None = None
    ca_bundle: str | None = None
    partner_id: uuid.UUID | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Terms):
    """A receiver of a program or, if `partner_id` is set, of one of its partners.

    `resume_at` is when it may be sent to again, whether it asked for a pause or its breaker is open. The table keeps a
    value that has passed; `as_of` clears it.
    """

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    auth: ShownAuth | None = None
    client_certificate: ShownCertificate | None = None
    ca_bundle: tuple[ShownCertificate, ...] | None = None
    disabled_reason: DisabledReason | None = None
    paused_until: datetime | None = None
    resume_at: datetime | None = None
    breaker: Breaker = "closed"
    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    listens_until: datetime | None = None
    version: int = 1
    created_at: datetime
    updated_at: datetime

    @property
    def owner_id(self) -> uuid.UUID:
        """Whose endpoint it is."""
        return self.partner_id or self.program_id


@dataclass(frozen=True, slots=True)
class ShownEndpoint:
    """An endpoint with its secrets as texts, which are shown only once."""

    endpoint: Endpoint
    secret: str | None
    public_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What is needed to decide whether an event goes to an endpoint, and whether at once."""

    endpoint_id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    event_types: frozenset[str]
    format: Format
    max_in_flight: int
    is_open: bool
    is_disabled: bool
    version: int
    ordering: Ordering = "none"

    @property
    def owner_id(self) -> uuid.UUID:
        """Whose endpoint it is."""
        return self.partner_id or self.program_id


@dataclass(frozen=True, slots=True)
class Resumed:
    """An endpoint whose pause has ended."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    uid: str | None


@dataclass(frozen=True, slots=True)
class Owned:
    """An endpoint or a listener of a partner."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID
    is_listener: bool


@dataclass(frozen=True, slots=True)
class Marked:
    """An endpoint or listener whose secrets have become readable or unreadable."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    uid: str | None
    is_listener: bool


@dataclass(frozen=True, slots=True)
class Census:
    """The numbers of endpoints by state, by breaker, by reason why nothing is sent, and by expiry of certificates."""

    states: Counter[str]
    breakers: Counter[str]
    pauses: Counter[str]
    certificates: Counter[str]


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """A page of endpoints, the newest first, and the position of the next page; None at the end."""

    endpoints: Sequence[Endpoint]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What may change about an endpoint while a process holds deliveries for it."""

    endpoint_id: uuid.UUID
    version: int
    resume_at: datetime | None
    is_failing: bool = False


def as_of(endpoint: Endpoint, now: datetime) -> Endpoint:
    """Return an endpoint as it is at a time, without a `resume_at` that has passed."""
    has_resumed = endpoint.resume_at is not None and endpoint.resume_at <= now
    return replace(endpoint, resume_at=None) if has_resumed else endpoint


def wants(subscription: Subscription, event_type: str, about_endpoint: str | None) -> bool:
    """Return whether an endpoint gets an event of its owner.

    Operational events go only to endpoints that choose them by name or group, and never to the endpoint they report on.
    """
    is_about_it = is_operational(event_type) and about_endpoint == str(subscription.endpoint_id)
    return subscribes(subscription.event_types, event_type) and not is_about_it


def check_schedule(seconds: Sequence[int]) -> tuple[int, ...]:
    """Return the waits before each retry; raises `InvalidField` for an invalid schedule."""
    if not 1 <= len(seconds) <= MAX_STEPS:
        raise InvalidField("schedule", f"must have 1 to {MAX_STEPS} steps")
    if not all(1 <= step <= LONGEST_STEP_SECONDS for step in seconds):
        raise InvalidField("schedule", f"must have steps of 1 to {LONGEST_STEP_SECONDS} seconds")
    return tuple(seconds)
