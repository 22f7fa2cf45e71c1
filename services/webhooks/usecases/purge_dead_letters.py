"""Gives dead letters up for good: their deliveries are canceled, and what they have held up goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.deliveries import DeadLetterFilter
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store import dead_letters, queue
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class PurgeDeadLetters:
    """Purges all dead letters that a filter means, the oldest first."""

    answer_once: AnswerOnce
    note_backlog: Callable[[], None]

    async def __call__(self, owner: Owner, chosen: DeadLetterFilter, limit: int, once: Once[int]) -> Answer:
        """Return how many are gone."""

        async def work(connection: Connection, now: datetime) -> int:
            purged = await dead_letters.purge(connection, owner, chosen, limit)
            lines = {(endpoint_id, key) for endpoint_id, key in purged if key is not None}
            if lines:
                await queue.release_heads(connection, sorted(lines), now)
            return len(purged)

        answer = await self.answer_once(once, work)
        self.note_backlog()
        return answer
