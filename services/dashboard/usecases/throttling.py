"""Admits tries under the locks of their counters, before anything is checked: simultaneous ones cannot slip through."""

from collections.abc import Sequence
from datetime import datetime

from services.dashboard.domain.errors import TooManyTries
from services.dashboard.domain.throttle import WINDOW, Counter, wait_after
from services.dashboard.store.throttle import Count, lock_counters, write_counters
from shared.database.pool import Connection


async def admit(connection: Connection, counters: Sequence[Counter], now: datetime) -> datetime | None:
    """Count a try; return until when the next one has to wait if this one fails, or None.

    Raises TooManyTries, and then counts nothing, while a wait lasts.
    """
    limits = {counter.key: counter.limit for counter in counters}
    counts = await lock_counters(connection, sorted(limits), now)
    if waits := [count.blocked_until for count in counts if count.blocked_until and count.blocked_until > now]:
        raise TooManyTries(max(waits))
    counted = [_counted(count, limits[count.key], now) for count in counts]
    await write_counters(connection, counted, now)
    return max((count.blocked_until for count in counted if count.blocked_until), default=None)


def _counted(count: Count, limit: int, now: datetime) -> Count:
    last = max(count.tried_at, count.blocked_until or count.tried_at)
    tries = 1 if now - last >= WINDOW else count.tries + 1
    wait = wait_after(tries, limit)
    return Count(count.key, tries, now, None if wait is None else now + wait)
