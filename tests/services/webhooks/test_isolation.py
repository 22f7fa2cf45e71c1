"""Receivers and name servers that are slow, stuck or broken must not delay the others."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
from aiohttp import web
from yarl import URL

from services.webhooks.dispatcher.pipes import Pipe
from services.webhooks.domain.deliveries import HeldDelivery
from services.webhooks.sender.names import PER_DOMAIN
from services.webhooks.sender.urls import CheckedURL
from shared.ids import new_id
from tests.databases import Database
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
    until,
)
from tests.services.webhooks.receiver import Post, Receiver, running_receiver

# After this time a receiver counts as slow, and a working one no longer as prompt.
SLOW_SECONDS = 1.2


def let_through(service: Service, url: str) -> None:
    """Allow a URL that leads to this machine and would not be dialled otherwise."""
    service.urls.checked[url] = CheckedURL(URL(url), "localhost", "loopback")


async def consume_many(service: Service, merchant: Merchant, batches: int) -> None:
    """Take in batches of twenty events."""
    for batch in range(batches):
        await service.consume(*(code_redeemed(merchant, f"C{batch}-{n}") for n in range(20)))


@pytest.mark.parametrize("sick", [1, 10])
async def test_receivers_that_hang_do_not_hold_up_the_others(
    service: Service, merchant: Merchant, receiver: Receiver, sick: int
) -> None:
    """One of eleven endpoints never answers, or half of them."""
    async with running_receiver() as hanging:
        release = hanging.hang()
        for number in range(10 + sick):
            await service.endpoint(merchant.program_key, hanging.url if number < sick else receiver.url)
        await consume_many(service, merchant, 10)
        await until(lambda: len(receiver.posts) == 2000)
        await service.settled(2000)
        await until(lambda: hanging.under_way)
        assert hanging.under_way <= 10 * sick
        release.set()


async def misbehave(how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if how == "stalls":
        # The start of a TLS handshake is accepted and never answered.
        while await reader.read(65536):
            pass
    while how != "resets":
        await reader.readuntil(b"\r\n\r\n")
        if how == "fails":
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
            continue
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.2)


@asynccontextmanager
async def failing_receiver(how: str) -> AsyncIterator[str]:
    """Run a receiver that never gives a good response; yields its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            await misbehave(how, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    # A socket that is bound but does not listen refuses connections, and keeps the port from others.
    listening = socket.create_server(("127.0.0.1", 0)) if how != "refuses" else socket.socket()
    if how == "refuses":
        listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = await asyncio.start_server(answer, sock=listening, start_serving=how != "refuses")
    try:
        yield f"{'https' if how == 'stalls' else 'http'}://127.0.0.1:{port}/hook"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("sick", [1, 10])
@pytest.mark.parametrize("how", ["drips", "refuses", "resets", "fails", "stalls"])
async def test_receivers_that_fail_in_any_way_do_not_hold_up_the_others(
    service: Service, merchant: Merchant, receiver: Receiver, how: str, sick: int
) -> None:
    """One of eleven endpoints, or half of them."""
    async with failing_receiver(how) as url:
        let_through(service, url)
        for number in range(10 + sick):
            await service.endpoint(merchant.program_key, url if number < sick else receiver.url)
        await consume_many(service, merchant, 5)
        await until(lambda: len(receiver.posts) == 1000)
        await service.settled(1000)
    assert len({post.id for post in receiver.posts}) == 100


@pytest.mark.parametrize("sick", [1, 10])
async def test_receivers_that_take_almost_all_their_time_do_not_hold_up_the_others(
    service: Service, merchant: Merchant, receiver: Receiver, sick: int
) -> None:
    """They work, and have shown it, but their attempts take long, and all of them succeed."""
    release = asyncio.Event()
    async with running_receiver() as slow:

        async def take_long(_: Post) -> web.StreamResponse:
            if len(slow.posts) <= sick:
                await asyncio.sleep(SLOW_SECONDS)
            else:
                await release.wait()
            return web.Response(status=204)

        slow.answer = take_long
        for number in range(10 + sick):
            await service.endpoint(merchant.program_key, slow.url if number < sick else receiver.url)
        await service.consume(code_redeemed(merchant, "FIRST"))
        await service.settled(10 + sick)
        await consume_many(service, merchant, 5)
        await until(lambda: len(receiver.posts) == 1010)
        await service.settled(1010 + sick)
        await until(lambda: slow.under_way)
        assert slow.under_way == len(slow.posts) - sick
        release.set()
        await service.settled(101 * (10 + sick))


def test_who_takes_long_before_saying_yes_has_no_priority() -> None:
    """Otherwise slow receivers could fill every slot again and again, for a second each time."""
    pipe = Pipe(new_id(), 10)
    now = HeldClock()()
    pipe.add(
        HeldDelivery(
            delivery_id=new_id(),
            endpoint_id=pipe.endpoint_id,
            endpoint_version=1,
            message_id=new_id(),
            event_type="code.redeemed",
            body=b"{}",
            step=1,
            trigger="automatic",
            ends_at=now,
            token=1,
            lease_ends=0.0,
            sequence=1,
        )
    )
    pipe.note_success(20, 1.0)
    assert pipe.has_priority
    pipe.note_success(19_000, 20.0)
    assert not pipe.has_priority
    assert pipe.has_others
    pipe.note_success(20, 21.0)
    assert pipe.has_priority


class NameServer:
    """Knows every name; once it is a tarpit, it gives no answer about those that begin with `sick`."""

    def __init__(self) -> None:
        self.is_tarpit = False
        self.release = threading.Event()
        self.waiting: set[str] = set()

    def __call__(self, name: str) -> Sequence[tuple[int, str]]:
        if self.is_tarpit and name.startswith("sick"):
            self.waiting.add(name)
            self.release.wait(60)
            self.waiting.discard(name)
        return [(socket.AF_INET, "127.0.0.1")]


@pytest.mark.parametrize("suffix", ["hooks{number}.example", "hooks.example"])
@pytest.mark.parametrize("sick", [1, 50])
async def test_names_that_do_not_resolve_in_time_do_not_hold_up_the_others(
    database: Database, clock: HeldClock, receiver: Receiver, sick: int, suffix: str
) -> None:
    """One of 51 endpoints, or half of a hundred, at a domain each or all at one; the others need names as well."""
    name_server = NameServer()
    try:
        async with running_service(database, clock, lookup=name_server) as service:
            merchant = await make_merchant(service.admin, clock())
            port = URL(receiver.url).port
            for number in range(50 + sick):
                host = f"sick{number}.{suffix}" if number < sick else f"works{number}.works{number}.example"
                url = f"http://{host.format(number=number)}:{port}/hook"
                let_through(service, url)
                await service.endpoint(merchant.program_key, url)
            name_server.is_tarpit = True
            await consume_many(service, merchant, 1)
            await until(lambda: len(receiver.posts) == 1000)
            await service.settled(1000)
            hanging = sick if "{" in suffix else min(sick, PER_DOMAIN)
            await until(lambda: len(name_server.waiting) == hanging)
            assert not any(post.headers["Host"].startswith("sick") for post in receiver.posts)
    finally:
        name_server.release.set()


async def test_more_receivers_that_hang_than_there_are_slots_do_not_hold_up_the_others(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """What they have in flight by the time that they are known to hang must not be all that there is."""
    async with running_receiver() as hanging:
        release = hanging.hang()
        for number in range(90):
            await service.endpoint(merchant.program_key, hanging.url if number % 9 else receiver.url)
        await consume_many(service, merchant, 4)
        await until(lambda: len(receiver.posts) == 800)
        assert hanging.under_way < 500
        release.set()


async def test_retries_of_many_do_not_hold_up_what_is_new(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    """Retries that all hang must leave slots to first attempts at a working receiver."""
    endpoints = [await service.endpoint(merchant.program_key, receiver.url) for _ in range(40)]
    receiver.status = 500
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await service.attempted(3 * len(endpoints))
    await service.endpoint(merchant.partner_key, second_receiver.url)
    await service.consume(code_redeemed(merchant, "FIRST"))
    await until(lambda: second_receiver.posts)
    release = receiver.hang()
    service.clock.advance(seconds=7)
    await until(lambda: receiver.under_way >= 40)
    await service.consume(code_redeemed(merchant, "NEW"))
    await until(lambda: len(second_receiver.posts) == 2)
    release.set()
