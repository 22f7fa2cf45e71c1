"""PostgreSQL is stopped or killed while deliveries are claimed, sent and recorded: nothing is lost."""

import asyncio
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web
from yarl import URL

from mintwire.stack.postgres import PostgresServer
from services.webhooks.domain.deliveries import LEASE_SECONDS
from shared.metrics import WEBHOOKS_FENCED
from tests.databases import Database, migrate, named
from tests.proxy import Proxy
from tests.servers import RunningServers
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
    until,
    value,
)
from tests.services.webhooks.receiver import Post, Receiver

# More than an endpoint may have in flight at first, so that some wait behind them.
GOOD, BAD = 12, 2
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = 'mintwire_webhooks' AND datname = current_database() AND wait_event_type = 'Lock'
"""
_LEASED = "SELECT count(*) FROM webhooks.delivery_queue WHERE token IS NOT NULL"
_WRITTEN = "SELECT count(*) FROM webhooks.attempts"
_ENDED = "SELECT status, count(*) FROM webhooks.deliveries GROUP BY 1"
_NUMBERS = "SELECT array_agg(number ORDER BY number) AS n FROM webhooks.attempts GROUP BY delivery_id"


@dataclass(frozen=True)
class Proxied(Database):
    """A database that the services reach through a proxy, and the superuser directly."""

    port: int

    def role(self, service: str) -> str:
        return str(URL(super().role(service)).with_port(self.port))


@pytest.fixture
def own_postgres(test_run: Path, servers: RunningServers, vhost: str) -> Iterator[PostgresServer]:
    """A separate migrated server. Committed data survives a kill."""
    server = PostgresServer(test_run / "restarts" / "postgres")
    server.start()
    try:
        for service in ("codes", "webhooks"):
            database = named(server.url, "mintwire")
            migrate(
                service, database, RunningServers(server.url, servers.broker_address, servers.management_address), vhost
            )
        yield server
    finally:
        server.stop()


class Restarts:
    """The service with a server that goes away and comes back."""

    def __init__(self, server: PostgresServer, proxy: Proxy, service: Service) -> None:
        self.server = server
        self.proxy = proxy
        self.service = service

    async def down(self, how: signal.Signals) -> None:
        """End the server: abruptly, or cleanly with a message to each session."""
        if how is signal.SIGKILL:
            assert self.server.record is not None
            os.kill(self.server.record.pid, signal.SIGKILL)
        await asyncio.to_thread(self.server.stop)

    async def up(self) -> None:
        """Let it come back, reachable again for the service."""
        self.proxy.heal()
        await asyncio.to_thread(self.server.start)
        self.service.admin = await asyncpg.connect(self.server.url)

    async def counted(self, statement: str, wanted: int) -> None:
        """Wait until a count is at least a value."""
        async with asyncio.timeout(30):
            while (await self.service.query(statement))[0]["count"] < wanted:  # noqa: ASYNC110 - written by others
                await asyncio.sleep(0.01)

    async def ended(self, rounds: int) -> None:
        """Wait until every delivery has ended."""
        async with asyncio.timeout(30):
            while True:
                rows = await self.service.query(_ENDED)
                found = {row["status"]: row["count"] for row in rows}
                if found == {"succeeded": rounds * GOOD, "dead": rounds * BAD}:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
async def restarts(own_postgres: PostgresServer, clock: HeldClock) -> AsyncIterator[Restarts]:
    proxy = Proxy(own_postgres.url)
    async with proxy.running():
        port = URL(proxy.url).port
        assert port is not None
        async with running_service(Proxied("mintwire", own_postgres.url, port), clock) as service:
            yield Restarts(own_postgres, proxy, service)


async def answer(post: Post) -> web.StreamResponse:
    if b'"code":"BAD' in post.body:
        return web.Response(status=400, headers={"webhook-delivery": "abort-message"})
    return web.Response(status=204)


async def take_in(service: Service, merchant: Merchant, name: str) -> None:
    codes = [f"GOOD-{name}-{n}" for n in range(GOOD)] + [f"BAD-{name}-{n}" for n in range(BAD)]
    assert await service.consume(*(code_redeemed(merchant, code) for code in codes)) == [None] * len(codes)


@pytest.mark.timeout(180)
async def test_whatever_is_under_way_when_the_database_goes_away_comes_to_its_end(
    restarts: Restarts, receiver: Receiver, clock: HeldClock
) -> None:
    """A failover of the database would lose webhooks, or leave them in flight for ever."""
    service, proxy = restarts.service, restarts.proxy
    merchant = await make_merchant(service.admin, clock())
    receiver.answer = answer
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=100)

    async def pause() -> None:
        assert (await service.send("POST", f"/endpoints/{endpoint['id']}/pause", merchant.partner_key)).status == 200

    async def resume() -> None:
        """Resume as another process would, outside the connections of this one."""
        await service.admin.execute("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
        service.dispatcher.sending.wake()

    # In the middle of a claim, before it is committed.
    await pause()
    await take_in(service, merchant, "CLAIMING")
    holder = await asyncpg.connect(restarts.server.url)
    await holder.execute("BEGIN; LOCK TABLE webhooks.delivery_queue IN ACCESS EXCLUSIVE MODE")
    await resume()
    await restarts.counted(_WAITING, 1)
    await restarts.down(signal.SIGKILL)
    assert receiver.posts == []
    await restarts.up()
    await restarts.ended(1)

    # Claimed and committed, but the response is lost: nobody knows of these leases, and they expire.
    await pause()
    await take_in(service, merchant, "CLAIMED")
    await service.admin.execute("UPDATE webhooks.delivery_queue SET visible_at = visible_at + interval '1 minute'")
    await resume()
    await service.stays_idle()
    proxy.drops_answers_after = uuid.UUID(endpoint["id"]).bytes
    clock.advance(minutes=2)
    service.dispatcher.sending.wake()
    await restarts.counted(_LEASED, GOOD + BAD)
    await restarts.down(signal.SIGINT)
    assert len(receiver.posts) == GOOD + BAD
    clock.advance(seconds=LEASE_SECONDS + 1)
    await restarts.up()
    await restarts.ended(2)

    # Sent, and answered while nothing can be written.
    release = asyncio.Event()

    async def wait(post: Post) -> web.StreamResponse:
        await release.wait()
        return await answer(post)

    receiver.answer = wait
    await take_in(service, merchant, "SENT")
    await until(lambda: receiver.under_way)
    await restarts.down(signal.SIGKILL)
    release.set()
    await until(lambda: len(receiver.posts) == 3 * (GOOD + BAD) and not service.dispatcher.sending.in_flight)
    await restarts.up()
    await restarts.ended(3)

    # Written and committed, but the confirmation is lost: it is written again, and changes nothing.
    fenced = value(WEBHOOKS_FENCED)
    release.clear()
    await take_in(service, merchant, "WRITTEN")
    await until(lambda: receiver.under_way)
    proxy.drops_answers_after = b"COMMIT"
    release.set()
    await restarts.counted(_WRITTEN, 3 * (GOOD + BAD) + 1)
    await restarts.down(signal.SIGINT)
    await restarts.up()
    await restarts.ended(4)
    await until(lambda: value(WEBHOOKS_FENCED) > fenced)

    # No attempt was made twice: unwritten results were kept, and deliveries without a kept result had not been sent.
    assert set(Counter((post.id, post.body) for post in receiver.posts).values()) == {1}
    assert len({post.id for post in receiver.posts}) == len({post.body for post in receiver.posts}) == 4 * (GOOD + BAD)
    assert [row["n"] for row in await service.query(_NUMBERS)] == [[1]] * (4 * (GOOD + BAD))
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []
    assert len(await service.query("SELECT 1 FROM webhooks.dead_letters")) == 4 * BAD
    waiting = "SELECT 1 FROM webhooks.outbox o JOIN webhooks.events e ON e.id = o.event_id WHERE e.type = $1"
    assert len(await service.query(waiting, "webhook.delivery_dead")) == 4 * BAD
