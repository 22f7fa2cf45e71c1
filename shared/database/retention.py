"""What every service stores for a limited time: events, its inbox, stored answers, exports, operators' actions."""

from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.database.customer_parts import purge_lines, purge_parts
from shared.database.idempotency import KEPT_FOR, purge_answers
from shared.database.inbox import purge_inbox
from shared.database.operator_log import purge_entries
from shared.database.outbox import purge_events
from shared.database.pool import Database
from shared.database.purging import Removal

# How long a customer's export can be downloaded. Parts outlive their jobs, or they would be repeated.
CUSTOMER_LINES_KEPT: Final = timedelta(days=7)
CUSTOMER_PARTS_KEPT: Final = timedelta(days=731)
OPERATOR_LOG_KEPT: Final = timedelta(days=730)


def removals(database: Database, clock: Clock, events_kept: timedelta, inbox_kept: timedelta) -> list[Removal]:
    """Return the purges; the inbox must be kept longer than any history whose events it receives."""
    return [
        Removal("events", database, clock, events_kept, purge_events),
        Removal("inbox", database, clock, inbox_kept, purge_inbox),
        Removal("idempotency_keys", database, clock, KEPT_FOR, purge_answers),
        Removal("customer_lines", database, clock, CUSTOMER_LINES_KEPT, purge_lines),
        Removal("customer_parts", database, clock, CUSTOMER_PARTS_KEPT, purge_parts),
        Removal("operator_log", database, clock, OPERATOR_LOG_KEPT, purge_entries),
    ]
