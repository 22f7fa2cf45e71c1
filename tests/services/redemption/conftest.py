"""A decider on a database of its own, with the merchant whose codes it decides about."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from services.redemption.app import open_database
from services.redemption.consumers import CheckoutConsumer
from services.redemption.usecases.redeem_orders import RedeemOrders
from shared.broker.consumer import Received, Reject
from shared.database.pool import Database as Pool
from shared.events.envelope import OutboxEvent
from tests.databases import Database
from tests.services.redemption.merchant import NOW, Merchant


@dataclass
class Decider:
    """The consumer's handler over real PostgreSQL; keeps what it handed over to the relay."""

    pool: Pool
    now: datetime = NOW
    handed_over: list[OutboxEvent] = field(default_factory=list)

    @property
    def handler(self) -> CheckoutConsumer:
        return CheckoutConsumer(RedeemOrders(self.pool, lambda: self.now, self.handed_over.extend))

    async def handle(self, *bodies: bytes, received_at: datetime | None = None) -> list[Reject | None]:
        return await self.handler(received(bodies, received_at or self.now))

    async def take(self, *bodies: bytes, received_at: datetime | None = None) -> list[dict[str, Any]]:
        """Handle bodies that must all be taken, and return the data of the events that this brought."""
        before = len(self.handed_over)
        assert await self.handle(*bodies, received_at=received_at) == [None] * len(bodies)
        return [data(event) for event in self.handed_over[before:]]


def received(bodies: Sequence[bytes], at: datetime) -> list[Received]:
    return [Received(body, {}, None, "checkout.completed", at) for body in bodies]


def data(event: OutboxEvent) -> dict[str, Any]:
    """Return an event's data with its type as `event`."""
    envelope = json.loads(event.body)
    assert envelope["type"] == event.type
    assert envelope["id"] == str(event.id)
    return {"event": event.type, **envelope["data"]}


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with open_database(database.redemption, 4) as opened:
        yield opened


@pytest.fixture
def decider(pool: Pool) -> Decider:
    return Decider(pool)


@pytest.fixture
async def admin(database: Database) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database.admin)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def merchant(admin: "asyncpg.Connection[asyncpg.Record]") -> Merchant:
    return Merchant(admin)
