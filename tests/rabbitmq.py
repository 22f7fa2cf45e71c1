"""Orders to a private broker by its own tool: how a test brings an alarm of its memory or disk about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from mintwire.stack.rabbitmq import PROGRAM, RabbitMQServer

Resource = Literal["memory", "disk"]

# What is far too little, and what the private brokers are started with.
_ORDERS: dict[Resource, tuple[tuple[str, ...], str, str]] = {
    "memory": (("set_vm_memory_high_watermark", "absolute"), "1MB", "1GB"),
    "disk": (("set_disk_free_limit",), "100000GB", "50MB"),
}


@asynccontextmanager
async def alarm(server: RabbitMQServer, resource: Resource) -> AsyncIterator[None]:
    """Have the broker take nothing from publishers for as long as the block lasts."""
    order, too_little, enough = _ORDERS[resource]
    await control(server, *order, too_little)
    try:
        yield
    finally:
        await control(server, *order, enough)


async def control(server: RabbitMQServer, *command: str) -> None:
    """Give the broker an order by its own tool, in the environment that it runs in."""
    tool = await asyncio.create_subprocess_exec(
        PROGRAM.with_name("rabbitmqctl"), "-q", *command, env=environment_of(server)
    )
    assert await tool.wait() == 0


def environment_of(server: RabbitMQServer) -> dict[bytes, bytes]:
    """The environment of the running broker."""
    assert server.record is not None
    raw = Path(f"/proc/{server.record.pid}/environ").read_bytes()
    return {name: value for name, _, value in (item.partition(b"=") for item in raw.split(b"\0") if item)}
