"""Watches what an exchange carries, through a temporary queue; needs the operator's rights."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aiormq.abc

from shared.broker.connection import BrokerUnavailable, connect, translated

Heard = Callable[[float], Awaitable[bytes | None]]

_TIMEOUT_SECONDS = 10.0


@asynccontextmanager
async def watching(url: str, exchange: str, routing_keys: Sequence[str]) -> AsyncIterator[Heard]:
    """Yield a function that returns the next event's body, or None if none arrives within the seconds it is given.

    Receives the events with these routing keys from the moment that the block is entered, and takes nothing from any
    other queue. Raises `BrokerUnavailable` or `BrokerRefused` if it cannot watch, or no longer can.
    """
    bodies: asyncio.Queue[bytes] = asyncio.Queue()

    async def collect(message: aiormq.abc.DeliveredMessage) -> None:
        bodies.put_nowait(message.body)

    connection = await connect(url, f"watching {exchange}")

    async def next_body(timeout_seconds: float) -> bytes | None:
        arriving = asyncio.ensure_future(bodies.get())
        try:
            is_lost = await connection.lost(arriving, timeout_seconds=timeout_seconds)
            if arriving.done():
                return arriving.result()
        finally:
            arriving.cancel()
        if is_lost:
            raise BrokerUnavailable(f"The connection to the broker closed while watching {exchange}.")
        return None

    try:
        channel = await connection.channel(confirms=False)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                queue = (await channel.queue_declare(exclusive=True, auto_delete=True)).queue or ""
                for routing_key in routing_keys:
                    await channel.queue_bind(queue, exchange, routing_key)
                await channel.basic_consume(queue, collect, no_ack=True)
        yield next_body
    finally:
        await connection.close()
