"""The services' histories of events merged into one, in the order of the events."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mintwire.cli.client import CallFailed, Page, address, fetch_page
from mintwire.cli.config import Target
from mintwire.cli.output import Misused
from shared.events.catalogue import PUBLISHED
from shared.events.envelope import OutboxEvent

_PAGE = 250
_PATIENCE_SECONDS = 60.0
# A service that was never there is reported sooner.
_FIRST_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 1.0
_CHECKOUT = "checkout"


@dataclass(frozen=True)
class Published:
    """An event, when it was published, and the service that did, which is also the name of the exchange."""

    service: str
    event: OutboxEvent
    created_at: str


def services_of(event_type: str | None) -> list[str]:
    """Return the services that publish this type or group; all of them without one."""
    own = {service: [each.type for each in models] for service, models in PUBLISHED.items() if service != _CHECKOUT}
    if event_type is None:
        return list(own)
    group = event_type.removesuffix("*") if event_type.endswith(".*") else None
    found = [
        service
        for service, types in own.items()
        if any(name == event_type or (group is not None and name.startswith(group)) for name in types)
    ]
    if not found:
        known = ", ".join(sorted(name for types in own.values() for name in types))
        raise Misused(f"no service publishes {event_type}; the types are {known}")
    return found


async def published(
    target: Target, services: Sequence[str], query: Mapping[str, object | None]
) -> AsyncIterator[Published]:
    """Yield the matching events of all histories, oldest first; waits for a service that restarts meanwhile."""
    streams = [_Stream(target, service, query) for service in services]
    while True:
        heads = [(head, stream) for stream in streams if (head := await stream.head()) is not None]
        if not heads:
            return
        # All have the same form, so they sort as times.
        first, stream = min(heads, key=lambda each: each[0].created_at)
        stream.take()
        yield first


class _Stream:
    """The history of one service, a page at a time."""

    def __init__(self, target: Target, service: str, query: Mapping[str, object | None]) -> None:
        self._service = service
        self._url = address(getattr(target, f"{service}_url"), "v1", "operator", service, "events")
        self._key = target.operator_token
        self._query = {**query, "limit": _PAGE}
        self._events: deque[Published] = deque()
        self._cursor: str | None = None
        self._is_over = False

    async def head(self) -> Published | None:
        """Return the next event without taking it; None at the end."""
        while not self._events and not self._is_over:
            page = await self._page()
            self._events.extend(_event(self._service, row) for row in page.rows)
            self._cursor, self._is_over = page.next_cursor, page.next_cursor is None
        return self._events[0] if self._events else None

    def take(self) -> None:
        """Take the event that `head` returned."""
        self._events.popleft()

    async def _page(self) -> Page:
        deadline = time.monotonic() + (_FIRST_PATIENCE_SECONDS if self._cursor is None else _PATIENCE_SECONDS)
        while True:
            try:
                return await fetch_page(self._url, key=self._key, query={**self._query, "cursor": self._cursor})
            except CallFailed as failed:
                is_judged = failed.status is not None and failed.status < 500
                if is_judged or time.monotonic() > deadline:
                    raise CallFailed(f"the history of {self._service}: {failed}", failed.status) from failed
            await asyncio.sleep(_PAUSE_SECONDS)


def _event(service: str, row: Mapping[str, Any]) -> Published:
    body = base64.b64decode(row["body_base64"] or "")
    return Published(service, OutboxEvent(uuid.UUID(row["id"]), row["type"], body), row["created_at"])
