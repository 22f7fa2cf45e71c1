"""What long-running commands share: stopping on signals, and when to ask a service again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
# Temporary errors of a service; repeating the request helps with no other.
WORTH_ASKING_AGAIN = (None, 429, 500, 502, 503, 504)


@contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        restore()


async def wait_for_stop(stop: asyncio.Event, seconds: float) -> None:
    """Wait until stopped, but no longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
