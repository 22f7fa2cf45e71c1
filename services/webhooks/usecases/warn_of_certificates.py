"""Warns owners 30 days, 7 days and a day before a client certificate expires."""

from dataclasses import dataclass
from typing import Final

from services.webhooks.domain.certificates import next_warning
from services.webhooks.store import certificates
from services.webhooks.usecases import endpoint_events
from services.webhooks.usecases.endpoint_events import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Database
from shared.log import get_logger

INTERVAL_SECONDS: Final = 60.0
_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class WarnOfCertificates:
    """Each warning is an event and a log line, emitted once over all processes."""

    database: Database
    clock: Clock
    hand_over: HandOver

    async def __call__(self) -> bool:
        """Emit the warnings that are due; return whether there may be more."""
        now = self.clock()
        async with self.database.transaction() as connection:
            found = await certificates.lock_expiring(connection, now, _BATCH)
            await certificates.set_warnings(connection, {each.id: next_warning(each.expires_at, now) for each in found})
            events = [endpoint_events.certificate_expiring_event(each, now) for each in found]
            await outbox.insert_events(connection, events)
        self.hand_over(events)
        for each in found:
            facts = {"endpoint_id": str(each.id), "expires_at": each.expires_at.isoformat()}
            get_logger().warning("certificate_warning_emitted", days_left=each.days_left(now), **facts)
        return len(found) == _BATCH
