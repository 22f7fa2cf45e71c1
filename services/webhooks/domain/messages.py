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
