"""One attempt by the real sender, and servers that do as a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from services.webhooks.domain.deliveries import Answer, Outgoing
from services.webhooks.domain.signature import SigningKey
from services.webhooks.sender.client import Sender
from services.webhooks.sender.names import Lookup, NameService, look_up
from services.webhooks.sender.urls import URLChecker
from shared.clock import utc_now
from tests.services.webhooks.faults import Behave, FaultServer

KEY = b"k" * 32
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def sending(*, lookup: Lookup = look_up, is_development: bool = True) -> AsyncIterator[Sender]:
    names = NameService(lookup)
    urls = URLChecker(names, is_development=is_development)
    try:
        async with Sender(urls, names, utc_now) as sender:
            yield sender
    finally:
        names.close()


async def post(sender: Sender, url: str, *, total_seconds: float = 20.0, **more: Any) -> Answer:
    keys = [SigningKey("hmac", KEY)]
    return await sender.post(
        Outgoing(url=url, message_name="msg_1", body=b'{"a":1}', keys=keys, timeout_seconds=total_seconds, **more)
    )


async def answer_of(server: FaultServer, *, total_seconds: float = 20.0) -> Answer:
    async with sending() as sender:
        return await post(sender, server.url, total_seconds=total_seconds)


def always(raw: bytes) -> Callable[[FaultServer], Behave]:
    """Answer every request on a connection with the same bytes."""

    def behave(server: FaultServer) -> Behave:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await server.read(reader)
                writer.write(raw)
                await writer.drain()

        return act

    return behave


def once(
    act: Callable[[FaultServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> Callable[[FaultServer], Behave]:
    """Read one request and then run `act`."""

    def behave(server: FaultServer) -> Behave:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            await act(server, reader, writer)

        return run

    return behave
