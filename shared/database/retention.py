"""What every service keeps for a while: the events that it emitted, which events it has taken in, and kept answers."""

from datetime import timedelta

from shared.clock import Clock
from shared.database.idempotency import KEPT_FOR, purge_answers
from shared.database.inbox import purge_inbox
from shared.database.outbox import purge_events
from shared.database.pool import Database
from shared.database.purging import Removal


def removals(database: Database, clock: Clock, events_kept: timedelta, inbox_kept: timedelta) -> list[Removal]:
    """Return what removes them; the inbox has to be kept longer than any history whose events come to it."""
    return [
        Removal("events", database, clock, events_kept, purge_events),
        Removal("inbox", database, clock, inbox_kept, purge_inbox),
        Removal("idempotency_keys", database, clock, KEPT_FOR, purge_answers),
    ]
