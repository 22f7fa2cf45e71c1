"""How what is old is removed: in short statements, with a pause between them.

Correctness hangs on none of it; the disk does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

INTERVAL_SECONDS: Final = 600.0


async def in_batches(remove: Callable[[], Awaitable[int]], full: int, breath_seconds: float = 0.0) -> int:
    """Remove batch after batch until one is not `full`, with a pause between them; return how much went in all."""
    removed = 0
    while True:
        batch = await remove()
        removed += batch
        if batch < full:
            return removed
        if breath_seconds:
            await asyncio.sleep(breath_seconds)
