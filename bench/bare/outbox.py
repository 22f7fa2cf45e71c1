"""The bare programs' way out: events that are committed are published at once, and cleared once confirmed."""

import asyncio
import uuid
from collections.abc import Iterable
from typing import Any

from bench.bare import shop_sql as sql
from shared.broker.publisher import Publisher
from shared.events.envelope import OutboxEvent

CLEAR_SECONDS = 0.25


class Outbox:
    """Publishes what is added to it; `publish` and `clear` run side by side."""

    def __init__(self, pool: Any, publisher: Publisher) -> None:
        self.pool, self.publisher = pool, publisher
        self.events: list[OutboxEvent] = []
        self.to_publish = asyncio.Event()
        self.confirmed: list[uuid.UUID] = []

    def add(self, events: Iterable[OutboxEvent]) -> None:
        """Take committed events."""
        self.events += events
        self.to_publish.set()

    async def publish(self) -> None:
        """Publish committed events at once, because partners wait for them."""
        while True:
            self.to_publish.clear()
            if not self.events:
                await self.to_publish.wait()
            batch, self.events = self.events[:500], self.events[500:]
            self.confirmed += await self.publisher.publish_many(batch)

    async def clear(self) -> None:
        """Clear confirmed events."""
        while True:
            await asyncio.sleep(CLEAR_SECONDS)
            if self.confirmed:
                ids, self.confirmed = self.confirmed, []
                await self.pool.execute(sql.CLEAR, ids)
