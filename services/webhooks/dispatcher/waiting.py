"""Waits for events that last no longer than they are told."""

import asyncio
from contextlib import suppress


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not longer than so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """As `pause`, and take notice of the event."""
    await pause(event, seconds)
    # Cleared before looking, not after: what arrives meanwhile sets it again.
    event.clear()
