"""Sends dead letters again: the same message under the same id, today's keys, a fresh schedule."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.webhooks.domain.deliveries import DeadLetterFilter
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import (
    ContentGone,
    DeliveryMissing,
    DeliveryNotReplayable,
    DeliveryPending,
)
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.store import dead_letters
from services.webhooks.usecases.chosen_letters import Handled, handle_letters
from services.webhooks.usecases.delivery_queue import Wake
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once

MAX_REPLAYED: Final = 10_000


@dataclass(frozen=True, slots=True)
class ReplayDelivery:
    """Replays one dead letter."""

    answer_once: AnswerOnce
    wake_courier: Wake

    async def __call__(self, owner: Owner, delivery_id: uuid.UUID, once: Once[uuid.UUID]) -> Answer:
        """Return the delivery's id.

        Raises DeliveryMissing, DeliveryPending, DeliveryNotReplayable or ContentGone.
        """

        async def work(connection: Connection, now: datetime) -> uuid.UUID:
            found = await dead_letters.lock_status(connection, owner, delivery_id)
            if found is None:
                raise DeliveryMissing
            status, is_whole = found
            if status == "pending":
                raise DeliveryPending
            if status != "dead":
                raise DeliveryNotReplayable
            if not is_whole:
                raise ContentGone
            if not await dead_letters.revive(connection, [delivery_id], 1, now, now + LIFETIME):
                raise DeliveryPending
            return delivery_id

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer


@dataclass(frozen=True, slots=True)
class ReplayMany:
    """Replays all dead letters that a filter means, the oldest first."""

    answer_once: AnswerOnce
    wake_courier: Wake

    async def __call__(self, owner: Owner, chosen: DeadLetterFilter, limit: int, once: Once[Handled]) -> Answer:
        """Return how many are due again."""

        async def work(connection: Connection, now: datetime) -> Handled:
            async def revive(ids: list[uuid.UUID], most: int) -> int:
                return await dead_letters.revive(connection, ids, most, now, now + LIFETIME)

            return await handle_letters(connection, owner, chosen, limit, revive, with_archived=False)

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer
