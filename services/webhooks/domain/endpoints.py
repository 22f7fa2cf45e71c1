"""Endpoints: what they are, and which events reach them."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from services.webhooks.domain.errors import InvalidField

EndpointStatus = Literal["active", "paused", "disabled"]
EVERYTHING: Final = "*"
TEST: Final = "test"
OPERATIONAL_PREFIX: Final = "webhook."
DEFAULT_IN_FLIGHT: Final = 50
MAX_IN_FLIGHT: Final = 100
MAX_ENDPOINTS: Final = 500


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose endpoints a key may see: all of a program, or those of one partner."""

    program_id: uuid.UUID
    partner_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class EndpointDraft:
    """An endpoint as asked for; `secret` is the caller's own, if any."""

    url: str
    event_types: tuple[str, ...]
    format: str
    description: str | None
    status: EndpointStatus
    max_in_flight: int
    partner_id: uuid.UUID | None
    secret: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver of a program or, where `partner_id` is set, of one of its partners."""

    id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    url: str
    event_types: tuple[str, ...]
    format: str
    description: str | None
    status: EndpointStatus
    disabled_reason: str | None
    max_in_flight: int
    resume_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ShownEndpoint:
    """An endpoint with the secret that is shown this once."""

    endpoint: Endpoint
    secret: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """What has to be known of an endpoint to decide whether an event goes there, and whether at once."""

    endpoint_id: uuid.UUID
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    event_types: frozenset[str]
    format: str
    max_in_flight: int
    is_open: bool
    version: int


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What may change under a process that holds deliveries of an endpoint."""

    endpoint_id: uuid.UUID
    version: int
    is_active: bool
    resume_at: datetime | None


def is_operational(event_type: str) -> bool:
    """Say whether an event reports on deliveries themselves."""
    return event_type.startswith(OPERATIONAL_PREFIX)


def wants(subscription: Subscription, event_type: str, about_endpoint: str | None) -> bool:
    """Say whether an endpoint gets an event of its owner.

    Operational events go only where they are subscribed by name, and never to the endpoint that they report on.
    """
    if is_operational(event_type):
        return event_type in subscription.event_types and about_endpoint != str(subscription.endpoint_id)
    return EVERYTHING in subscription.event_types or event_type in subscription.event_types


def check_event_types(chosen: Sequence[str], allowed: Collection[str]) -> tuple[str, ...]:
    """Return the types without repetition, in order; raises `InvalidField` for names that cannot be subscribed."""
    for name in chosen:
        if name != EVERYTHING and name not in allowed:
            listed = ", ".join(sorted(allowed))
            raise InvalidField("event_types", f"must be * or some of: {listed}")
    return tuple(dict.fromkeys(chosen))
