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
        """`ok`, or what is wrong; never a secret, for nobody has to show a key to read it."""


class Parts:
    """Asks each part and detail; `others` are parts with what to say when they do not work."""

    def __init__(
        self,
        database: Database,
        publisher: Part,
        consumer: Part,
        details: Sequence[Detail],
        **others: tuple[Part, str],
    ) -> None:
        self._database = database
        self._details = details
        self._parts: dict[str, tuple[Part, str]] = {
            "publisher": (publisher, "not connected, or the exchange is missing"),
            "consumer": (consumer, "not consuming"),
            **others,
        }

    async def __call__(self) -> Report:
        """Return each part and each detail with `ok` or why not."""
        found = {"database": await self._database.state()}
        parts = found | {name: "ok" if part.is_ready else reason for name, (part, reason) in self._parts.items()}
        return Report(parts, {detail.name: detail.state for detail in self._details})
