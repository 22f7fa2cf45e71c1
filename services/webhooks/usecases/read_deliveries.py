"""Shows deliveries, their attempts and dead letters to the owners of their endpoints."""

import uuid
from dataclasses import dataclass

from services.webhooks.domain.deliveries import Trigger
from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import DeliveryMissing
from services.webhooks.domain.shown_deliveries import (
    AttemptPage,
    DeadLetterFilter,
    DeadLetterPage,
    DeliveryDetail,
    DeliveryFilter,
    DeliveryPage,
)
from services.webhooks.store import attempt_lists, dead_letter_lists, deliveries, delivery_lists
from shared.bounded_counts import BoundedCount
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class ReadDeliveries:
    """Reads one delivery or a page of them."""

    database: Database
    clock: Clock

    async def one(self, owner: Owner, delivery_id: uuid.UUID, number: int | None = None) -> DeliveryDetail:
        """Return a delivery with its body and its latest attempts, or the one with a number. Raises DeliveryMissing."""
        async with self.database.connection() as connection:
            found = await deliveries.find(connection, owner, delivery_id, self.clock(), number)
        if found is None:
            raise DeliveryMissing
        return found

    async def page(self, owner: Owner, chosen: DeliveryFilter, before: uuid.UUID | None, limit: int) -> DeliveryPage:
        """Return up to `limit` deliveries, the newest first; a page may be short without being the last."""
        async with self.database.connection() as connection:
            return await delivery_lists.list_page(connection, owner, chosen, before, limit, self.clock())

    async def count(self, owner: Owner, chosen: DeliveryFilter) -> BoundedCount:
        """Count the deliveries of a list."""
        async with self.database.connection() as connection:
            return await delivery_lists.count(connection, owner, chosen, self.clock())

    async def attempts(
        self, endpoint_id: uuid.UUID, trigger: Trigger | None, before: tuple[uuid.UUID, int] | None, limit: int
    ) -> AttemptPage:
        """Return up to `limit` attempts of an endpoint; a page may be short without being the last."""
        async with self.database.connection() as connection:
            return await attempt_lists.list_page(connection, endpoint_id, trigger, before, limit)

    async def dead_letters(
        self, owner: Owner, chosen: DeadLetterFilter, before: uuid.UUID | None, limit: int
    ) -> DeadLetterPage:
        """Return up to `limit` dead letters, the newest deliveries first; a page may be short but not the last."""
        async with self.database.connection() as connection:
            return await dead_letter_lists.list_page(connection, owner, chosen, before, limit)
