"""Removes old rows: orders without a redemption, reservations, refusals, failed guesses, and customers' jobs."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.redemption.domain.customer_jobs import JOBS_KEPT
from services.redemption.domain.guesses import WINDOW
from services.redemption.store import customer_jobs, redemptions, retention
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.purging import BREATH_SECONDS, Removal, in_batches
from shared.metrics import ROWS_REMOVED

# A purchase may be reported a day late, and its reservation still counts for it.
_RESERVATIONS_KEPT: Final = timedelta(days=2)
# Each is locked while it is checked.
_ORDERS_AT_ONCE: Final = 200
_RESERVATIONS_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class ForgetOrders:
    """Removes orders without a redemption, with their refunds, after a long time without events.

    Until then an order's cancellation applies to purchases that arrive later. One that has a redemption by then
    stays for good, and is not checked again.
    """

    database: Database
    clock: Clock
    kept: timedelta
    table: str = "orders"

    async def __call__(self) -> int:
        """Check old orders, a chunk per transaction, and return their number."""
        before = self.clock() - self.kept

        async def chunk() -> int:
            async with self.database.transaction() as connection:
                forgotten = await retention.forget_orders(connection, before, _ORDERS_AT_ONCE)
            ROWS_REMOVED.labels("orders").inc(forgotten.orders)
            ROWS_REMOVED.labels("refunds").inc(forgotten.refunds)
            return forgotten.judged

        return await in_batches(chunk, _ORDERS_AT_ONCE, BREATH_SECONDS)


def removals(
    database: Database, clock: Clock, inbox_kept: timedelta, rejections_kept: timedelta
) -> list[Removal | ForgetOrders]:
    """Return the purges, table by table; tombstones are kept as long as the inbox."""
    return [
        ForgetOrders(database, clock, inbox_kept),
        Removal("holds", database, clock, _RESERVATIONS_KEPT, redemptions.purge_reservations, _RESERVATIONS_AT_ONCE),
        Removal("rejections", database, clock, rejections_kept, retention.purge_rejections),
        Removal("guesses", database, clock, WINDOW, retention.purge_guesses),
        Removal("customer_events", database, clock, JOBS_KEPT, customer_jobs.purge_events),
        Removal("customer_jobs", database, clock, JOBS_KEPT, customer_jobs.purge_jobs),
    ]
