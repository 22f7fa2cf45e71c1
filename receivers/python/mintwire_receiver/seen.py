"""Remembers which messages were handled: a webhook arrives at least once, and its work should be done once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

Known = Literal["new", "under_way", "handled"]


class UnderWay(Exception):
    """The same message is being handled right now. Answer 503: if that fails, the message comes again."""


class Seen(Protocol):
    """Where handled messages are remembered. Write your own over your database to keep them over restarts."""

    def begin(self, message_id: str) -> Known:
        """Note that handling begins, if the message is new, and say what it was until now; atomic."""

    def finish(self, message_id: str) -> None:
        """Note that the message was handled."""

    def forget(self, message_id: str) -> None:
        """Note that handling failed: the next attempt is new."""


class MemorySeen:
    """Remembers in this process, for four days and a bit (as long as attempts may come) and so many at most."""

    def __init__(
        self, most: int = 100_000, keep_seconds: float = 100 * 3600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # In the order of their arrival; None while the work is under way.
        self._seen: dict[str, float | None] = {}

    def begin(self, message_id: str) -> Known:
        """As `Seen` says."""
        with self._lock:
            self._drop_old()
            if message_id not in self._seen:
                self._seen[message_id] = None
                return "new"
            return "under_way" if self._seen[message_id] is None else "handled"

    def finish(self, message_id: str) -> None:
        """As `Seen` says."""
        with self._lock:
            self._seen.pop(message_id, None)
            self._seen[message_id] = self._clock()

    def forget(self, message_id: str) -> None:
        """As `Seen` says."""
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
