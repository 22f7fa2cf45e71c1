"""An event as received from another service, parsed and identified."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

# The most specific first.
_SUBJECTS: Final = ("code_id", "code", "coupon_id", "endpoint_id", "batch_id", "partner_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingEvent:
    """An event; `data` holds its members as received, `occurred_at` is when the fact happened.

    Programs that publish their own events may set `ordering_key`, the key for ordered delivery. `traceparent` is the
    trace that the event belongs to, if known.
    """

    event_id: str
    source: str
    type: str
    program_id: uuid.UUID
    partner_id: uuid.UUID | None
    occurred_at: datetime
    data: Mapping[str, Any]
    body_sha256: bytes = b""
    ordering_key: str | None = None
    traceparent: str | None = None

    @property
    def subject(self) -> str:
        """What the event is about, for ordered delivery: events with the same subject keep their order."""
        if self.ordering_key is not None:
            return self.ordering_key
        for name in _SUBJECTS:
            if isinstance(found := self.data.get(name), str):
                return found
        return self.type

    @property
    def code(self) -> str | None:
        """The promo code that the event is about; None if there is none, or several."""
        found = self.data.get("code")
        if found is None and isinstance(codes := self.data.get("codes"), list) and len(codes) == 1:
            found = codes[0]
        return found if isinstance(found, str) else None

    @property
    def about_endpoint(self) -> str | None:
        """The endpoint that an operational event reports on."""
        found = self.data.get("endpoint_id")
        return found if isinstance(found, str) else None


def line_key(endpoint_id: uuid.UUID, subject: str) -> str:
    """Return the stored line key for a program's own ordering key, which may be a customer's name.

    The triggers on the queue and the dead letters compute the same.
    """
    return f"sha256:{hashlib.sha256(f'{endpoint_id}:{subject}'.encode()).hexdigest()}"
