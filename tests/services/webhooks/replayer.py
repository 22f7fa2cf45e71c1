"""Runs the oldest replay to its end without its pace, in a process of its own that can be killed at any moment."""

import asyncio
import sys

from services.webhooks.usecases.run_replays import RunReplays
from shared.clock import utc_now
from shared.database.pool import connect
from shared.ids import new_id


async def work(database_url: str) -> None:
    async with connect(database_url, "webhooks", 2) as pool:
        worker = RunReplays(pool, utc_now, new_id, lambda: None, lambda _: None)
        replay = await worker.claim()
        assert replay is not None
        while await worker.step(replay) is not None:
            pass


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
