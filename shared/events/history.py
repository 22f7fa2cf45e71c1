"""A query of a service's history of events, and a page of its result."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.envelope import OutboxEvent

Place = tuple[datetime, uuid.UUID]
"""When an event was written, and its id: the history's order."""


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """A filter of events; all given members must match. `type` is a name or a group such as `code.*`."""

    type: str | None = None
    program_id: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An event of the history, and when it was written."""

    event: OutboxEvent
    created_at: datetime

    @property
    def place(self) -> Place:
        """Its position in the history."""
        return self.created_at, self.event.id


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Events in order, and the position to continue after; None at the end."""

    events: Sequence[PastEvent]
    next_after: Place | None
