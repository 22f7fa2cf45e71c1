"""The three services as processes before a database that is there and will not, at their start and while they run."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest

from shared.process import STOP_SECONDS
from tests.databases import SERVICES, Database, own_roles
from tests.running import OPERATOR_TOKEN, READY_SECONDS, RunningServices, running_services

# Three services start, and start again.
pytestmark = pytest.mark.timeout(240)
# That it takes no longer than three seconds is held by the bystanders of tests/system; here others use the machine too.
DEADLINE_SECONDS = 30.0
READS = {
    "codes": "/v1/partners",
    "redemption": "/v1/redemptions",
    "webhooks": "/v1/webhooks/endpoints",
}
WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "codes": ("/v1/partners", {"name": "Acme"}),
    "redemption": ("/v1/redemptions", {"codes": ["NONE-1"], "order_ref": "order"}),
    "webhooks": ("/v1/webhooks/endpoints", {"url": "http://127.0.0.1:9/hook", "event_types": ["code.redeemed"]}),
}


@dataclass
class Fault:
    """Brings one of the two faults about for this database alone, and ends it."""

    admin: "asyncpg.Connection[asyncpg.Record]"
    database: Database
    is_only_reading: bool

    @property
    def words(self) -> str:
        return "only reads" if self.is_only_reading else "refuses the log-in"

    @property
    def kind(self) -> str:
        return "read_only" if self.is_only_reading else "login_refused"

    async def begin(self) -> None:
        """Begin, and end the sessions that there are, as a failover or an operator does."""
        if self.is_only_reading:
            await self._set("SET default_transaction_read_only = on")
        else:
            await self._log_in("NOLOGIN")
        await self.admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename LIKE $2",
            self.database.name,
            f"{self.database.name}%",
        )

    async def end(self) -> None:
        """End; the sessions opened meanwhile stay as they are."""
        if self.is_only_reading:
            await self._set("RESET default_transaction_read_only")
        else:
            await self._log_in("LOGIN")

    async def _set(self, how: str) -> None:
        await self.admin.execute(f'ALTER DATABASE "{self.database.name}" {how}')

    async def _log_in(self, how: str) -> None:
        for service in SERVICES:
            await self.admin.execute(f'ALTER ROLE "{self.database.name}_{service}" {how}')


@pytest.fixture(params=[True, False], ids=["only reads", "refuses the log-in"])
async def fault(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Fault]:
    """The fault, once each."""
    admin = await asyncpg.connect(database.admin, server_settings={"default_transaction_read_only": "off"})
    yield Fault(admin, database, request.param)
    await admin.close()


@pytest.fixture
async def running(database: Database, clean_broker: dict[str, str]) -> AsyncIterator[RunningServices]:
    """The services, with roles that a test may change."""
    async with own_roles(database) as urls:
        settings = {f"{service.upper()}_DATABASE_URL": url for service, url in urls.items()}
        async with running_services(database, clean_broker, settings=settings) as services:
            yield services


async def a_program(http: aiohttp.ClientSession, running: RunningServices) -> dict[str, str]:
    """Make a program and return the header of a key of it that may do everything."""
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    programs = f"{running['codes'].url}/v1/programs"
    async with http.post(programs, headers=operator, json={"name": "Program"}) as response:
        program = (await response.json())["data"]["id"]
    async with http.post(f"{programs}/{program}/keys", headers=operator, json={}) as response:
        return {"Authorization": f"Bearer {(await response.json())['data']['key']}"}


async def until_it_says(
    http: aiohttp.ClientSession, url: str, status: int, words: str, seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until `url` answers with this status and these words."""
    answer = ""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    async with http.get(url) as response:
                        answer = await response.text()
                        if response.status == status and words in answer:
                            return
                except aiohttp.ClientConnectionError as error:
                    answer = repr(error)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{url} did not answer {status} {words} within {seconds:g} s, but {answer}") from None


async def every_write_answers(
    http: aiohttp.ClientSession, running: RunningServices, key: dict[str, str], is_right: tuple[int, ...]
) -> None:
    for name, (path, body) in WRITES.items():
        async with http.post(running[name].url + path, headers=key, json=body) as response:
            assert response.status in is_right, (name, response.status, await response.text())
            if response.status == 503:
                assert response.headers["Retry-After"] == "1"
                assert (await response.json())["code"] == "temporarily_unavailable"


async def every_read_answers(
    http: aiohttp.ClientSession, running: RunningServices, key: dict[str, str], status: int
) -> None:
    for name, path in READS.items():
        async with http.get(running[name].url + path, headers=key) as response:
            assert response.status == status, (name, await response.text())


async def is_told(http: aiohttp.ClientSession, running: RunningServices, fault: Fault) -> None:
    for service in running.services.values():
        await until_it_says(http, f"{service.url}/readyz", 503, f'"database":"{fault.words}"')
        await until_it_says(http, f"{service.url}/metrics", 200, f'mintwire_database_failing{{kind="{fault.kind}"}}')
        await until_it_says(http, f"{service.url}/livez", 200, "ok")
        assert "database_failed" in service.said()


async def works_again(http: aiohttp.ClientSession, running: RunningServices, key: dict[str, str]) -> None:
    for service in running.services.values():
        await until_it_says(http, f"{service.url}/readyz", 200, "ok")
    await every_read_answers(http, running, key, 200)
    await every_write_answers(http, running, key, (200, 201, 409, 422))


async def test_services_live_on_and_answer_503_until_the_database_does_its_work_again(
    running: RunningServices, fault: Fault
) -> None:
    async with aiohttp.ClientSession() as http:
        key = await a_program(http, running)
        await fault.begin()
        await is_told(http, running, fault)
        await every_write_answers(http, running, key, (503,))
        if fault.is_only_reading:
            await every_read_answers(http, running, key, 200)
        await fault.end()
        await works_again(http, running, key)
    assert {service.process.poll() for service in running.services.values() if service.process} == {None}


async def test_services_that_start_meanwhile_live_and_get_ready_by_themselves(
    running: RunningServices, fault: Fault
) -> None:
    """Else they would be started again and again, and nobody could ask one of them why."""
    async with aiohttp.ClientSession() as http:
        key = await a_program(http, running)
        await running.stop()
        await fault.begin()
        for service in running.services.values():
            service.start()
        for service in running.services.values():
            await until_it_says(http, f"{service.url}/livez", 200, "ok", READY_SECONDS)
        await is_told(http, running, fault)
        await every_write_answers(http, running, key, (503,))
        await every_read_answers(http, running, key, 200 if fault.is_only_reading else 503)
        await fault.end()
        await works_again(http, running, key)
    assert {service.process.poll() for service in running.services.values() if service.process} == {None}


async def test_services_stop_in_time_meanwhile(running: RunningServices, fault: Fault) -> None:
    """One that waited for its database would be killed at its deadline, and count as one that has failed."""
    async with aiohttp.ClientSession() as http:
        await fault.begin()
        await is_told(http, running, fault)
        began = time.monotonic()
        await running.stop()
        assert time.monotonic() - began < STOP_SECONDS
    await fault.end()
