"""A database whose sessions end in the middle of transactions."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared.database.pool import Connection
from shared.database.pool import Database as Pool


@dataclass
class Dying:
    """A database whose sessions end at any moment of a transaction, as with their process."""

    pool: Pool
    admin: Any
    random: random.Random
    deaths: int = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.pool.transaction() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            dies = asyncio.create_task(self._die(pid, self.random.uniform(0, 0.02)))
            try:
                yield connection
            finally:
                dies.cancel()

    async def _die(self, pid: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.deaths += 1
        await self.admin.execute("SELECT pg_terminate_backend($1)", pid)
