"""Rows of published views that were found lately: trusted for five seconds, so changes are seen within that time."""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

CACHE_SECONDS: Final = 5.0
_LIMIT: Final = 10_000


class Hits(Generic[K, V]):
    """What was found for a key, in bounded memory. Misses are never stored."""

    def __init__(self) -> None:
        self._found: dict[K, tuple[V, float]] = {}

    def get(self, key: K, now: float) -> V | None:
        """Return what was found in the last five seconds; also None if the clock was set back meanwhile."""
        hit = self._found.get(key)
        if hit is None:
            return None
        value, expires_at = hit
        if 0 <= expires_at - now <= CACHE_SECONDS:
            return value
        del self._found[key]
        return None

    def put(self, key: K, value: V, now: float) -> None:
        """Store what was just found."""
        if len(self._found) >= _LIMIT:
            self._found.clear()
        self._found[key] = (value, now + CACHE_SECONDS)
