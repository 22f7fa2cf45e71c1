"""What `/readyz` shows: the parts that a service needs to be ready, and details such as its periodic tasks."""

from collections.abc import Sequence
from typing import Protocol

from shared.database.pool import Database
from shared.web.health import Report


class Part(Protocol):
    """A part that knows whether it works."""

    @property
    def is_ready(self) -> bool:
        """Whether it works now."""


class Detail(Protocol):
    """A detail that is shown and never makes a service unready, such as a periodic task."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def state(self) -> str:
        """`ok`, or what is wrong; never a secret, because reading it needs no key."""


class PublishingPart(Protocol):
    """A publisher. The broker may block it for a while; its events then wait in the outbox."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker and the exchange are available."""

    @property
    def blocked_by(self) -> str | None:
        """The broker's own reason for accepting nothing now."""


class Parts:
    """Checks each part and detail; `others` are parts with the text to show when they do not work."""

    def __init__(
        self,
        database: Database,
        publisher: PublishingPart,
        consumer: Part,
        details: Sequence[Detail],
        **others: tuple[Part, str],
    ) -> None:
        self._database = database
        self._details = details
        self._publisher = publisher
        self._parts: dict[str, tuple[Part, str]] = {
            "consumer": (consumer, "not consuming"),
            **others,
        }

    async def __call__(self) -> Report:
        """Return each part and each detail with `ok` or why not."""
        found = {
            "database": await self._database.state(),
            "publisher": "ok" if self._publisher.is_connected else "not connected, or the exchange is missing",
        }
        parts = found | {name: "ok" if part.is_ready else reason for name, (part, reason) in self._parts.items()}
        # Our own API works even when blocked; a load balancer that removed every replica would close it.
        blocked_by = self._publisher.blocked_by
        details = {"publishing": "ok" if blocked_by is None else f"blocked: {blocked_by}"}
        return Report(parts, details | {detail.name: detail.state for detail in self._details})
