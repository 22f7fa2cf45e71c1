"""Periodic maintenance: pauses end, deserted listeners go, old things are removed."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

from services.webhooks.domain.endpoints import Breaker, Census, PauseReason
from services.webhooks.domain.retention import Retention
from services.webhooks.store import endpoints, listeners, queue, retention
from services.webhooks.usecases import tell_of_endpoints
from services.webhooks.usecases.change_endpoint import EndpointChanged
from services.webhooks.usecases.tell_of_endpoints import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.database.purging import INTERVAL_SECONDS, in_batches
from shared.ids import earliest_id
from shared.metrics import WEBHOOK_BREAKERS, WEBHOOK_ENDPOINTS, WEBHOOK_PAUSES, WEBHOOKS_PURGED
from shared.periodic import Periodic, for_each

TICK_SECONDS: Final = 5.0
_BATCH: Final = 500
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
# Between two batches the deliveries have the machine to themselves.
_BREATH_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class KeepHouse:
    """Runs in every process; each statement is safe to run in several at once."""

    database: Database
    clock: Clock
    kept: Retention
    changed: EndpointChanged
    hand_over: HandOver

    def tasks(self) -> list[Periodic]:
        """Return what is to be done again and again."""
        return [
            Periodic("resume_endpoints", TICK_SECONDS, self.resume_endpoints),
            Periodic("expire_listeners", TICK_SECONDS, self.expire_listeners),
            Periodic("count_endpoints", TICK_SECONDS, self.count_endpoints),
            Periodic("purge_messages", INTERVAL_SECONDS, self.purge_messages),
            Periodic("purge_custom_messages", INTERVAL_SECONDS, self.purge_custom_messages),
            Periodic("purge_attempts", INTERVAL_SECONDS, self.purge_attempts),
            Periodic("purge_deliveries", INTERVAL_SECONDS, self.purge_deliveries),
        ]

    async def resume_endpoints(self) -> None:
        """Resume what was paused until now."""
        now = self.clock()
        async with self.database.transaction() as connection:
            resumed = await endpoints.resume_paused(connection, now)
            events = [tell_of_endpoints.resumed(each, now) for each in resumed]
            await outbox.insert_events(connection, events)
        self.hand_over(events)
        for each in resumed:
            self.changed(each.id)

    async def expire_listeners(self) -> None:
        """Archive listeners that nobody asks for any more."""
        now = self.clock()
        async with self.database.connection() as connection:
            found = await listeners.list_stale(connection, now)
        await for_each(found, lambda listener_id: self._expire_listener(listener_id, now))

    async def count_endpoints(self) -> None:
        """Count the endpoints by what may be sent to them."""
        async with self.database.connection() as connection:
            census = await endpoints.count_live(connection, self.clock())
        _show(census)

    async def purge_messages(self) -> None:
        """Remove messages that are older than they have to be kept, program by program."""
        before = self.clock() - self.kept.payloads
        async with self.database.connection() as connection:
            programs = await retention.programs(connection)
        await for_each(programs, lambda program_id: self._purge_messages(program_id, before))

    async def purge_custom_messages(self) -> None:
        """Remove messages that programs have published and wanted kept until now."""
        now = self.clock()
        await self._purge("messages", lambda c: retention.purge_custom(c, now, _BATCH))

    async def purge_attempts(self) -> None:
        """Remove attempts that are older than they have to be kept."""
        before = self.clock() - self.kept.attempts
        bound = earliest_id(before)
        await self._purge("attempts", lambda c: retention.purge_attempts(c, bound, before, _BATCH))

    async def purge_deliveries(self) -> None:
        """Remove deliveries that ended longer ago than they have to be kept."""
        before = self.clock() - self.kept.deliveries
        bound = earliest_id(before)
        await self._purge("deliveries", lambda c: retention.purge_deliveries(c, bound, before, _BATCH))

    async def _expire_listener(self, listener_id: uuid.UUID, now: datetime) -> None:
        async with self.database.transaction() as connection:
            if await listeners.lock_stale(connection, listener_id, now):
                await endpoints.archive(connection, listener_id, now)
                await queue.cancel_waiting(connection, listener_id, now)

    async def _purge_messages(self, program_id: uuid.UUID, before: datetime) -> None:
        since = _EPOCH

        async def remove(connection: Connection) -> int:
            nonlocal since
            removed, since = await retention.purge_messages(connection, program_id, since, before, _BATCH)
            return removed

        await self._purge("messages", remove)

    async def _purge(self, what: str, remove: Callable[[Connection], Awaitable[int]]) -> None:
        async def batch() -> int:
            async with self.database.connection() as connection:
                removed = await remove(connection)
            WEBHOOKS_PURGED.labels(what).inc(removed)
            return removed

        await in_batches(batch, _BATCH, _BREATH_SECONDS)


def _show(census: Census) -> None:
    # Each label each time, so that what there is no more goes back to 0.
    for state in ("active", "resting", "paused", "disabled"):
        WEBHOOK_ENDPOINTS.labels(state).set(census.states[state])
    for breaker in get_args(Breaker):
        WEBHOOK_BREAKERS.labels(breaker).set(census.breakers[breaker])
    for reason in get_args(PauseReason):
        WEBHOOK_PAUSES.labels(reason).set(census.pauses[reason])
