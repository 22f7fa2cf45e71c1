"""The outbox as operators see it: what waits to be published, what the broker has refused, and another try for that."""

from typing import Final

from shared.clock import Clock
from shared.database import operator_log
from shared.database.outbox import LEASE_SECONDS
from shared.database.pool import Database, affected
from shared.database.rows import Rows
from shared.events.operating import Act, OutboxState

COUNTED_AT_MOST: Final = 10_000

# A lease that ends later than any process takes one is that of an event which the broker has refused.
READ_STATE = """
SELECT count(*) AS waiting,
       count(*) FILTER (WHERE leased_until > clock_timestamp() + make_interval(secs => $2)) AS refused,
       min(created_at) AS oldest_at
FROM (
    SELECT o.leased_until, (SELECT e.created_at FROM events e WHERE e.id = o.event_id) AS created_at
    FROM outbox o LIMIT $1) counted
"""
RETRY_REFUSED = """
UPDATE outbox SET leased_until = clock_timestamp()
WHERE event_id = ANY (ARRAY(
    SELECT event_id FROM outbox WHERE leased_until > clock_timestamp() + make_interval(secs => $2)
    LIMIT $1 FOR UPDATE SKIP LOCKED))
"""


class OutboxOverview:
    """The outbox as the operators' API reads it, and tries what was refused."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def state(self) -> OutboxState:
        """Return what waits, counted up to ten thousand events."""
        async with self._database.connection() as connection:
            return _state(await connection.fetchrow(READ_STATE, COUNTED_AT_MOST, LEASE_SECONDS))

    async def retry(self, act: Act) -> int:
        """Make up to ten thousand refused events due at once; return how many."""
        async with self._database.transaction() as connection:
            retried = affected(await connection.execute(RETRY_REFUSED, COUNTED_AT_MOST, LEASE_SECONDS))
            await operator_log.record(connection, act, "outbox.retried", "outbox", {"retried": retried}, self._clock())
        return retried


_state: Final = Rows(OutboxState)
