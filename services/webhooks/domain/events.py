"""An event as it came in from another service, read and identified."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

# The narrowest first.
_SUBJECTS: Final = ("code_id", "code", "coupon_id", "endpoint_id", "batch_id", "partner_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingEvent:
    """One event; `data` holds its members as they came, `occurred_at` is when the fact happened.

    Whoever publishes an event of their own may say by `ordering_key` what it is to be in order with. `traceparent` is
    the trace that it belongs to, if that is known.
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
        """What the event is about: what is told of the same subject may be wanted in order."""
        if self.ordering_key is not None:
            return self.ordering_key
        for name in _SUBJECTS:
            if isinstance(found := self.data.get(name), str):
                return found
        return self.type

    @property
    def code(self) -> str | None:
        """The one code that the event is about; None where it is about none, or about several."""
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
    """Return what stands for the subject of a program's own event, which may be a customer's name, at an endpoint.

    The database's triggers on the queue and the dead letters make the same.
    """
    return f"sha256:{hashlib.sha256(f'{endpoint_id}:{subject}'.encode()).hexdigest()}"
