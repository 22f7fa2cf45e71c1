"""Messages as they are shown: the content, independent of deliveries."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

# From the most complete form to the least; for a thin message the content is stored separately.
FULLEST_FIRST: Final = ("thin", "standard", "cloudevents", "flat")
# For messages that a program publishes: the maximum size as sent, and the size from which it is warned.
MAX_PAYLOAD_BYTES: Final = 256 * 1024
LARGE_PAYLOAD_BYTES: Final = 20_000
SHORTEST_RETENTION_DAYS, LONGEST_RETENTION_DAYS = 5, 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message in one of its forms; `body` and `content` are None once they are deleted.

    One that a program published has the program's `event_id` and the time until which it is kept. One that `is_shared`
    was written when the flat body was the same for a program and its partner.
    """

    id: uuid.UUID
    format: str
    partner_id: uuid.UUID | None
    event_type: str
    occurred_at: datetime
    created_at: datetime
    body: bytes | None
    content: bytes | None
    redacted_at: datetime | None
    event_id: str | None = None
    kept_until: datetime | None = None
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """A message in a list, without its content."""

    id: uuid.UUID
    partner_id: uuid.UUID | None
    event_type: str
    occurred_at: datetime
    created_at: datetime
    redacted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDraft:
    """A message that a program publishes; without an `event_id` it is never taken for a repeat."""

    event_type: str
    payload: Mapping[str, Any]
    event_id: str | None = None
    partner_id: uuid.UUID | None = None
    ordering_key: str | None = None
    occurred_at: datetime | None = None
    retention_days: int | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A message that a program has published; `deliveries` is the number of endpoints that it is delivered to."""

    message: ListedMessage
    event_id: str
    kept_until: datetime
    deliveries: int
    is_new: bool = False
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages to return; None means all. The times are those of creation here."""

    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages, the newest first, and the position of the next page; None at the end."""

    messages: list[ListedMessage]
    next_after: tuple[datetime, uuid.UUID] | None


@dataclass(frozen=True, slots=True)
class Resent:
    """A delivery of a message that is sent again; `is_due` is false if it was already pending."""

    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    is_due: bool
