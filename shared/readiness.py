"""What `/readyz` shows of a service: the parts that it needs to be ready, and its periodic tasks as details."""

from collections.abc import Sequence
from typing import Protocol

from shared.database.pool import Database
from shared.periodic import Periodic
from shared.web.health import Report


class Part(Protocol):
    """Something that knows whether it works."""

    @property
    def is_ready(self) -> bool:
        """Whether it works now."""


class Parts:
    """Asks each part and task; `others` are parts with what to say when they do not work."""

    def __init__(
        self,
        database: Database,
        publisher: Part,
        consumer: Part,
        tasks: Sequence[Periodic],
        **others: tuple[Part, str],
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._parts: dict[str, tuple[Part, str]] = {
            "publisher": (publisher, "not connected, or the exchange is missing"),
            "consumer": (consumer, "not consuming"),
            **others,
        }

    async def __call__(self) -> Report:
        """Return each part and each task with `ok` or why it does not work."""
        found = {"database": await self._database.state()}
        parts = found | {name: "ok" if part.is_ready else reason for name, (part, reason) in self._parts.items()}
        return Report(parts, {task.name: task.state for task in self._tasks})
