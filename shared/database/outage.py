"""Notices that the database fails as a whole, and logs it once when it begins and once when it ends.

Nothing waits for this: work is tried whenever it comes up. But a session keeps its first state: one opened while
the database was read-only stays so, and one with a demoted primary stays there; such sessions are replaced.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from shared.database.sqlstates import OUTAGES, Kind
from shared.log import get_logger
from shared.metrics import DATABASE_FAILING

LOOK_SECONDS: Final = 0.5

# Faults of the session: a new one may work. When log-ins are refused, on the other hand, the existing sessions may be
# the last that work.
_OF_THE_SESSION: Final[frozenset[Kind]] = frozenset({"read_only", "session"})
_SUSPICIOUS: Final[frozenset[Kind]] = OUTAGES | _OF_THE_SESSION


class Outage:
    """Checks the database from the first suspicious fault until it accepts writes.

    `look` returns what prevents them; `replace` retires every session that is open now.
    """

    def __init__(self, look: Callable[[], Awaitable[Kind | None]], replace: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._replace = replace
        self._watching: asyncio.Task[None] | None = None

    async def note(self, kind: Kind) -> None:
        """Note a fault."""
        if kind in _SUSPICIOUS and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch(kind), name="database outage")
            await self._replace_after(kind)

    async def close(self) -> None:
        """Stop checking."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    async def _watch(self, first: Kind) -> None:
        began = time.monotonic()
        known: Kind | None = None
        try:
            while (kind := await self._look()) is not None:
                if kind != known:
                    get_logger().error("database_failed", kind=kind)
                    _count(known, kind)
                    known = kind
                await asyncio.sleep(LOOK_SECONDS)
                await self._replace_after(kind)
        finally:
            _count(known, None)
        if known is not None:
            get_logger().info("database_recovered", kind=known, seconds=round(time.monotonic() - began, 1))
        # Some sessions may have been opened just before it ended.
        await self._replace_after(known or first)

    async def _replace_after(self, kind: Kind) -> None:
        if kind in _OF_THE_SESSION:
            await self._replace()


def _count(known: Kind | None, kind: Kind | None) -> None:
    if known is not None:
        DATABASE_FAILING.labels(known).dec()
    if kind is not None:
        DATABASE_FAILING.labels(kind).inc()
