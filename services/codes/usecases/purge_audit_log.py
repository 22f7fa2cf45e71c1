"""Removes what the audit log need not remember any more."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.codes.store import audit
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.purging import in_batches
from shared.ids import earliest_id
from shared.log import get_logger

_ROWS_AT_ONCE: Final = 1_000
# Between two batches whoever waits for an answer has the machine.
_BREATH_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class PurgeAuditLog:
    """Runs in every process: what one removes the others pass over."""

    database: Database
    clock: Clock
    kept: timedelta
    rows_at_once: int = _ROWS_AT_ONCE

    async def __call__(self) -> int:
        """Remove what is old, in short statements, and return how many entries there were."""
        before = self.clock() - self.kept

        async def remove() -> int:
            async with self.database.connection() as connection:
                return await audit.purge_entries(connection, earliest_id(before), before, self.rows_at_once)

        if removed := await in_batches(remove, self.rows_at_once, _BREATH_SECONDS):
            get_logger().info("audit_log_purged", entries=removed)
        return removed
