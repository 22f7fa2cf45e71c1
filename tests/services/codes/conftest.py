"""The codes service on a real socket and a database of its own, with a clock that the test holds."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from services.codes.api.use_cases import UseCases
from services.codes.app import build_app, build_runner, build_use_cases
from services.codes.integrations.redemption import RedemptionClient
from services.codes.usecases import remove_old
from services.codes.usecases.run_jobs import RunJobs
from shared.clock import utc_now
from shared.database.accounts import AccountReader
from shared.database.credentials import CredentialReader
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.database.sealing import Seal
from shared.events.envelope import OutboxEvent
from shared.web.health import Report
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.operating import operating
from tests.services.codes.mints import World, made_world

OPERATOR_TOKEN = "operator-token-for-tests"
SECRET_KEY = b"k" * 32
PROGRAM = {"name": "CinematicCard", "link_url": "https://shop.example/"}
# Nothing listens at the discard port.
NOBODY = "http://127.0.0.1:9"


@dataclass
class HeldClock:
    """A clock that stands still until the test moves it."""

    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


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


@dataclass(frozen=True)
class Owner:
    """A program or a partner with a key of its own."""

    id: str
    key: str
    key_id: str


@dataclass
class Service:
    """One process of the service, as far as HTTP and database go."""

    http: TestClient[web.Request, web.Application]
    pool: Pool
    clock: HeldClock
    use_cases: UseCases
    app: web.Application
    handed_over: list[OutboxEvent]
    runner: RunJobs
    credentials: CredentialReader

    async def send(
        self,
        method: str,
        path: str | URL,
        key: str | None = OPERATOR_TOKEN,
        json: Any = None,
        *,
        idempotency: str | None = None,
    ) -> Reply:
        headers = {}
        if key is not None:
            # The token of an account has points, and no header of the partner API's own.
            is_partner_api = str(path).startswith("/api/partners") and "." not in key
            headers = {"X-Partner-Key": key} if is_partner_api else {"Authorization": f"Bearer {key}"}
        if idempotency is not None:
            headers["Idempotency-Key"] = idempotency
        async with self.http.request(method, path, headers=headers, json=json) as response:
            raw = await response.read()
            is_json = response.content_type in ("application/json", "application/problem+json")
            return Reply(
                response.status,
                response.headers.copy(),
                raw,
                await response.json(content_type=None) if is_json else None,
            )

    async def program(self, **settings: Any) -> Owner:
        made = await self.send("POST", "/v1/programs", json={**PROGRAM, **settings})
        assert made.status == 201, made.body
        return await self.with_key(f"/v1/programs/{made.data['id']}")

    async def partner(self, program: Owner, *, quota: int = 0, **members: Any) -> Owner:
        body = {"name": "Acme Gifts", "status": "active", **members}
        made = await self.send("POST", "/v1/partners", program.key, body)
        assert made.status == 201, made.body
        if quota:
            await self.move(made.data["id"], amount=quota)
        return await self.with_key(f"/v1/partners/{made.data['id']}")

    async def with_key(self, owner: str, **draft: Any) -> Owner:
        made = await self.send("POST", f"{owner}/keys", json=draft)
        assert made.status == 201, made.body
        return Owner(owner.rpartition("/")[2], made.data["key"], made.data["id"])

    async def move(self, partner_id: str, **move: Any) -> Reply:
        return await self.send("POST", f"/v1/partners/{partner_id}/quota", json=move)

    async def purge(self) -> int:
        return sum([await each() for each in remove_old.removals(self.pool, self.clock, timedelta(days=730))])

    async def generate(self, partner: Owner, idempotency: str | None = None) -> Reply:
        return await self.send("POST", "/api/partners/codes/generate", partner.key, idempotency=idempotency)


@asynccontextmanager
async def running_service(database: Database, clock: HeldClock, redemption_url: str = NOBODY) -> AsyncIterator[Service]:
    """Run the service without its broker; what it would publish is in `handed_over`."""
    handed_over: list[OutboxEvent] = []

    def hand_over(events: Sequence[OutboxEvent]) -> None:
        handed_over.extend(events)

    async def ready() -> Report:
        return Report({"database": "ok"})

    async with (
        connect(database.codes, "codes", 6) as pool,
        RedemptionClient.connected(redemption_url) as redemption,
    ):
        runner = build_runner(pool, clock, hand_over)
        use_cases = build_use_cases(
            pool,
            pool,
            clock,
            Seal(SECRET_KEY),
            hand_over=hand_over,
            wake_runner=runner.wake,
            redemption=redemption,
        )
        credentials = CredentialReader(pool, clock)
        app = build_app(
            use_cases,
            credentials,
            AccountReader(pool, clock, DASHBOARD.keys, "codes"),
            ready,
            operating("codes", pool, clock, token=OPERATOR_TOKEN),
        )
        async with use_cases.generate_code.running(), TestClient(TestServer(app)) as http:
            yield Service(http, pool, clock, use_cases, app, handed_over, runner, credentials)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with made_world(database) as made:
        yield made


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def service(database: Database, clock: HeldClock) -> AsyncIterator[Service]:
    async with running_service(database, clock) as made:
        yield made


@pytest.fixture
async def second(database: Database, clock: HeldClock) -> AsyncIterator[Service]:
    """Another process of the same service on the same database, with caches of its own."""
    async with running_service(database, clock) as made:
        yield made


@pytest.fixture
async def program(service: Service) -> Owner:
    return await service.program(link_url="https://cinematiccard.com/")


@pytest.fixture
async def partner(service: Service, program: Owner) -> Owner:
    return await service.partner(program, quota=10, name="Prefix", email="dev@acme.example")
