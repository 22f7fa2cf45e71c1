"""What has to work for a service to be ready: its database, its publisher, its consumer, and what else it names."""

from collections.abc import Mapping
from typing import Protocol

from shared.database.pool import Database


class Part(Protocol):
    """Something that knows whether it works."""

    @property
    def is_ready(self) -> bool:
        """Whether it works now."""


class Parts:
    """Asks each part; `others` are parts with what to say when they do not work."""

    def __init__(self, database: Database, publisher: Part, consumer: Part, **others: tuple[Part, str]) -> None:
        self._database = database
        self._parts: dict[str, tuple[Part, str]] = {
            "publisher": (publisher, "not connected, or the exchange is missing"),
            "consumer": (consumer, "not consuming"),
            **others,
        }

    async def __call__(self) -> Mapping[str, str]:
        """Return each part with `ok` or why it does not work."""
        found = {"database": "ok" if await self._database.is_reachable() else "does not answer"}
        return found | {name: "ok" if part.is_ready else reason for name, (part, reason) in self._parts.items()}
