"""Removes old rows: ended sessions, forgotten browsers, links, counters of tries, and activity."""

from datetime import timedelta
from typing import Final

from services.dashboard.domain.accounts import DEVICE_LIFE, SESSION_LIFE
from services.dashboard.domain.throttle import WINDOW
from services.dashboard.store import activity, links, sessions, throttle
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.purging import Removal

# As long as the addresses of sign-ins may be kept.
_SESSIONS_KEPT: Final = timedelta(days=90)
_LINKS_KEPT: Final = timedelta(days=30)


def removals(database: Database, clock: Clock, activity_kept: timedelta) -> list[Removal]:
    """Return the purges, table by table."""
    return [
        Removal("sessions", database, clock, max(_SESSIONS_KEPT, SESSION_LIFE), sessions.purge_sessions),
        Removal("devices", database, clock, DEVICE_LIFE, sessions.purge_devices),
        Removal("links", database, clock, _LINKS_KEPT, links.purge_links),
        # Twice the window: a counter may still hold a wait.
        Removal("throttle", database, clock, 2 * WINDOW, throttle.purge_counters),
        Removal("activity", database, clock, activity_kept, activity.purge_activity),
    ]
