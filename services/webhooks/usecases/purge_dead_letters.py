"""Gives dead letters up for good: their deliveries are canceled, and what they have held up goes on."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from services.webhooks.domain.deliveries import DeadLetterFilter
from services.webhooks.domain.endpoints import Owner
from services.webhooks.store import dead_letters, queue
from services.webhooks.usecases.chosen_letters import Handled, handle_letters
from services.webhooks.usecases.delivery_queue import Wake
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class PurgeDeadLetters:
    """Purges all dead letters that a filter means, the oldest first."""

    answer_once: AnswerOnce
    wake_courier: Wake

    async def __call__(self, owner: Owner, chosen: DeadLetterFilter, limit: int, once: Once[Handled]) -> Answer:
        """Return how many are gone."""

        async def work(connection: Connection, now: datetime) -> Handled:
            lines: set[tuple[uuid.UUID, str]] = set()

            async def purge(ids: list[uuid.UUID], most: int) -> int:
                purged = await dead_letters.purge(connection, ids, most)
                lines.update((endpoint_id, key) for endpoint_id, key in purged if key is not None)
                return len(purged)

            handled = await handle_letters(connection, owner, chosen, limit, purge, with_archived=True)
            if lines:
                await queue.release_heads(connection, sorted(lines), now)
            return handled

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer
