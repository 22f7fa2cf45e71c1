"""Removes old rows: of the audit log, the remains of finished jobs, and orders of codes that came to nothing."""

from datetime import datetime, timedelta
from typing import Final

from services.codes.domain.jobs import KEPT_FOR, UPLOAD_KEPT_FOR
from services.codes.store import audit, code_orders, jobs
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.database.purging import Removal
from shared.ids import earliest_id

# A piece of an upload has 128 KiB.
_PIECES_AT_ONCE: Final = 50
_AT_ONCE: Final = timedelta(0)
_ORDERS_KEPT_FOR: Final = timedelta(days=400)


def removals(database: Database, clock: Clock, audit_kept: timedelta) -> list[Removal]:
    """Return the purges, table by table."""
    return [
        Removal("audit_log", database, clock, audit_kept, _entries),
        Removal("code_orders", database, clock, _ORDERS_KEPT_FOR, code_orders.purge_code_orders),
        Removal("jobs", database, clock, KEPT_FOR, _jobs),
        Removal("job_uploads", database, clock, _AT_ONCE, _uploads, _PIECES_AT_ONCE),
        Removal("job_lines", database, clock, _AT_ONCE, _lines),
        Removal("job_errors", database, clock, _AT_ONCE, _errors),
    ]


async def _entries(connection: Connection, before: datetime, limit: int) -> int:
    return await audit.purge_entries(connection, earliest_id(before), before, limit)


async def _jobs(connection: Connection, before: datetime, limit: int) -> int:
    return await jobs.purge_jobs(connection, before, before + KEPT_FOR - UPLOAD_KEPT_FOR, limit)


async def _uploads(connection: Connection, _: datetime, limit: int) -> int:
    return await jobs.purge_uploads(connection, limit)


async def _lines(connection: Connection, _: datetime, limit: int) -> int:
    return await jobs.purge_lines(connection, limit)


async def _errors(connection: Connection, _: datetime, limit: int) -> int:
    return await jobs.purge_errors(connection, limit)
