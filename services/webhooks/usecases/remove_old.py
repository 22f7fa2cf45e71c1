"""Removes old rows: messages, attempts, deliveries, replays, expired keys, and endpoints without references."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from services.webhooks.domain.retention import ENDED_KEYS_KEPT, Retention
from services.webhooks.store import retention
from services.webhooks.store.retention import FIRST, Step
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.purging import Removal, in_batches
from shared.known_ids import FIRST_ID
from shared.metrics import ROWS_REMOVED
from shared.periodic import for_each

# A pause between two steps, so that deliveries are not slowed down.
BREATH_SECONDS: Final = 0.2
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Walk:
    """Walks once through the rows past their retention, and removes those that nothing needs any more.

    `step` is given a connection, the position where the last step ended, the time before which rows are old, and how
    many to look at.
    """

    table: str
    database: Database
    clock: Clock
    age: timedelta
    start: tuple[Any, ...]
    step: Callable[[Connection, Any, datetime, int], Awaitable[Step]]
    rows_at_once: int = _AT_ONCE

    async def __call__(self) -> None:
        """Walk to the end, each step in a transaction of its own."""
        before, position = self.clock() - self.age, self.start

        async def take_step() -> int:
            nonlocal position
            async with self.database.transaction() as connection:
                step = await self.step(connection, position, before, self.rows_at_once)
            for table, count in step.removed.items():
                ROWS_REMOVED.labels(table).inc(count)
            position = step.position
            return step.seen

        await in_batches(take_step, self.rows_at_once, BREATH_SECONDS)


@dataclass(frozen=True, slots=True)
class RemoveMessages:
    """Removes messages program by program, in the order of their index."""

    database: Database
    clock: Clock
    age: timedelta
    table: str = "messages"
    rows_at_once: int = _AT_ONCE

    async def __call__(self) -> None:
        """Walk through the old messages of every program, even if one of them fails."""
        after = FIRST_ID
        while True:
            async with self.database.connection() as connection:
                programs = await retention.programs(connection, after, self.rows_at_once)
            if not programs:
                return
            await for_each(programs, self._of_program)
            after = programs[-1]

    async def _of_program(self, program_id: uuid.UUID) -> None:
        async def step(connection: Connection, position: Any, before: datetime, limit: int) -> Step:
            return await retention.purge_messages(connection, program_id, position, before, limit)

        start = (FIRST, FIRST_ID, "")
        walk = Walk(self.table, self.database, self.clock, self.age, start, step)
        await replace(walk, rows_at_once=self.rows_at_once)()


def removals(database: Database, clock: Clock, limits: Retention) -> list[Removal | Walk | RemoveMessages]:
    """Return the removals, table by table."""
    now, oldest = timedelta(0), (FIRST, FIRST_ID)
    return [
        RemoveMessages(database, clock, limits.payloads),
        Walk("custom_messages", database, clock, now, oldest, retention.purge_custom),
        Walk("attempts", database, clock, limits.attempts, (FIRST_ID, 0), retention.purge_attempts),
        Walk("deliveries", database, clock, limits.deliveries, (FIRST_ID,), retention.purge_deliveries),
        Walk("replays", database, clock, limits.deliveries, oldest, retention.purge_replays),
        Walk("endpoints", database, clock, limits.deliveries, oldest, retention.purge_endpoints),
        Removal("endpoint_keys", database, clock, ENDED_KEYS_KEPT, retention.purge_keys),
    ]
