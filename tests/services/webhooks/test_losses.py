"""What is lost and what is repeated when the service dies at any step of a delivery, or the broker loses its data."""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from mintwire.stack import places
from mintwire.stack.definitions import broker_definitions
from mintwire.stack.rabbitmq import RabbitMQServer
from shared.broker import topology
from shared.broker.operator.depths import depths
from shared.broker.permissions import PERMISSIONS
from shared.broker.publisher import Publisher
from shared.broker.relay import OutboxRelay
from shared.clock import utc_now
from shared.database.outbox import OutboxTable, insert_events
from shared.database.pool import connect
from shared.events.envelope import OutboxEvent
from tests.databases import Database
from tests.proxy import Proxy
from tests.servers import BROKER_PASSWORDS
from tests.services.webhooks.conftest import Merchant, code_redeemed, make_merchant, until
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_process import create_endpoint, publish, ready, running_process

Admin: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
VHOST = "mintwire"
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = 'mintwire_webhooks' AND datname = current_database() AND wait_event_type = 'Lock'
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = 'mintwire_webhooks' AND datname = current_database()
"""
_NUMBERS = "SELECT array_agg(number ORDER BY number) AS n FROM webhooks.attempts GROUP BY delivery_id"
_LEASED = "SELECT count(*) FROM webhooks.delivery_queue WHERE token IS NOT NULL"
_TAKEN_IN = "SELECT count(*) FROM webhooks.inbox"
_SUCCEEDED = "SELECT count(*) FROM webhooks.deliveries WHERE status = 'succeeded'"


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(database.admin)
    yield connection
    await connection.close()


async def counted(admin: Admin, statement: str, wanted: int, seconds: float = 30.0) -> None:
    """Wait until a count reaches a value."""
    async with asyncio.timeout(seconds):
        while await admin.fetchval(statement) != wanted:  # noqa: ASYNC110 - written by other processes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def locked(database: Database, statement: str) -> AsyncIterator[None]:
    """Hold a lock that blocks the service; its sessions end before the lock does, as if its connection was lost."""
    holder = await asyncpg.connect(database.admin)
    try:
        async with holder.transaction():
            await holder.execute(statement)
            yield
            await holder.execute(_END_SESSIONS)
    finally:
        await holder.close()


async def kill(process: asyncio.subprocess.Process, admin: Admin) -> None:
    """Kill the process, and let its leases expire."""
    process.kill()
    await process.wait()
    await admin.execute("UPDATE webhooks.delivery_queue SET visible_at = now() WHERE token IS NOT NULL")


@pytest.mark.timeout(180)
async def test_a_process_that_dies_at_any_step_of_a_delivery_loses_nothing(
    database: Database, clean_broker: dict[str, str], admin: Admin, receiver: Receiver, unused_tcp_port: int
) -> None:
    """A partner would never learn of a redemption, and nothing would show that a webhook is missing."""
    merchant = await make_merchant(admin, utc_now())

    async def one(code: str) -> None:
        await publish(clean_broker, [code_redeemed(merchant, code)])

    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await create_endpoint(unused_tcp_port, merchant, receiver.url)
        # Taken from the queue, not yet written.
        async with locked(database, "LOCK TABLE webhooks.deliveries IN SHARE MODE"):
            await one("TAKEN")
            await counted(admin, _WAITING, 1)
            await kill(process, admin)
    assert await admin.fetchval("SELECT count(*) FROM webhooks.messages") == 0

    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await counted(admin, _SUCCEEDED, 1)
        # Written and leased, not yet sent: the signing keys cannot be read.
        async with locked(database, "LOCK TABLE webhooks.endpoint_keys IN ACCESS EXCLUSIVE MODE"):
            await admin.execute("UPDATE webhooks.endpoints SET version = version + 1")
            await one("LEASED")
            await counted(admin, _LEASED, 1)
            await counted(admin, _WAITING, 1)
            await kill(process, admin)
    assert len(receiver.posts) == 1

    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await counted(admin, _SUCCEEDED, 2)
        # Sent, not yet answered.
        release = receiver.hang()
        await one("SENT")
        await until(lambda: receiver.under_way == 1)
        await kill(process, admin)
        receiver.answer = None
        release.set()

    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await counted(admin, _SUCCEEDED, 3)
        # Answered, result not yet written.
        async with locked(database, "LOCK TABLE webhooks.attempts IN SHARE MODE"):
            await one("ANSWERED")
            await until(lambda: len(receiver.posts) == 5)
            await counted(admin, _WAITING, 1)
            await kill(process, admin)

    async with running_process(database, clean_broker, unused_tcp_port):
        await counted(admin, _SUCCEEDED, 4)
    times = Counter(post.body for post in receiver.posts)
    assert sorted(times.values()) == [1, 1, 2, 2]
    assert {body for body, count in times.items() if count == 2} == {
        post.body for post in receiver.posts if b"SENT" in post.body or b"ANSWERED" in post.body
    }
    assert len({(post.id, post.body) for post in receiver.posts}) == 4
    assert await admin.fetchval("SELECT count(*) FROM webhooks.delivery_queue") == 0
    assert [row["n"] for row in await admin.fetch(_NUMBERS)] == [[1]] * 4


@pytest.mark.timeout(120)
async def test_an_event_whose_acknowledgement_is_lost_is_sent_once(
    database: Database, clean_broker: dict[str, str], admin: Admin, receiver: Receiver, unused_tcp_port: int
) -> None:
    """The process dies after it has committed an event and before it has acknowledged it: the broker redelivers it."""
    merchant = await make_merchant(admin, utc_now())
    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await create_endpoint(unused_tcp_port, merchant, receiver.url)
        # The events about the endpoint are processed and acknowledged before anything is lost.
        await counted(admin, _TAKEN_IN, 1)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    proxy = Proxy(clean_broker["webhooks"])
    async with proxy.running():
        broker = {**clean_broker, "webhooks": proxy.url}
        async with running_process(database, broker, unused_tcp_port) as process:
            proxy.drops_requests = True
            await publish(clean_broker, [code_redeemed(merchant, "UNHEARD")])
            await counted(admin, _SUCCEEDED, 1)
            await kill(process, admin)
    async with asyncio.timeout(30):
        while await waiting(clean_broker) != 1:  # noqa: ASYNC110 - the broker notices the end in its own time
            await asyncio.sleep(0.05)
    async with running_process(database, clean_broker, unused_tcp_port) as process:
        await publish(clean_broker, [code_redeemed(merchant, "NEXT")])
        await counted(admin, _SUCCEEDED, 2)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert await waiting(clean_broker) == 0
    assert [b"UNHEARD" in post.body for post in receiver.posts] == [True, False]
    assert [row["n"] for row in await admin.fetch(_NUMBERS)] == [[1], [1]]
    assert await admin.fetchval(_TAKEN_IN) == 3


async def waiting(broker: dict[str, str]) -> int:
    """Return how many events in the queue no consumer holds."""
    depth = (await depths(broker["operator"], [topology.QUEUE_WEBHOOKS_EVENTS]))[topology.QUEUE_WEBHOOKS_EVENTS]
    assert depth is not None
    return depth.messages


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RabbitMQServer]:
    """A separate broker that can be stopped and emptied."""
    server = RabbitMQServer(tmp_path / "broker", broker_definitions([VHOST], BROKER_PASSWORDS), is_durable=False)
    server.start()
    yield server
    server.stop()
    places.remove(tmp_path / "broker")


async def wipe(server: RabbitMQServer, folder: Path) -> None:
    """Start a stopped broker again without any of its data."""
    shutil.rmtree(folder / "data")
    await asyncio.to_thread(server.start)
    await topology.declare(server.url("operator", BROKER_PASSWORDS["operator"], VHOST))


def events_of(merchant: Merchant, name: str) -> list[OutboxEvent]:
    return [code_redeemed(merchant, f"{name}-{number}") for number in range(20)]


@pytest.mark.timeout(180)
async def test_a_broker_that_stops_and_comes_back_empty_delays_only_what_is_new(
    database: Database,
    own_broker: RabbitMQServer,
    admin: Admin,
    receiver: Receiver,
    unused_tcp_port: int,
    tmp_path: Path,
) -> None:
    """Retries continue without the broker, and unpublished events stay in the outbox of their service."""
    urls = {user: own_broker.url(user, BROKER_PASSWORDS[user], VHOST) for user in PERMISSIONS}
    await topology.declare(urls["operator"])
    merchant = await make_merchant(admin, utc_now())
    async with (
        running_process(database, urls, unused_tcp_port),
        connect(database.redemption, "redemption", 2) as pool,
        Publisher(urls["redemption"], topology.EXCHANGE_REDEMPTION) as publisher,
    ):
        relay = OutboxRelay(publisher, OutboxTable(pool))
        relaying = asyncio.create_task(relay.run())

        async def say(events: list[OutboxEvent]) -> None:
            async with pool.transaction() as connection:
                await insert_events(connection, events)
            relay.hand_over(events)

        try:
            await create_endpoint(unused_tcp_port, merchant, receiver.url)
            receiver.status, receiver.headers = 503, {"Retry-After": "300"}
            await say(events_of(merchant, "BEFORE"))
            await counted(admin, "SELECT count(*) FROM webhooks.deliveries", 20)
            await until(lambda: receiver.posts)
            await counted(admin, "SELECT count(*) FROM webhooks.endpoints WHERE resume_at IS NOT NULL", 1)
            await counted(admin, _LEASED, 0)

            await asyncio.to_thread(own_broker.stop)
            await say(events_of(merchant, "DURING"))
            receiver.status, receiver.headers = 204, {}
            # Five minutes pass.
            await admin.execute("UPDATE webhooks.endpoints SET resume_at = now(), version = version + 1")
            await admin.execute("UPDATE webhooks.delivery_queue SET visible_at = now()")
            await counted(admin, _SUCCEEDED, 20)

            await wipe(own_broker, tmp_path / "broker")
            await ready(unused_tcp_port)
            # Both sides connect again after up to half a minute, as they do after a long outage.
            await counted(admin, _SUCCEEDED, 40, seconds=90)
            await counted(admin, "SELECT count(*) FROM redemption.outbox", 0)
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
    delivered = {post.body for post in receiver.posts}
    assert len(delivered) == 40
    refused = len(receiver.posts) - 40
    attempts = await admin.fetchval("SELECT count(*) FROM webhooks.attempts WHERE status = 503")
    assert refused == attempts
