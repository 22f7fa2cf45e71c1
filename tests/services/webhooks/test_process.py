"""The service as a process of its own: from the queue to the receiver, killed, restarted and stopped."""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest

from shared.broker import topology
from shared.broker.publisher import Publisher
from shared.clock import utc_now
from shared.events.envelope import OutboxEvent
from tests.databases import Database
from tests.services.webhooks.conftest import Merchant, code_redeemed, make_merchant, until
from tests.services.webhooks.receiver import Receiver

START_SECONDS = 60.0


@asynccontextmanager
async def running_process(
    database: Database, broker: dict[str, str], port: int, key: bytes = b"w" * 32, status: int = 200
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the service and wait until it reports whether it is ready; kill it at the end."""
    environment = os.environ | {
        "WEBHOOKS_DATABASE_URL": database.webhooks,
        "WEBHOOKS_AMQP_URL": broker["webhooks"],
        "WEBHOOKS_PORT": str(port),
        "WEBHOOKS_SECRET_KEY": base64.b64encode(key).decode(),
        "WEBHOOKS_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.webhooks", "serve", env=environment)
    try:
        await ready(port, status)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ready(port: int, status: int = 200) -> None:
    """Wait until the service reports that it is ready, or not ready although its other parts are."""
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
                    parts = (await response.json())["parts"]
                    if response.status == status and all(parts[name] == "ok" for name in parts.keys() - {"secrets"}):
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


async def create_endpoint(port: int, merchant: Merchant, url: str) -> str:
    headers = {"X-Partner-Key": merchant.partner_key}
    body = {"url": url, "event_types": ["code.redeemed"]}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{port}/v1/webhooks/endpoints", headers=headers, json=body) as response,
    ):
        assert response.status == 201
        secret: str = (await response.json())["data"]["secret"]
        return secret


async def publish(broker: dict[str, str], events: list[OutboxEvent]) -> None:
    async with Publisher(broker["redemption"], topology.EXCHANGE_REDEMPTION) as publisher:
        assert len(await publisher.publish_many(events)) == len(events)


@pytest.fixture
async def admin(database: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database.admin)
    yield connection
    await connection.close()


async def test_from_the_queue_to_the_receiver_and_a_polite_end(
    database: Database,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    receiver: Receiver,
    unused_tcp_port: int,
) -> None:
    merchant = await make_merchant(admin, utc_now())
    async with running_process(database, clean_broker, unused_tcp_port) as process:
        secret = await create_endpoint(unused_tcp_port, merchant, receiver.url)
        await publish(clean_broker, [code_redeemed(merchant, f"C{n}") for n in range(300)])
        await until(lambda: len(receiver.posts) == 300)
        for post in receiver.posts:
            post.verify(secret)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert await admin.fetchval("SELECT count(*) FROM webhooks.deliveries WHERE status = 'succeeded'") == 300
    assert await admin.fetchval("SELECT count(*) FROM webhooks.delivery_queue") == 0


async def test_a_killed_process_loses_nothing_and_doubles_at_most_what_was_in_flight(
    database: Database,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    receiver: Receiver,
    unused_tcp_port: int,
) -> None:
    merchant = await make_merchant(admin, utc_now())
    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await create_endpoint(unused_tcp_port, merchant, receiver.url)
        await publish(clean_broker, [code_redeemed(merchant, f"C{n}") for n in range(500)])
        await until(lambda: len(receiver.posts) >= 50)
        process.kill()
        await process.wait()
    sent = len(receiver.posts)
    written = await admin.fetchval("SELECT count(*) FROM webhooks.deliveries WHERE status = 'succeeded'")
    # The dead process's leases would expire by themselves within a minute.
    await admin.execute("UPDATE webhooks.delivery_queue SET visible_at = now()")
    async with running_process(database, clean_broker, unused_tcp_port):
        await until(lambda: len({post.id for post in receiver.posts}) == 500, "every message to arrive")
    # Only webhooks that were sent but not yet recorded may be repeated.
    assert len(receiver.posts) - 500 <= sent - written
    assert len({post.body for post in receiver.posts}) == 500


async def test_with_the_wrong_secret_key_it_serves_what_it_can_and_says_that_it_is_not_ready(
    database: Database,
    clean_broker: dict[str, str],
    admin: "asyncpg.Connection[asyncpg.Record]",
    receiver: Receiver,
    unused_tcp_port: int,
) -> None:
    """It once started as healthy with 284 secrets that it could not decrypt, and died of the first one it needed."""
    merchant = await make_merchant(admin, utc_now())
    async with running_process(database, clean_broker, unused_tcp_port):
        secret = await create_endpoint(unused_tcp_port, merchant, receiver.url)
    url, headers = f"http://127.0.0.1:{unused_tcp_port}", {"X-Partner-Key": merchant.partner_key}
    wrong = running_process(database, clean_broker, unused_tcp_port, key=b"x" * 32, status=503)
    async with wrong as process, aiohttp.ClientSession() as http:
        async with http.get(f"{url}/readyz") as response:
            report = await response.json()
        assert "another WEBHOOKS_SECRET_KEY encrypted them" in report["parts"]["secrets"]
        assert report["details"]["secrets"] == "1 of 1 endpoints have a secret that cannot be decrypted"
        async with http.get(f"{url}/livez") as response:
            assert response.status == 200
        await publish(clean_broker, [code_redeemed(merchant, f"C{n}") for n in range(20)])
        async with asyncio.timeout(START_SECONDS):
            while await admin.fetchval("SELECT count(*) FROM webhooks.deliveries") < 20:  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0.05)
        async with http.get(f"{url}/v1/webhooks/endpoints", headers=headers) as response:
            [endpoint] = (await response.json())["data"]
        async with http.get(f"{url}/v1/webhooks/endpoints/{endpoint['id']}/health", headers=headers) as response:
            assert (await response.json())["data"]["held_back_by"] == "secret_unreadable"
        assert process.returncode is None
        assert receiver.posts == []
    assert await admin.fetchval("SELECT count(*) FROM webhooks.events WHERE type LIKE 'webhook.secret%'") == 0
    # It was killed, and its last claims would come back within a minute.
    await admin.execute("UPDATE webhooks.delivery_queue SET visible_at = now()")
    async with running_process(database, clean_broker, unused_tcp_port):
        await until(lambda: len(receiver.posts) == 20, "every message to arrive")
    for post in receiver.posts:
        post.verify(secret)
