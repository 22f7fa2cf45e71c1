"""What `/readyz` shows of a service: the parts that it needs to be ready, and details such as its periodic tasks."""

from collections.abc import Sequence
from typing import Protocol

from shared.database.pool import Database
from shared.web.health import Report


class Part(Protocol):
    """Something that knows whether it works."""

    @property
    def is_ready(self) -> bool:
        """Whether it works now."""


class Detail(Protocol):
    """Something that is shown and does not make a service unready: a periodic task, for one."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def state(self) -> str:
        """`ok`, or what is wrong; never a secret, because reading it needs no key."""


class PublishingPart(Protocol):
    """A publisher, which the broker may keep from publishing for a while: what it was given waits in the outbox."""

    @property
    def is_connected(self) -> bool:
        """Whether the broker and the exchange are there."""

    @property
    def blocked_by(self) -> str | None:
        """Why the broker takes nothing now, in its own words."""


class Parts:
    """Asks each part and detail; `others` are parts with what to say when they do not work."""

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
        # Blocked or not, our own doors work, and a balancer that took every replica out would close them.
        blocked_by = self._publisher.blocked_by
        details = {"publishing": "ok" if blocked_by is None else f"blocked: {blocked_by}"}
        return Report(parts, details | {detail.name: detail.state for detail in self._details})
