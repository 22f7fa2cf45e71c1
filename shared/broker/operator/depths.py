"""The messages waiting in each queue and its consumers, counted without taking any message out."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shared.broker.connection import BrokerRefused, connect, translated
from shared.broker.topology import QUEUES

_TIMEOUT_SECONDS: Final = 10.0
_ALL: Final = tuple(queue.name for queue in QUEUES)


@dataclass(frozen=True, slots=True)
class Depth:
    """The messages of a queue that no consumer has in hand, and its consumers."""

    messages: int
    consumers: int


async def depths(url: str, queues: Iterable[str] = _ALL) -> dict[str, Depth | None]:
    """Inspect each queue; None stands for one that is missing or not permitted.

    Raises `BrokerUnavailable` when the broker cannot be reached.
    """
    found: dict[str, Depth | None] = {}
    connection = await connect(url, "mintwire depths")
    try:
        for queue in queues:
            # A refusal closes the channel, so each queue gets its own.
            channel = await connection.channel(confirms=False)
            try:
                with translated():
                    async with asyncio.timeout(_TIMEOUT_SECONDS):
                        answer = await channel.queue_declare(queue, passive=True)
                        await channel.close()
            except BrokerRefused:
                found[queue] = None
            else:
                found[queue] = Depth(answer.message_count or 0, answer.consumer_count or 0)
    finally:
        await connection.close()
    return found
