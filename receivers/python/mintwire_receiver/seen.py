"""Remembers which messages were handled: a webhook arrives at least once, but its work should be done only once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

Known = Literal["new", "under_way", "handled"]


class UnderWay(Exception):
    """The same message is being handled right now. Answer 503: if that handling fails, the message arrives again."""


class Seen(Protocol):
    """Remembers handled messages. Implement it with your database to remember them across restarts."""

    def begin(self, message_id: str) -> Known:
        """Record that handling begins, if the message is new, and return its state until now; atomic."""

    def finish(self, message_id: str) -> None:
        """Record that the message was handled."""

    def forget(self, message_id: str) -> None:
        """Record that handling failed: the next attempt is new."""


class MemorySeen:
    """Remembers messages in this process for just over four days (while attempts may arrive), up to a maximum."""

    def __init__(
        self, most: int = 100_000, keep_seconds: float = 100 * 3600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # In the order of arrival; None while the work is in progress.
        self._seen: dict[str, float | None] = {}

    def begin(self, message_id: str) -> Known:
        """See `Seen`."""
        with self._lock:
            self._drop_old()
            if message_id not in self._seen:
                self._seen[message_id] = None
                return "new"
            return "under_way" if self._seen[message_id] is None else "handled"

    def finish(self, message_id: str) -> None:
        """See `Seen`."""
        with self._lock:
            self._seen.pop(message_id, None)
            self._seen[message_id] = self._clock()

    def forget(self, message_id: str) -> None:
        """See `Seen`."""
        with self._lock:
            self._seen.pop(message_id, None)

    def _drop_old(self) -> None:
        oldest = self._clock() - self._keep_seconds
        dropped: list[str] = []
        for message_id, handled_at in self._seen.items():
            if handled_at is None:
                continue
            if handled_at > oldest and len(self._seen) - len(dropped) < self._most:
                break
            dropped.append(message_id)
        for message_id in dropped:
            del self._seen[message_id]
