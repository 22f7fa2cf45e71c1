"""The webhook service on a real socket with a database of its own, a receiver, and a clock that the test controls."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import Counter, Gauge

from services.webhooks.app import build_app, build_use_cases, open_sender
from services.webhooks.consumers import EventConsumer
from services.webhooks.dispatcher import dispatcher as dispatching
from services.webhooks.dispatcher.dispatcher import Dispatcher
from services.webhooks.domain.retention import Retention, ShownSettings
from services.webhooks.sender.names import Lookup, look_up
from services.webhooks.sender.urls import URLChecker
from services.webhooks.usecases.check_secrets import CheckSecrets
from services.webhooks.usecases.delivery_queue import DeliveryQueue
from services.webhooks.usecases.listen import ListenerHub
from services.webhooks.usecases.maintain_endpoints import MaintainEndpoints
from services.webhooks.usecases.run_replays import RunReplays
from services.webhooks.usecases.take_in_events import TakeInEvents
from shared import api_keys
from shared.broker.messages import Received, Reject
from shared.clock import utc_now
from shared.database.accounts import AccountReader
from shared.database.credentials import CredentialReader
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.database.sealing import Seal
from shared.events.envelope import OutboxEvent
from shared.events.redemption import CodeRedeemedV1
from shared.ids import new_id
from shared.web.health import Report
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.operating import operating
from tests.services.webhooks.receiver import Receiver, running_receiver

SECRET_KEY = b"w" * 32
# Nothing takes this long unless something is wrong; a busy machine is not.
DEADLINE_SECONDS = 30.0
KEPT = Retention(timedelta(days=30), timedelta(days=30), timedelta(days=90))


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
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]


@dataclass(frozen=True)
class Merchant:
    """A program with a key, and a partner of it with another."""

    program_id: uuid.UUID
    program_key: str
    partner_id: uuid.UUID
    partner_key: str


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait for a condition with a deadline."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event to wait on
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"{what} did not come true in time")


def value(metric: Gauge | Counter) -> float:
    """Return the current value of a metric."""
    [gathered] = metric.collect()
    return gathered.samples[0].value


def code_redeemed(merchant: Merchant, code: str = "ACME-1A0A48C0", **changes: Any) -> OutboxEvent:
    """Return a `code.redeemed` event as the redemption service emits it."""
    members: dict[str, Any] = {
        "redemption_id": new_id(),
        "program_id": merchant.program_id,
        "partner_id": merchant.partner_id,
        "code": code,
        "code_id": new_id(),
        "coupon_id": new_id(),
        "order_ref": "order-1",
        "customer": None,
        "discount": {
            "type": "percent",
            "percent_hundredths": 10000,
            "amount_minor": None,
            "currency": None,
            "applied_minor": None,
        },
        "order": None,
        "attributes": {"card_id": "a1b2c3d4", "recipient_name": "Zoë", "occasion": "mother"},
        "attribute_names": ["card_id", "recipient_name", "occasion"],
        "occurred_at": datetime.fromisoformat("2026-03-16T20:15:00.000Z"),
        "codes_remaining": 49823,
        "discount_ends_at": None,
        "commission": None,
        "times_redeemed": 1,
        "times_redeemed_version": 1,
        "coupon_times_redeemed": 1,
        "coupon_times_redeemed_version": 1,
        "terms": {
            "coupon_uuid_code": "partner",
            "coupon_name": "Partner",
            "duration_type": "once",
            "duration_value": None,
            "starts_at": None,
            "expires_at": None,
            "redemption_limit": 1,
            "coupon_starts_at": None,
            "coupon_expires_at": None,
            "coupon_redemption_limit": None,
        },
    }
    data = CodeRedeemedV1(**{**members, **changes})
    return data.to_event(new_id(), data.occurred_at)


def received(event: OutboxEvent) -> Received:
    """Return an event as it arrives from the queue."""
    return Received(event.body, {}, str(event.id), event.type, utc_now())


@dataclass
class Service:
    """One process of the service, without its broker; events that it would publish are in `handed_over`."""

    http: TestClient[web.Request, web.Application]
    pool: Pool
    clock: HeldClock
    queue: DeliveryQueue
    dispatcher: Dispatcher
    consumer: EventConsumer
    take_in: TakeInEvents
    worker: RunReplays
    urls: URLChecker
    handed_over: list[OutboxEvent]
    admin: "asyncpg.Connection[asyncpg.Record]"
    secrets: CheckSecrets
    acts: list[OutboxEvent] = field(default_factory=list)

    async def send(
        self,
        method: str,
        path: str,
        key: str | None,
        json: Any = None,
        *,
        idempotency: str | None = None,
        if_match: str | None = None,
    ) -> Reply:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if if_match is not None:
            headers["If-Match"] = if_match
        if idempotency is not None:
            headers["Idempotency-Key"] = idempotency
        path = path if path.startswith("/v1/") else f"/v1/webhooks{path}"
        async with self.http.request(method, path, headers=headers, json=json) as response:
            return Reply(response.status, response.headers.copy(), await response.json(content_type=None))

    async def pages(self, path: str, key: str, query: str = "") -> list[Any]:
        """Return a whole list, page by page, however short the pages are."""
        found, cursor = [], ""
        for _ in range(200):
            page = await self.send("GET", f"{path}?limit=2{query}{cursor}", key)
            assert page.status == 200, page.body
            assert len(page.data) <= 2
            found += page.data
            if page.body["meta"]["next_cursor"] is None:
                return found
            cursor = f"&cursor={page.body['meta']['next_cursor']}"
        pytest.fail("the list has no end")

    async def endpoint(self, key: str, url: str, **members: Any) -> Any:
        made = await self.send("POST", "/endpoints", key, {"url": url, "event_types": ["code.redeemed"], **members})
        assert made.status == 201, made.body
        return made.data

    async def consume(self, *events: OutboxEvent) -> list[Reject | None]:
        return await self.consumer([received(event) for event in events])

    async def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.admin.fetch(sql, *values)]

    async def settled(self, count: int, status: str = "succeeded") -> None:
        """Wait until this many deliveries have the status."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                rows = await self.query("SELECT count(*) FROM webhooks.deliveries WHERE status = $1", status)
                if rows[0]["count"] >= count:
                    return
                await asyncio.sleep(0.01)

    async def attempted(self, count: int) -> None:
        """Wait until this many attempts are written."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                rows = await self.query("SELECT count(*) FROM webhooks.attempts")
                if rows[0]["count"] >= count:
                    return
                await asyncio.sleep(0.01)

    async def claimed_again(self) -> None:
        """Wait for a claim that started after this moment: everything that may be sent is in flight then."""
        for _ in range(2):
            before = self.dispatcher.claiming.claimed_at
            self.dispatcher.sending.wake()
            await until(lambda before=before: self.dispatcher.claiming.claimed_at != before)  # type: ignore[misc]

    async def stays_idle(self) -> None:
        """Let it look for work, and check that it has found none."""
        await until(lambda: not self.dispatcher.sending.count, "nothing held")
        await self.claimed_again()
        assert not self.dispatcher.sending.count

    async def said(self, count: int) -> list[OutboxEvent]:
        """Wait for this many events: they are handed over after the commit that the database already shows."""
        await until(lambda: len(self.handed_over) >= count)
        return list(self.handed_over)

    async def heard(self, type_: str, count: int = 1) -> list[Any]:
        """Wait for this many events of a type, as with `said`; return the data of all of them."""
        await until(lambda: len(self.events(type_)) >= count, f"{count} {type_}")
        return self.events(type_)

    def events(self, type_: str) -> list[Any]:
        """Return the data of the events emitted so far."""
        return [json.loads(event.body)["data"] for event in self.handed_over if event.type == type_]


@asynccontextmanager
async def running_service(
    database: Database,
    clock: HeldClock,
    *,
    max_in_flight: int = 100,
    sends: bool = True,
    replays: bool = True,
    lookup: Lookup = look_up,
) -> AsyncIterator[Service]:
    """Run the service; with `sends` off its dispatcher only takes deliveries and sends nothing."""
    handed_over: list[OutboxEvent] = []
    acts: list[OutboxEvent] = []

    def hand_over(events: Sequence[OutboxEvent]) -> None:
        handed_over.extend(events)

    async def ready() -> Report:
        return Report({"database": "ok"})

    async with (
        connect(database.webhooks, "webhooks", 6) as pool,
        open_sender(clock, is_development=True, lookup=lookup) as (sender, urls),
    ):
        seal = Seal(SECRET_KEY)
        # As after the first check of an empty database.
        seal.accepts_first_form = False
        secrets = CheckSecrets(pool, clock, seal, hand_over)
        queue = DeliveryQueue(pool, pool, clock, seal, secrets.observe, hand_over)
        dispatcher = Dispatcher(queue, sender.post, clock, max_in_flight=max_in_flight)
        courier = dispatcher.sending
        answer_once = AnswerOnce(pool, clock, seal)
        worker = RunReplays(pool, clock, new_id, courier.wake, acts.extend)
        hub = ListenerHub(pool, clock)
        shown = ShownSettings(KEPT, ("192.0.2.7/32",))
        use_cases = build_use_cases(
            database=pool,
            batches=pool,
            clock=clock,
            seal=seal,
            answer_once=answer_once,
            sender=sender,
            urls=urls,
            courier=courier,
            worker=worker,
            hub=hub,
            shown=shown,
            hand_over=acts.extend,
        )
        app = build_app(
            use_cases,
            CredentialReader(pool, clock),
            AccountReader(pool, clock, DASHBOARD.keys, "webhooks"),
            ready,
            operating("webhooks", pool, clock),
        )
        take_in = TakeInEvents(pool, courier, clock)
        admin = await asyncpg.connect(database.admin)
        running = asyncio.create_task(_run(dispatcher if sends else None, worker if replays else None, hub))
        try:
            async with use_cases.publish_message.running(), TestClient(TestServer(app)) as http:
                consumer = EventConsumer(take_in)
                made = Service(
                    http=http,
                    pool=pool,
                    clock=clock,
                    queue=queue,
                    dispatcher=dispatcher,
                    consumer=consumer,
                    take_in=take_in,
                    worker=worker,
                    urls=urls,
                    handed_over=handed_over,
                    admin=admin,
                    secrets=secrets,
                    acts=acts,
                )
                yield made
                # A test that restarts the server has opened a new one.
                admin = made.admin
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            for task in list(dispatcher.sending.tasks):
                task.cancel()
            await asyncio.gather(*dispatcher.sending.tasks, return_exceptions=True)
            await admin.close()


async def _run(dispatcher: Dispatcher | None, worker: RunReplays | None, hub: ListenerHub) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(hub.task.run())
        for part in (dispatcher, worker):
            if part is not None:
                group.create_task(part.run())


async def look_after_endpoints(maintenance: MaintainEndpoints) -> None:
    """Run the periodic maintenance once."""
    await maintenance.resume_endpoints()
    await maintenance.expire_listeners()
    await maintenance.count_endpoints()


async def purge(maintenance: MaintainEndpoints, rows_at_once: int = 500) -> None:
    """Remove everything that is old enough."""
    for removal in maintenance.removals():
        await replace(removal, rows_at_once=rows_at_once)()


async def make_merchant(admin: "asyncpg.Connection[asyncpg.Record]", now: datetime) -> Merchant:
    """Create a program and a partner with keys, as the codes service would."""
    program_id = new_id()
    await admin.execute(
        "INSERT INTO codes.programs (id, name, link_url, created_at, updated_at)"
        " VALUES ($1, 'CinematicCard', 'x', $2, $2)",
        program_id,
        now,
    )
    program_key = await make_key(admin, program_id, None, ["manage", "webhooks"], now)
    return await make_partner(admin, program_id, program_key, "Acme", now)


async def make_partner(
    admin: "asyncpg.Connection[asyncpg.Record]", program_id: uuid.UUID, program_key: str, name: str, now: datetime
) -> Merchant:
    """Create a partner of a program with a key."""
    partner_id = new_id()
    await admin.execute(
        "INSERT INTO codes.partners (id, program_id, name, status, code_prefix, created_at, updated_at)"
        " VALUES ($1, $2, $4, 'active', upper($4), $3, $3)",
        partner_id,
        program_id,
        now,
        name,
    )
    partner_key = await make_key(admin, program_id, partner_id, ["webhooks"], now)
    return Merchant(program_id, program_key, partner_id, partner_key)


async def make_key(
    admin: "asyncpg.Connection[asyncpg.Record]",
    program_id: uuid.UUID,
    partner_id: uuid.UUID | None,
    scopes: list[str],
    now: datetime,
    purpose: str = "default",
) -> str:
    """Create a key of a program or a partner, as the codes service would, and return its text."""
    made = api_keys.generate("secret", new_id())
    await admin.execute(
        "INSERT INTO codes.api_keys (id, program_id, partner_id, kind, purpose, slot, scopes, digest, created_at)"
        " VALUES ($1, $2, $3, 'secret', $7, 1, $4, $5, $6)",
        made.key_id,
        program_id,
        partner_id,
        scopes,
        made.digest,
        now,
        purpose,
    )
    return made.text


@pytest.fixture(autouse=True)
def _quick_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tasks that are due every few seconds at once."""
    monkeypatch.setattr(dispatching, "UPKEEP_SECONDS", 0.2)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def service(database: Database, clock: HeldClock) -> AsyncIterator[Service]:
    async with running_service(database, clock) as made:
        yield made


@pytest.fixture
async def merchant(service: Service) -> Merchant:
    return await make_merchant(service.admin, service.clock())


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as made:
        yield made


@pytest.fixture
async def second_receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as made:
        yield made
