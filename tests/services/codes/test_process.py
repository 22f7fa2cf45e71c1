"""The service as a process: it gets ready, publishes what it commits, stops without loss, and refuses bad settings."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import aiormq
import asyncpg
import pytest
from pydantic import SecretStr

from mintwire.stack.ports import free_port
from shared.broker.topology import QUEUE_WEBHOOKS_EVENTS
from shared.config import decode_secret_key
from tests.databases import Database
from tests.services.codes.bulk import make_coupon
from tests.services.codes.conftest import OPERATOR_TOKEN

SECRET_KEY = base64.b64encode(b"s" * 32).decode()


def settings(database: Database, amqp_url: str, port: int, **changes: str) -> dict[str, str]:
    return os.environ | {
        "CODES_PORT": str(port),
        "CODES_DATABASE_URL": database.codes,
        "CODES_AMQP_URL": amqp_url,
        "CODES_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "CODES_SECRET_KEY": SECRET_KEY,
        **changes,
    }


@asynccontextmanager
async def process(environment: dict[str, str], command: str = "serve") -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the service's command; kill it if the test leaves it running."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.codes", command, env=environment, stdout=pipe, stderr=pipe
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.communicate()


@asynccontextmanager
async def admin_of(database: Database) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database.admin)
    try:
        yield connection
    finally:
        await connection.close()


async def until_ready(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with http.get("/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def post(http: aiohttp.ClientSession, path: str, headers: dict[str, str], body: Any = None) -> Any:
    async with http.post(path, headers=headers, json=body) as response:
        assert response.status < 300, await response.text()
        return await response.json()


async def mint(http: aiohttp.ClientSession) -> str:
    """Go the whole way from nothing to a code."""
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    program = (
        await post(http, "/v1/programs", operator, {"name": "Program", "link_url": "https://shop.example.com/"})
    )["data"]["id"]
    key = (await post(http, f"/v1/programs/{program}/keys", operator))["data"]["key"]
    manage = {"Authorization": f"Bearer {key}"}
    partner = (await post(http, "/v1/partners", manage, {"name": "Acme", "status": "active"}))["data"]["id"]
    await post(http, f"/v1/partners/{partner}/quota", manage, {"amount": 1})
    partner_key = (await post(http, f"/v1/partners/{partner}/keys", manage))["data"]["key"]
    code: str = (await post(http, "/api/partners/codes/generate", {"X-Partner-Key": partner_key}))["code"]
    return code


async def test_a_process_serves_publishes_and_stops(database: Database, clean_broker: dict[str, str]) -> None:
    port = free_port()
    async with process(settings(database, clean_broker["codes"], port)) as child:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            await until_ready(http)
            code = await mint(http)
        child.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(child.communicate(), 25)
    assert child.returncode == 0, output.decode()
    assert b"mw_sk_" not in output
    connection = await aiormq.connect(clean_broker["operator"])
    channel = await connection.channel()
    message = await channel.basic_get(QUEUE_WEBHOOKS_EVENTS, no_ack=True)
    event = json.loads(message.body)
    await connection.close()
    assert (event["type"], event["data"]["codes"]) == ("codes.generated", [code])


async def test_a_process_without_its_broker_serves_and_says_that_it_is_not_ready(database: Database) -> None:
    """Mints do not need the broker; their events wait in the outbox."""
    port = free_port()
    async with process(settings(database, "amqp://codes:x@127.0.0.1:1/none", port)) as child:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            async with asyncio.timeout(30):
                while True:
                    try:
                        async with http.get("/readyz") as response:
                            parts = (await response.json())["parts"]
                            break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.05)
            assert (response.status, parts["database"]) == (503, "ok")
            assert parts["publisher"] != "ok"
            assert await mint(http)
        child.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(child.communicate(), 25)
    assert child.returncode == 0, output.decode()


async def test_a_batch_survives_the_death_of_its_process(database: Database, clean_broker: dict[str, str]) -> None:
    """Killed in the middle of it, a later process makes what is missing and not one code more."""
    port, count = free_port(), 150_000
    environment = settings(database, clean_broker["codes"], port)
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
        admin_of(database) as admin,
    ):
        async with process(environment) as child:
            await until_ready(http)
            operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
            program = (
                await post(http, "/v1/programs", operator, {"name": "Program", "link_url": "https://shop.example.com/"})
            )["data"]["id"]
            key = (await post(http, f"/v1/programs/{program}/keys", operator))["data"]["key"]
            await make_coupon(database, program)
            manage = {"Authorization": f"Bearer {key}"}
            await post(http, "/v1/coupons/spring/promotion-codes/batch", manage, {"count": count})
            async with asyncio.timeout(60):
                while not await admin.fetchval("SELECT created FROM codes.jobs"):  # noqa: ASYNC110 - it is in the database
                    await asyncio.sleep(0.01)
            child.kill()
            await child.communicate()
        # What the time would do: the lease of the dead runs out.
        await admin.execute("UPDATE codes.jobs SET leased_until = now() WHERE leased_until IS NOT NULL")
        async with process(environment) as child:
            async with asyncio.timeout(60):
                while await admin.fetchval("SELECT state FROM codes.jobs") != "done":  # noqa: ASYNC110 - it is in the database
                    await asyncio.sleep(0.05)
            child.send_signal(signal.SIGTERM)
            output, _ = await asyncio.wait_for(child.communicate(), 25)
        assert child.returncode == 0, output.decode()
        assert await admin.fetchval("SELECT count(*) FROM codes.promotion_codes") == count
        assert await admin.fetchval("SELECT count(*) FROM codes.events WHERE type = 'codes.batch_completed'") == 1


async def test_bad_settings_are_named_without_their_values(database: Database) -> None:
    changes = {"CODES_SECRET_KEY": "c2hvcnQtc2VjcmV0", "CODES_OPERATOR_TOKEN": "short-token"}
    async with process(settings(database, "amqp://x", 1, **changes)) as child:
        _, said = await child.communicate()
    assert child.returncode == 2
    assert b"secret_key" in said
    assert b"operator_token" in said
    assert b"c2hvcnQtc2VjcmV0" not in said
    assert b"short-token" not in said


async def test_production_refuses_what_the_repository_publishes(database: Database) -> None:
    changes = {"CODES_ENVIRONMENT": "production", "CODES_OPERATOR_TOKEN": "development-only-token"}
    async with process(settings(database, "amqp://x", 1, **changes)) as child:
        _, said = await child.communicate()
    assert (child.returncode, b"operator_token" in said) == (2, True)


@pytest.mark.parametrize("text", [SECRET_KEY, base64.urlsafe_b64encode(b"\xff" * 32).decode()])
def test_a_secret_key_is_read_in_either_alphabet(text: str) -> None:
    assert len(decode_secret_key(SecretStr(text))) == 32


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "ü" * 44, base64.b64encode(b"s" * 33).decode(), "a" * 43])
def test_a_secret_key_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_secret_key(SecretStr(text))
