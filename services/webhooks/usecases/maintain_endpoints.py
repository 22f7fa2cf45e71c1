"""Periodic maintenance: pauses end, abandoned listeners are archived, old rows are removed."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from services.webhooks.domain.certificates import Within
from services.webhooks.domain.endpoints import Breaker, Census, PauseReason
from services.webhooks.domain.retention import Retention
from services.webhooks.store import endpoints, listeners, queue
from services.webhooks.usecases import endpoint_events, remove_old
from services.webhooks.usecases.close_endpoints import CLOSE_SECONDS, CloseEndpoints
from services.webhooks.usecases.delivery_queue import Renew
from services.webhooks.usecases.endpoint_events import HandOver
from services.webhooks.usecases.remove_old import RemoveMessages, Walk
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Database
from shared.database.purging import BREATH_SECONDS, INTERVAL_SECONDS, Removal, in_batches
from shared.known_ids import FIRST_ID
from shared.metrics import WEBHOOK_BREAKERS, WEBHOOK_CERTIFICATES, WEBHOOK_ENDPOINTS, WEBHOOK_PAUSES
from shared.periodic import Periodic, for_each

TICK_SECONDS: Final = 5.0
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class MaintainEndpoints:
    """Runs in every process; each statement is safe to run in several at once."""

    database: Database
    clock: Clock
    retention: Retention
    renew: Renew
    hand_over: HandOver

    def tasks(self) -> list[Periodic]:
        """Return the periodic tasks."""
        return [
            Periodic("resume_endpoints", TICK_SECONDS, self.resume_endpoints),
            Periodic("expire_listeners", TICK_SECONDS, self.expire_listeners),
            Periodic("cancel_archived", TICK_SECONDS, self.cancel_archived),
            Periodic("close_endpoints", CLOSE_SECONDS, CloseEndpoints(self.database, self.clock, self.hand_over)),
            Periodic("count_endpoints", TICK_SECONDS, self.count_endpoints),
            *(Periodic(f"purge_{each.table}", INTERVAL_SECONDS, each) for each in self.removals()),
        ]

    def removals(self) -> list[Removal | Walk | RemoveMessages]:
        """Return the removals of old rows, table by table."""
        return remove_old.removals(self.database, self.clock, self.retention)

    async def resume_endpoints(self) -> bool:
        """Resume endpoints whose pause has ended; return whether there may be more."""
        now = self.clock()
        async with self.database.transaction() as connection:
            resumed = await endpoints.resume_paused(connection, now, _BATCH)
            events = [endpoint_events.resumed_event(each, now) for each in resumed]
            await outbox.insert_events(connection, events)
        self.hand_over(events)
        for each in resumed:
            self.renew(each.id)
        return len(resumed) == _BATCH

    async def expire_listeners(self) -> None:
        """Archive listeners that are no longer polled."""
        now = self.clock()
        async with self.database.connection() as connection:
            found = await listeners.list_stale(connection, now)
        await for_each(found, lambda listener_id: self._expire_listener(listener_id, now))

    async def cancel_archived(self) -> None:
        """Cancel deliveries still waiting for endpoints that had too many for the transaction that archived them."""
        after: uuid.UUID | None = FIRST_ID
        while after is not None:
            async with self.database.connection() as connection:
                found, after = await queue.find_archived(connection, after, _BATCH)
            await for_each(found, self._cancel)

    async def count_endpoints(self) -> None:
        """Count the endpoints by whether they can be sent to, and why not."""
        async with self.database.connection() as connection:
            census = await endpoints.count_live(connection, self.clock())
        _show(census)

    async def _expire_listener(self, listener_id: uuid.UUID, now: datetime) -> None:
        async with self.database.transaction() as connection:
            if await listeners.lock_stale(connection, listener_id, now):
                await endpoints.archive(connection, listener_id, now)
                await queue.cancel_waiting(connection, listener_id, now, _BATCH)

    async def _cancel(self, endpoint_id: uuid.UUID) -> None:
        async def cancel() -> int:
            async with self.database.transaction() as connection:
                return await queue.cancel_waiting(connection, endpoint_id, self.clock(), _BATCH)

        await in_batches(cancel, _BATCH, BREATH_SECONDS)


def _show(census: Census) -> None:
    # Every label every time, so that a state without endpoints goes back to 0.
    for state in ("active", "resting", "paused", "disabled"):
        WEBHOOK_ENDPOINTS.labels(state).set(census.states[state])
    for breaker in get_args(Breaker):
        WEBHOOK_BREAKERS.labels(breaker).set(census.breakers[breaker])
    for within in get_args(Within):
        WEBHOOK_CERTIFICATES.labels(within).set(census.certificates[within])
    for reason in get_args(PauseReason):
        WEBHOOK_PAUSES.labels(reason).set(census.pauses[reason])
