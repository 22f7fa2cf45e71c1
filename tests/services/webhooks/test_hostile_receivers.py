"""Receivers that respond endlessly, or with something that is not HTTP: bounded in bytes, time and memory."""

import asyncio
import gzip
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
import pytest

from services.webhooks.domain.deliveries import MAX_RESPONSE_BYTES
from tests.services.webhooks.faults import Behave, FaultServer, misbehaving
from tests.services.webhooks.sending import OK, always, answer_of, once, post, sending


async def test_of_a_huge_body_only_the_beginning_is_read() -> None:
    """One receiver could fill the memory of the process with its response."""

    async def pour(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with misbehaving(once(pour)) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await answer_of(server)
        assert answer.status == 500
        assert len(answer.response or "") == MAX_RESPONSE_BYTES
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    """A few kilobytes would become gigabytes in memory."""
    bomb = gzip.compress(b"\x00" * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with misbehaving(always(head + bomb)) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await answer_of(server)
        assert answer.status == 200
        assert len(answer.response or "") <= MAX_RESPONSE_BYTES
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 65536 + b"\r\n\r\n",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_an_invalid_answer(raw: bytes) -> None:
    async with misbehaving(always(raw)) as server:
        answer = await answer_of(server)
        assert (answer.status, answer.error_code) == (None, "invalid_answer")


@asynccontextmanager
async def measured_memory() -> AsyncIterator[None]:
    """Check that the block stays within the memory bound set for all hostile receivers together."""
    process = psutil.Process()
    before = most = process.memory_info().rss
    done = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    yield
    done.set()
    await watching
    assert most - before < 20 * 1024 * 1024


def pour(head: bytes, more: bytes) -> Callable[[FaultServer], Behave]:
    """Answer with a beginning and then without end."""

    async def act(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(more)
            await writer.drain()

    return once(act)


@pytest.mark.parametrize(
    ("head", "more", "status", "error_code"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, None, "invalid_answer"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 500, None, "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", b"a" * 65536, None, "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n" * 5000, None, "invalid_answer"),
        (b"", b"\r\n" * 30_000, None, "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"b" * 65536 + b"\r\n", 200, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nb\r\n" * 5000, 200, None),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"c" * 65536, 200, None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"d" * 65536, 204, None),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"e" * 65536, 101, None),
    ],
)
async def test_an_endless_answer_ends_early_and_takes_no_memory(
    head: bytes, more: bytes, status: int | None, error_code: str | None
) -> None:
    """A response without end would hold a slot, and memory, for ever."""
    async with misbehaving(pour(head, more)) as server, sending() as sender, measured_memory():
        for _ in range(3):
            answer = await post(sender, server.url, total_seconds=20)
            assert (answer.status, answer.error_code) == (status, error_code)
            assert len(answer.response or "") <= MAX_RESPONSE_BYTES


async def test_many_hostile_receivers_at_once_take_no_memory() -> None:
    bomb = gzip.compress(b"\x00" * 20_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    behaviours = [
        pour(b"HTTP/1.1 200 OK\r\n\r\n", b"c" * 65536),
        pour(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"a" * 65536),
        pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        always(head + bomb),
    ]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(misbehaving(each)) for each in behaviours]
        sender = await stack.enter_async_context(sending())
        await stack.enter_async_context(measured_memory())
        answers = await asyncio.gather(*(post(sender, servers[n % 4].url, total_seconds=20) for n in range(40)))
        assert {answer.error_code for answer in answers} == {None, "invalid_answer"}


async def test_after_a_hostile_answer_the_next_one_has_a_connection_of_its_own() -> None:
    """The rest of one response would be taken for the response to the next webhook."""
    behaved = [pour(b"HTTP/1.1 200 OK\r\n\r\n", b"c" * 65536), always(OK)]

    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await behaved[min(server.connections, 2) - 1](server)(reader, writer)

        return act

    async with misbehaving(behave) as server, sending() as sender:
        assert (await post(sender, server.url)).status == 200
        assert (await post(sender, server.url)).response == "ok"
        assert (await post(sender, server.url)).response == "ok"
        assert server.connections == 2


async def test_half_a_head_and_then_the_end_is_a_lost_connection() -> None:
    async def half(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        await writer.drain()
        writer.close()

    async with misbehaving(once(half)) as server:
        assert (await answer_of(server)).error_code == "connection_lost"


async def test_half_a_body_and_then_the_end_does_not_undo_the_status() -> None:
    """A webhook that was accepted with 2xx would be sent again."""

    async def half(_: FaultServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with misbehaving(once(half)) as server:
        answer = await answer_of(server)
        assert (answer.status, answer.response) == (200, "half")


async def test_an_answer_before_the_body_was_read_is_an_answer() -> None:
    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        return act

    async with misbehaving(behave) as server:
        assert (await answer_of(server)).status == 413
