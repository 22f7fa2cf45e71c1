"""A decider on a database of its own, with the merchant whose codes it decides about."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.redemption.app import build_app, build_use_cases, open_database
from services.redemption.consumers import CheckoutConsumer
from services.redemption.domain.customers import Digests
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.broker.consumer import Received, Reject
from shared.database.accounts import AccountReader
from shared.database.credentials import CredentialReader
from shared.database.pool import Database as Pool
from shared.events.envelope import OutboxEvent
from shared.periodic import Periodic
from shared.web.health import Ready, Report
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.operating import NO_BROKER, operating
from tests.services.redemption.merchant import NOW, Merchant

DIGESTS = Digests(b"d" * 32)
COUNT_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = 'mintwire_redemption' AND wait_event_type = 'Lock'
"""


@dataclass
class Decider:
    """The consumer's handler over real PostgreSQL; keeps what it handed over to the relay."""

    pool: Pool
    now: datetime = NOW
    handed_over: list[OutboxEvent] = field(default_factory=list)

    @property
    def handler(self) -> CheckoutConsumer:
        return CheckoutConsumer(TakeInCheckouts(self.pool, lambda: self.now, self.handed_over.extend, DIGESTS))

    async def handle(self, *bodies: bytes, received_at: datetime | None = None) -> list[Reject | None]:
        return await self.handler(received(bodies, received_at or self.now))

    async def take(self, *bodies: bytes, received_at: datetime | None = None) -> list[dict[str, Any]]:
        """Handle bodies that must all be taken, and return the data of the events that this brought."""
        before = len(self.handed_over)
        assert await self.handle(*bodies, received_at=received_at) == [None] * len(bodies)
        return [data(event) for event in self.handed_over[before:]]


async def state(admin: "asyncpg.Connection[asyncpg.Record]") -> dict[str, Any]:
    """Count what the decisions left behind."""
    row = await admin.fetchrow("""
        SELECT (SELECT count(*) FROM redemption.redemptions) AS redemptions,
               (SELECT count(*) FROM redemption.rejections) AS rejections,
               (SELECT count(*) FROM redemption.events) AS events, (SELECT count(*) FROM redemption.outbox) AS outbox,
               (SELECT count(*) FROM redemption.inbox) AS inbox, (SELECT count(*) FROM redemption.orders) AS orders,
               (SELECT coalesce(sum(uses), 0) FROM redemption.code_counters) AS uses
    """)
    assert row is not None
    return dict(row)


async def waiting(admin: "asyncpg.Connection[asyncpg.Record]", sessions: int) -> None:
    """Return once this many sessions of the service wait for a lock."""
    async with asyncio.timeout(30):
        while await admin.fetchval(COUNT_WAITING) != sessions:  # noqa: ASYNC110 - the event is in the server
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]


@dataclass
class Shop:
    """A checkout system of one program, asking over HTTP; what is announced is among what the decider handed over."""

    http: TestClient[web.Request, web.Application]
    app: web.Application
    program_id: uuid.UUID
    key: str
    decider: Decider

    async def send(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        key: str | None = None,
        idempotency: str | None = None,
        forwarded_for: str | None = None,
    ) -> Reply:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        if forwarded_for is not None:
            headers["X-Forwarded-For"] = forwarded_for
        if idempotency is not None:
            headers["Idempotency-Key"] = idempotency
        async with self.http.request(method, path, headers=headers, json=json) as response:
            raw = await response.read()
            body = await response.json() if response.content_type.endswith("json") else None
            return Reply(response.status, response.headers.copy(), raw, body)

    async def redeem(self, *codes: str, ref: str = "order-1", idempotency: str | None = None, **body: Any) -> Reply:
        asked = {"codes": list(codes), "order_ref": ref, **body}
        return await self.send("POST", "/v1/redemptions", asked, idempotency=idempotency)

    async def reserve(self, *codes: str, ref: str = "order-1", **body: Any) -> Reply:
        return await self.send("POST", "/v1/reservations", {"codes": list(codes), "order_ref": ref, **body})

    async def validate(self, *codes: str, **body: Any) -> Reply:
        return await self.send("POST", "/v1/validations", {"codes": list(codes), **body})

    async def void_order(self, ref: str = "order-1", **body: Any) -> Reply:
        return await self.send("POST", f"/v1/orders/{ref}/void", body)

    def announced(self) -> list[dict[str, Any]]:
        return [data(event) for event in self.decider.handed_over]


async def is_ready() -> Report:
    return Report({"database": "ok"})


@asynccontextmanager
async def open_shop(
    pool: Pool,
    program_id: uuid.UUID,
    key: str,
    decider: Decider,
    *,
    trusted_proxies: int = 0,
    operator_token: str | None = None,
    amqp_url: str = NO_BROKER,
    tasks: Sequence[Periodic] = (),
    ready: Ready = is_ready,
) -> AsyncIterator[Shop]:
    """Run the HTTP side of the service, without its broker unless one is named."""

    cases = build_use_cases(
        pool, lambda: decider.now, decider.handed_over.extend, DIGESTS, lambda: None, trusted_proxies
    )
    app = build_app(
        cases,
        CredentialReader(pool, lambda: decider.now),
        AccountReader(pool, lambda: decider.now, DASHBOARD.keys, "redemption"),
        ready,
        operating("redemption", pool, lambda: decider.now, token=operator_token, amqp_url=amqp_url, tasks=tasks),
    )
    async with cases.decide.running(), cases.validate_codes.running(), TestClient(TestServer(app)) as http:
        yield Shop(http, app, program_id, key, decider)


def received(bodies: Sequence[bytes], at: datetime) -> list[Received]:
    return [Received(body, {}, None, "checkout.completed", at) for body in bodies]


def data(event: OutboxEvent) -> dict[str, Any]:
    """Return an event's data with its type as `event`."""
    envelope = json.loads(event.body)
    assert envelope["type"] == event.type
    assert envelope["id"] == str(event.id)
    return {"event": event.type, **envelope["data"]}


def told(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return what each decision came to: the reason, or the event's type."""
    return [event.get("reason") or event["event"] for event in events if "exhausted" not in event["event"]]


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
async def shop(pool: Pool, merchant: Merchant, decider: Decider) -> AsyncIterator[Shop]:
    program = await merchant.program()
    async with open_shop(pool, program, await merchant.key(program, "checkout"), decider) as opened:
        yield opened


@pytest.fixture
def merchant(admin: "asyncpg.Connection[asyncpg.Record]") -> Merchant:
    return Merchant(admin)
