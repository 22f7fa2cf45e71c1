"""Counters of tries, under the locks of their rows, so that all replicas count together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.database.pool import Connection, affected
from shared.database.rows import Statement

ENSURE_COUNTERS = """
INSERT INTO throttle (key, tries, tried_at) SELECT key, 0, $2 FROM unnest($1::bytea[]) AS k (key) ORDER BY key
ON CONFLICT (key) DO NOTHING
"""
LOCK_COUNTERS = """
SELECT key, tries, tried_at, blocked_until FROM throttle WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE
"""
WRITE_COUNTERS = Statement("""
UPDATE throttle SET tries = w.tries, tried_at = $now, blocked_until = w.blocked_until
FROM @w(key bytea, tries integer, blocked_until timestamptz) WHERE throttle.key = w.key
""")
FORGIVE = """
UPDATE throttle SET tries = greatest(0, tries - 1), blocked_until = NULL WHERE key = ANY ($1::bytea[])
"""
FORGET = "DELETE FROM throttle WHERE key = $1"
PURGE_COUNTERS = """
DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE tried_at < $1 ORDER BY tried_at LIMIT $2)
"""


@dataclass(frozen=True, slots=True)
class Count:
    """What a counter holds."""

    key: bytes
    tries: int
    tried_at: datetime
    blocked_until: datetime | None


async def lock_counters(connection: Connection, keys: Sequence[bytes], now: datetime) -> list[Count]:
    """Lock the counters of these keys in one order, created if missing."""
    await connection.execute(ENSURE_COUNTERS, keys, now)
    return [Count(**dict(row)) for row in await connection.fetch(LOCK_COUNTERS, keys)]


async def write_counters(connection: Connection, counts: Sequence[Count], now: datetime) -> None:
    """Store locked counters."""
    columns = {name: [getattr(count, name) for count in counts] for name in ("key", "tries", "blocked_until")}
    await connection.execute(*WRITE_COUNTERS(w=columns, now=now))


async def forgive(connection: Connection, forgotten: bytes, others: Sequence[bytes]) -> None:
    """Undo a try that turned out well: forget the counter of its own, and take it off the others."""
    await connection.execute(FORGIVE, sorted(others))
    await connection.execute(FORGET, forgotten)


async def purge_counters(connection: Connection, before: datetime, limit: int) -> int:
    """Remove counters that have long not been used."""
    return affected(await connection.execute(PURGE_COUNTERS, before, limit))
