"""The service as a process: it refuses to start without settings, serves its health, works, and stops when told to."""

import asyncio
import os
import signal
import sys

import aiohttp
import asyncpg
import pytest

from mintwire.stack.ports import free_port
from shared.clock import utc_now
from tests.databases import Database, migrate_environment
from tests.servers import RunningServers
from tests.services.redemption.merchant import Merchant, checkout
from tests.services.redemption.test_consuming import publish, take

pytestmark = pytest.mark.timeout(90)


async def start(command: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REDEMPTION_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.redemption", command),
        env=kept | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def answer(url: str, wanted_status: int) -> str:
    """Return the first answer with that status, within thirty seconds."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == wanted_status:
                        return await response.text()
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def test_it_serves_works_and_stops_on_sigterm(
    database: Database,
    servers: RunningServers,
    vhost: str,
    clean_broker: dict[str, str],
    merchant: Merchant,
    admin: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    program = await merchant.program()
    await merchant.code(program, await merchant.coupon(program), "PLAIN")
    port = free_port()
    environment = migrate_environment("redemption", database, servers, vhost) | {"REDEMPTION_PORT": str(port)}
    process = await start("serve", environment)
    try:
        ready = await answer(f"http://127.0.0.1:{port}/readyz", 200)
        assert '"database":"ok"' in ready.replace(" ", "")
        await publish(clean_broker, [checkout(program, "PLAIN", time=utc_now())])
        await take(clean_broker, "codes.redemptions", 1)
        assert "mintwire_redemptions_total 1.0" in await answer(f"http://127.0.0.1:{port}/metrics", 200)
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 25)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, output.decode()
    assert await admin.fetchval("SELECT count(*) FROM redemption.outbox") == 0


async def test_without_settings_it_says_what_is_missing() -> None:
    process = await start("serve", {})
    output, _ = await process.communicate()
    assert process.returncode == 2
    assert b"database_url: Field required" in output


async def test_migrating_needs_the_operators_urls(database: Database, servers: RunningServers, vhost: str) -> None:
    environment = migrate_environment("redemption", database, servers, vhost)
    process = await start("migrate", {k: v for k, v in environment.items() if "ADMIN" not in k})
    output, _ = await process.communicate()
    assert process.returncode == 2
    assert b"REDEMPTION_ADMIN_DATABASE_URL" in output
