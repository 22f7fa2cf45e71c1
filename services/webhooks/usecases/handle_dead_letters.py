"""Replays dead letters with today's keys and a new schedule, or purges them."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import ContentGone, DeliveryMissing, DeliveryNotReplayable, DeliveryPending
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.domain.shown_deliveries import DeadLetterFilter
from services.webhooks.store import closing, dead_letter_lists, dead_letters, queue
from services.webhooks.usecases.delivery_queue import Wake
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.idempotency import Answer, Once
from shared.known_ids import FIRST_ID

MAX_REPLAYED: Final = 10_000
# A request ends after this many slices.
MOST_SLICES: Final = 50
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Handled:
    """The number of dead letters handled; `is_whole` is false if more may match."""

    count: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class HandleDeadLetters:
    """Handles one dead letter, or all that match a filter, the oldest first."""

    answer_once: AnswerOnce
    wake_courier: Wake

    async def replay(self, owner: Owner, delivery_id: uuid.UUID, once: Once[uuid.UUID]) -> Answer:
        """Make one due again and return its id.

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

    async def replay_many(self, owner: Owner, chosen: DeadLetterFilter, limit: int, once: Once[Handled]) -> Answer:
        """Make up to `limit` due again and return their number."""

        async def work(connection: Connection, now: datetime) -> Handled:
            async def revive(ids: list[uuid.UUID], most: int) -> int:
                return await dead_letters.revive(connection, ids, most, now, now + LIFETIME)

            return await _handle(connection, owner, chosen, limit, revive, with_archived=False)

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer

    async def purge(self, owner: Owner, chosen: DeadLetterFilter, limit: int, once: Once[Handled]) -> Answer:
        """Cancel up to `limit`, so that deliveries behind them continue, and return their number."""

        async def work(connection: Connection, now: datetime) -> Handled:
            lines: set[tuple[uuid.UUID, str]] = set()

            async def purge(ids: list[uuid.UUID], most: int) -> int:
                purged = await dead_letters.purge(connection, ids, most)
                lines.update((endpoint_id, key) for endpoint_id, key in purged if key is not None)
                return len(purged)

            handled = await _handle(connection, owner, chosen, limit, purge, with_archived=True)
            await queue.release_heads(connection, sorted(lines), now)
            return handled

        answer = await self.answer_once(once, work)
        self.wake_courier()
        return answer


async def _handle(
    connection: Connection,
    owner: Owner,
    chosen: DeadLetterFilter,
    limit: int,
    handle: Callable[[list[uuid.UUID], int], Awaitable[int]],
    *,
    with_archived: bool,
) -> Handled:
    """Pass dead letters to `handle`, the oldest first, until `limit` are handled; it returns how many it handled.

    It looks at a bounded number, whatever the filter excludes.
    """
    # Checked before the walk: deliveries that become dead letters behind it match too.
    is_closing = await closing.is_under_way(connection, owner, chosen.endpoint_id)
    count, after = 0, FIRST_ID
    for _ in range(MOST_SLICES):
        part = await dead_letter_lists.walk(connection, owner, chosen, after, _AT_ONCE, with_archived=with_archived)
        if part.ids:
            count += await handle(part.ids, limit - count)
        if part.next_after is None:
            # The rest of this last slice, beyond the limit, is left.
            return Handled(count, is_whole=count < limit and not is_closing)
        if count >= limit:
            break
        after = part.next_after
    return Handled(count, is_whole=False)
