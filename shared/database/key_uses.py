"""When API keys were last used, to the minute: noted in memory, and written by a periodic task beside the requests."""

import uuid
from datetime import UTC, datetime
from typing import Final

from shared.database.pool import Database
from shared.database.rows import Statement

INTERVAL_SECONDS: Final = 20.0
_MINUTE: Final = 60
_LIMIT: Final = 10_000

# In one order, so that processes that write the same keys never wait for each other in a circle. Another process may
# have written this minute already.
WRITE_USES = Statement("""
INSERT INTO key_uses (key_id, last_used_at)
SELECT key_id, last_used_at FROM @u(key_id uuid, last_used_at timestamptz) ORDER BY key_id
ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at
WHERE key_uses.last_used_at < excluded.last_used_at
""")


class KeyUses:
    """Takes note of each use of a key. What a process has noted and not written is lost if it dies."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[uuid.UUID, int] = {}
        self._unwritten: dict[uuid.UUID, int] = {}

    def note(self, key_id: uuid.UUID, now: float) -> None:
        """Remember that a key was used; costs a look-up for all but the first use in a minute."""
        minute = int(now) // _MINUTE
        if self._seen.get(key_id) == minute:
            return
        if len(self._seen) >= _LIMIT:
            self._seen.clear()
        self._seen[key_id] = self._unwritten[key_id] = minute

    async def write(self) -> None:
        """Write what was noted since the last time; after a fault it is written the next time."""
        if not self._unwritten:
            return
        writing, self._unwritten = self._unwritten, {}
        times = [datetime.fromtimestamp(minute * _MINUTE, UTC) for minute in writing.values()]
        try:
            async with self._database.connection() as connection:
                await connection.execute(*WRITE_USES(u={"key_id": list(writing), "last_used_at": times}))
        except BaseException:
            self._unwritten = writing | self._unwritten
            raise
