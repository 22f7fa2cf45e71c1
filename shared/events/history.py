"""What is asked of a service's history of events, and a page of the answer."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.envelope import OutboxEvent


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which events are meant: all that fit what is given. `type` is a name or a group such as `code.*`."""

    type: str | None = None
    program_id: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Events in the order in which they were made, and the id after which to go on; None at the end."""

    events: Sequence[OutboxEvent]
    next_after: uuid.UUID | None
