"""A whole running stack as a partner, a merchant and a checkout see it, and the processes behind it."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
from aiohttp import web
from standardwebhooks import Webhook

from mintwire.stack.config import StackSettings
from mintwire.stack.plan import StackPlan, leftovers
from shared.broker.publisher import Publisher
from shared.events.envelope import OutboxEvent
from tests.servers import ROOT


async def until(
    condition: Callable[[], bool], what: str | Callable[[], str], *, seconds: float = 60, pause: float = 0.05
) -> None:
    """Wait until a condition holds; the failure says what was waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(pause)


class Stack:
    """A stack that `mintwire stack up --detach` started in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, Any] = {}
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "AMQP_URL", "STACK_DIR"} and not name.startswith("MINTWIRE_")
        } | {"STACK_DIR": str(folder)}

    def up(self) -> None:
        """Start it; it is ready when this returns."""
        self.mintwire("stack", "up", "--detach", "--no-demo", seconds=240)
        self.told = json.loads((self.folder / "stack.json").read_text())

    def down(self) -> None:
        """Stop it and remove its data."""
        self.mintwire("stack", "down", seconds=90)
        self.mintwire("stack", "clean", seconds=30)

    def mintwire(self, *arguments: str, seconds: float, statuses: Sequence[int] = (0,)) -> str:
        """Run the command against this stack and return what it printed; it must end with one of the statuses."""
        done = subprocess.run(
            [sys.executable, "-m", "mintwire", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode in statuses, f"mintwire {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def url(self, service: str) -> str:
        """The base URL of a service."""
        url: str = self.told["services"][service]
        return url

    @property
    def plan(self) -> StackPlan:
        """What the stack consists of, for starting a further replica of a service."""
        return StackPlan(StackSettings(self.folder, None, None, self.environment))

    def pid(self, name: str) -> int | None:
        """The process of a service or server as it is now, None while it is down."""
        [unit] = [unit for unit in leftovers(self.plan.folder) if unit.name == name]
        record = unit.record
        return record.pid if record is not None else None

    async def call(
        self,
        method: str,
        url: str,
        *,
        key: str | None = None,
        partner_key: str | None = None,
        body: object = None,
        raw: bytes | None = None,
        content_type: str = "application/json",
    ) -> tuple[int, Any]:
        """Call a service with a JSON body, or with bytes as they are, and return status and decoded answer."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if raw is not None:
            headers["Content-Type"] = content_type
        if partner_key:
            headers["X-Partner-Key"] = partner_key
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, json=body, data=raw) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def made(self, url: str, *, key: str, body: object = None) -> Any:
        """POST and return the data of what was made."""
        status, answer = await self.call("POST", url, key=key, body=body)
        assert status in {200, 201}, (status, answer)
        return answer["data"]

    async def new_partner(self, *, quota: int = 10_000, limit: int | None = None) -> "Partner":
        """Make a partner of the demo's program with a key of its own."""
        manage = self.told["program"]["api_key"]
        partners = f"{self.url('codes')}/v1/partners"
        name = f"Partner {uuid.uuid4().hex[:8]}"
        partner = await self.made(partners, key=manage, body={"name": name, "status": "active"})
        await self.made(f"{partners}/{partner['id']}/quota", key=manage, body={"amount": quota})
        limited = {"rate_limit_per_minute": limit}
        key = await self.made(f"{partners}/{partner['id']}/keys", key=manage, body=limited)
        return Partner(self, partner["id"], key["key"])

    @asynccontextmanager
    async def checkout(self) -> AsyncIterator[Publisher]:
        """A checkout's connection to the broker, with the checkout's own rights."""
        async with Publisher(self.plan.broker_url("checkout"), "checkout") as publisher:
            yield publisher

    async def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Look into the database."""
        connection = await asyncpg.connect(self.told["database_url"], timeout=10)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def each_is_used_once(self, codes: Sequence[str]) -> None:
        """Wait until the codes service knows of exactly one use of each code."""
        known: Counter[int] = Counter()
        for _ in range(300):
            rows = await self.rows("SELECT times_redeemed FROM codes.promotion_codes WHERE code = ANY ($1)", codes)
            known = Counter(row["times_redeemed"] for row in rows)
            if known == {1: len(codes)}:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"uses that the codes service knows: {dict(known)}")


@dataclass
class Partner:
    """A partner with its key."""

    stack: Stack
    id: str
    key: str

    async def generate(self) -> tuple[int, Any]:
        """Ask for one code."""
        return await self.stack.call(
            "POST", f"{self.stack.url('codes')}/api/partners/codes/generate", partner_key=self.key
        )

    async def codes(self, count: int) -> list[str]:
        """Mint this many codes."""
        answers = []
        for start in range(0, count, 100):
            answers += await asyncio.gather(*(self.generate() for _ in range(min(100, count - start))))
        assert {status for status, _ in answers} == {200}
        return [answer["code"] for _, answer in answers]


def completed(program_id: str, codes: Sequence[str], order_ref: str | None = None, **data: Any) -> OutboxEvent:
    """A checkout's event, with an id of its own."""
    event_id = uuid.uuid4()
    event = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "/shop",
        "type": "checkout.completed",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "program_id": program_id,
            "order_ref": order_ref or f"order-{event_id}",
            "codes": list(codes),
            "attributes": {"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
            **data,
        },
    }
    return OutboxEvent(event_id, "checkout.completed", json.dumps(event).encode())


async def publish_all(publisher: Publisher, events: Sequence[OutboxEvent]) -> None:
    """Publish until each event is confirmed, as a checkout has to: an unconfirmed publish has an unknown outcome."""
    left = {event.id: event for event in events}
    deadline = asyncio.get_running_loop().time() + 60
    while left:
        assert asyncio.get_running_loop().time() < deadline, f"{len(left)} events were never confirmed"
        for event_id in await publisher.publish_many(list(left.values())):
            left.pop(event_id, None)
        if left:
            await publisher.wait_ready(5)


@dataclass
class Receiver:
    """A partner's receiver that verifies each webhook with the independent library and keeps it.

    `arrived_at` is when the loop's clock showed a code's first webhook; `answer_seconds` is how long each takes.
    """

    url: str = ""
    endpoint_id: str = ""
    answer_seconds: float = 0
    verified: list[tuple[str, dict[str, Any], bytes]] = field(default_factory=list)
    arrived_at: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    webhook: Webhook | None = None

    async def hook(self, request: web.Request) -> web.Response:
        """Answer one webhook."""
        body = await request.read()
        assert self.webhook is not None
        try:
            self.webhook.verify(body, {name.lower(): value for name, value in request.headers.items()})
        except Exception:  # noqa: BLE001 - whatever the library raises, the webhook is not verified
            self.refused += 1
            return web.Response(status=401)
        told = json.loads(body)
        self.verified.append((request.headers["webhook-id"], told, body))
        if "code" in told:
            self.arrived_at.setdefault(told["code"], asyncio.get_running_loop().time())
        await asyncio.sleep(self.answer_seconds)
        return web.Response(status=204)

    @property
    def codes(self) -> list[str]:
        """The codes of which word came, once per delivery."""
        return [body["code"] for _, body, _ in self.verified]

    @classmethod
    @asynccontextmanager
    async def of(cls, partner: Partner, event_types: Sequence[str] = ("code.redeemed",)) -> AsyncIterator[Self]:
        """Serve on loopback as the endpoint of a partner, or of the program with its key."""
        receiver = cls()
        app = web.Application()
        app.router.add_post("/hook", receiver.hook)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
            endpoints = f"{partner.stack.url('webhooks')}/v1/webhooks/endpoints"
            wanted = {"url": receiver.url, "event_types": list(event_types)}
            endpoint = await partner.stack.made(endpoints, key=partner.key, body=wanted)
            receiver.endpoint_id = endpoint["id"]
            receiver.webhook = Webhook(endpoint["secret"])
            yield receiver
            await partner.stack.call("DELETE", f"{endpoints}/{receiver.endpoint_id}", key=partner.key)
        finally:
            await runner.cleanup()
