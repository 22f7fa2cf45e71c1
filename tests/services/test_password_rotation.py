"""The runbook's own lines change a database password while customers use the service, who see at most a 503."""

import asyncio
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from mintwire.stack.postgres import PostgresServer
from shared.broker.operator.depths import depths
from shared.broker.topology import WORK_QUEUES, dead_queue
from tests.databases import (
    ROLE_PASSWORDS,
    SERVICES,
    Database,
    close_administrators,
    migrate,
    migrate_environment,
    named,
    new_database,
)
from tests.docs import markdown
from tests.running import OPERATOR_TOKEN, RunningService, running_services
from tests.servers import ROOT, RunningServers

NEW_PASSWORD = "changed under: load/100%@once"
# As many as two pools of four connections serve at once: more would wait for each other, and not for the database.
CUSTOMERS = 8
LEAST_SERVED = 100
# What customers leave behind in each service.
LEFT = {
    "codes": "SELECT code FROM codes.promotion_codes",
    "redemption": "SELECT code FROM redemption.redemptions",
    "webhooks": "SELECT DISTINCT 'msg_' || replace(id::text, '-', '') FROM webhooks.messages",
}
# Stands for whatever restarts a process: hands the wish on with its own environment, and waits until it was granted.
SYSTEMCTL = """\
#!{python}
import json, os, pathlib, sys, time
assert sys.argv[1] == "restart"
wish = pathlib.Path(os.environ["WISHES"]) / sys.argv[2]
draft = wish.with_suffix(".draft")
draft.write_text(json.dumps(dict(os.environ)))
draft.rename(wish)
while wish.exists():
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def own_template(tmp_path_factory: pytest.TempPathFactory, servers: RunningServers, vhost: str) -> Iterator[Database]:
    """A migrated database on a server of this file's own: passwords belong to the roles of a whole server."""
    server = PostgresServer(tmp_path_factory.mktemp("own") / "postgres", is_durable=False)
    server.start()
    try:
        database = Database("mintwire", server.url)
        for service in SERVICES:
            migrate(service, database, servers, vhost)
        yield database
    finally:
        server.stop()


@pytest.fixture
async def own_database(own_template: Database) -> AsyncIterator[Database]:
    """A clone of it; its services have the passwords of the migration again afterwards."""
    server = named(own_template.admin, "postgres").admin
    async with new_database(server, own_template.name) as database:
        yield database
        for service in SERVICES:
            password = ROLE_PASSWORDS[service]
            await fetch(database, f"ALTER ROLE mintwire_{service} PASSWORD '{password}'")
    close_administrators()


@dataclass
class Customers:
    """Use two replicas of one service, of which one may be taken out, as by a balancer; `served` is what they got."""

    service: str
    replicas: list[RunningService]
    http: aiohttp.ClientSession
    program_key: str
    partner_key: str
    codes: list[str]
    statuses: Counter[int] = field(default_factory=Counter)
    served: list[str] = field(default_factory=list)
    is_over: bool = False
    _taken_out: str = ""
    _in_flight: Counter[str] = field(default_factory=Counter)
    _turns: Iterator[int] = field(default_factory=count)
    _parcels: Iterator[int] = field(default_factory=count)

    async def come(self) -> None:
        """Keep coming until it is over and enough were served."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CUSTOMERS):
                group.create_task(self._come_again())

    async def _come_again(self) -> None:
        while not self.is_over or len(self.served) < LEAST_SERVED:
            await getattr(self, f"_use_{self.service}")()
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def without(self, replica: RunningService) -> AsyncIterator[None]:
        """Send nobody to a replica, from when it has answered those who are there."""
        self._taken_out = replica.url
        while self._in_flight[replica.url]:  # noqa: ASYNC110 - it takes milliseconds
            await asyncio.sleep(0.01)
        yield
        self._taken_out = ""

    async def _use_codes(self) -> None:
        minted = await self._ask("/api/partners/codes/generate", {"X-Partner-Key": self.partner_key})
        self.served.append(minted["code"])

    async def _use_redemption(self) -> None:
        code = self.codes.pop()
        await self._ask("/v1/redemptions", self._manage, {"codes": [code], "order_ref": f"order-of-{code}"})
        self.served.append(code)

    async def _use_webhooks(self) -> None:
        event = {"event_type": "custom.parcel_sent", "payload": {}, "event_id": f"parcel-{next(self._parcels)}"}
        made = await self._ask("/v1/webhooks/messages", self._manage, event)
        self.served.append(made["data"]["id"])

    @property
    def _manage(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.program_key}"}

    async def _ask(self, path: str, headers: dict[str, str], body: object = None) -> Any:
        """Ask until there is an answer other than 503."""
        while True:
            url = self.replicas[next(self._turns) % 2].url
            if url == self._taken_out:
                continue
            self._in_flight[url] += 1
            try:
                async with self.http.post(url + path, headers=headers, json=body) as response:
                    answer = await response.json()
            finally:
                self._in_flight[url] -= 1
            self.statuses[response.status] += 1
            if response.status in {200, 201}:
                return answer
            assert response.status == 503, (url, path, response.status, answer)
            await asyncio.sleep(int(response.headers["Retry-After"]))


async def open_shop(http: aiohttp.ClientSession, codes: RunningService, count: int) -> tuple[str, str, list[str]]:
    """Create a program and a partner, with a key each, and this many codes."""

    async def made(path: str, headers: dict[str, str], body: object = None) -> Any:
        async with http.post(codes.url + path, headers=headers, json=body) as response:
            assert response.status in {200, 201}, await response.text()
            return await response.json()

    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    program = (await made("/v1/programs", operator, {"name": "Program", "link_url": "https://shop.example/"}))["data"][
        "id"
    ]
    program_key = (await made(f"/v1/programs/{program}/keys", operator, {}))["data"]["key"]
    manage = {"Authorization": f"Bearer {program_key}"}
    partner = (await made("/v1/partners", manage, {"name": "Acme", "status": "active"}))["data"]["id"]
    await made(f"/v1/partners/{partner}/quota", manage, {"amount": 100_000})
    key = await made(f"/v1/partners/{partner}/keys", manage, {"rate_limit_per_minute": None})
    partner_key = key["data"]["key"]
    mints = [made("/api/partners/codes/generate", {"X-Partner-Key": partner_key}) for _ in range(count)]
    return program_key, partner_key, [each["code"] for each in await asyncio.gather(*mints)]


async def grant_wishes(wishes: Path, customers: Customers, database: Database) -> None:
    """Restart what the runbook wants to be restarted, with the environment that it has by then.

    Before the first process end all sessions of the role, as idle ones end by themselves: from then on the old password
    is put to use, and refused.
    """
    variable = f"{customers.service.upper()}_DATABASE_PASSWORD"
    for number, replica in enumerate(customers.replicas, 1):
        wish = wishes / f"mintwire-{customers.service}@{number}"
        while not await asyncio.to_thread(wish.exists):  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.02)
        if number == 1:
            await end_sessions(database, customers.service)
            await asyncio.sleep(0.5)
        async with customers.without(replica):
            await replica.stop()
            told = json.loads(await asyncio.to_thread(wish.read_text))
            replica.environment = {**replica.environment, variable: told[variable]}
            replica.start()
            await replica.ready()
        await asyncio.to_thread(wish.unlink)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("service", SERVICES)
async def test_the_runbook_changes_a_password_under_load(
    own_database: Database,
    clean_broker: dict[str, str],
    servers: RunningServers,
    vhost: str,
    tmp_path: Path,
    service: str,
) -> None:
    settings = migrate_environment(service, own_database, servers, vhost)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)))
        one = await stack.enter_async_context(running_services(own_database, clean_broker, names={"codes", service}))
        two = await stack.enter_async_context(running_services(own_database, clean_broker, names={service}))
        shop = await open_shop(http, one["codes"], 2_000 if service == "redemption" else 0)
        before = await left(own_database, service)
        customers = Customers(service, [one[service], two[service]], http, *shop)
        async with asyncio.TaskGroup() as group:
            group.create_task(customers.come())
            group.create_task(grant_wishes(tmp_path, customers, own_database))
            await follow_the_runbook(service, settings, tmp_path)
            until_then = len(customers.served)
            await asyncio.sleep(1)
            customers.is_over = True

        assert set(customers.statuses) <= {200, 201, 503}
        assert customers.statuses[503], "the old password was never put to use: nothing was tried here"
        assert len(customers.served) > until_then
        for replica in customers.replicas:
            async with http.get(f"{replica.url}/metrics") as response:
                assert "login_refused" not in await response.text(), "what was restarted has the old password"
        assert await left(own_database, service) - before == Counter(customers.served)
        dead = await depths(clean_broker["operator"], map(dead_queue, WORK_QUEUES))
        assert {queue: depth.messages for queue, depth in dead.items() if depth} == dict.fromkeys(dead, 0)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(own_database.role(service))


async def follow_the_runbook(service: str, environment: dict[str, str], wishes: Path) -> None:
    """Run the lines of docs/operations.md, which say them of `codes`."""
    script = markdown.sample("database-password.sh", "docs/operations.md")
    script = script.replace("codes", service).replace("CODES", service.upper())
    path = f"{_stub(wishes / 'bin')}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = {"NEW_PASSWORD": NEW_PASSWORD, "WISHES": str(wishes), "PATH": path}
    process = await asyncio.create_subprocess_exec(
        "sh", "-eu", "-c", script, cwd=ROOT, env={**os.environ, **environment, **told}
    )
    assert await process.wait() == 0, script


def _stub(folder: Path) -> Path:
    folder.mkdir()
    stub = folder / "systemctl"
    stub.write_text(SYSTEMCTL.format(python=sys.executable))
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    return folder


async def left(database: Database, service: str) -> Counter[str]:
    return Counter(row[0] for row in await fetch(database, LEFT[service]))


async def end_sessions(database: Database, service: str) -> None:
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
    await fetch(database, sql, f"mintwire_{service}")


async def fetch(database: Database, sql: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.admin)
    try:
        return await connection.fetch(sql, *arguments)
    finally:
        await connection.close()
