"""Messages as they are shown: what happened, apart from where it was sent."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# From the fullest form to the poorest; of a thin message the content is kept beside it.
FULLEST_FIRST: Final = ("thin", "standard", "cloudevents", "flat")


@dataclass(frozen=True, slots=True)
class Message:
    """A message in one of its forms; `body` and `content` are None once they are gone."""

    id: uuid.UUID
    format: str
    partner_id: uuid.UUID | None
    event_type: str
    occurred_at: datetime
    created_at: datetime
    body: bytes | None
    content: bytes | None
    redacted_at: datetime | None


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """A message as a list shows it, without what it says."""

    id: uuid.UUID
    partner_id: uuid.UUID | None
    event_type: str
    occurred_at: datetime
    created_at: datetime
    redacted_at: datetime | None


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages are meant; None means all. The times are when we made them."""

    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages, the newest first, and where the next one goes on; None at the end."""

    messages: list[ListedMessage]
    next_after: tuple[datetime, uuid.UUID] | None


@dataclass(frozen=True, slots=True)
class Resent:
    """A delivery of a message that is sent again; `is_due` is false where it was pending already."""

    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    is_due: bool
