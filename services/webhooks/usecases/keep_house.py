"""What time brings about by itself: pauses end, deserted listeners go, old things are removed, secrets sealed anew."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

from services.webhooks.domain.endpoints import Breaker, Census, PauseReason
from services.webhooks.domain.retention import Retention
from services.webhooks.store import endpoints, listeners, queue, retention, signing_keys
from services.webhooks.usecases import tell_of_endpoints
from services.webhooks.usecases.change_endpoint import EndpointChanged
from services.webhooks.usecases.tell_of_endpoints import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.database.purging import in_batches
from shared.database.sealing import Seal
from shared.faults import TransientFault
from shared.ids import earliest_id
from shared.log import get_logger
from shared.metrics import WEBHOOK_BREAKERS, WEBHOOK_ENDPOINTS, WEBHOOK_PAUSES, WEBHOOKS_PURGED

TICK_SECONDS: Final = 5.0
PURGE_EVERY_TICKS: Final = 120
_BATCH: Final = 500
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
# Between two batches the deliveries have the machine to themselves.
_BREATH_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class KeepHouse:
    """Runs in every process; each statement is safe to run in several at once."""

    database: Database
    clock: Clock
    seal: Seal
    kept: Retention
    changed: EndpointChanged
    hand_over: HandOver

    async def run(self) -> None:
        """Keep house until cancelled."""
        tick = 0
        while True:
            try:
                await self.look_after_endpoints()
                if tick % PURGE_EVERY_TICKS == 0:
                    await self.purge()
                    await self.reseal()
            except TransientFault as fault:
                get_logger().warning("house_not_kept", reason=str(fault))
            tick += 1
            await asyncio.sleep(TICK_SECONDS)

    async def look_after_endpoints(self) -> None:
        """Resume what was paused until now, archive listeners that nobody asks for any more, count the others."""
        now = self.clock()
        async with self.database.transaction() as connection:
            resumed = await endpoints.resume_paused(connection, now)
            deserted = await listeners.stale(connection, now)
            for listener_id in deserted:
                await endpoints.archive(connection, listener_id, now)
                await queue.cancel_waiting(connection, listener_id, now)
            census = await endpoints.count_live(connection, now)
            events = [tell_of_endpoints.resumed(each, now) for each in resumed]
            await outbox.insert_events(connection, events)
        self.hand_over(events)
        _show(census)
        for each in resumed:
            self.changed(each.id)

    async def purge(self) -> None:
        """Remove what is older than it has to be kept."""
        now = self.clock()
        payloads, attempts, deliveries = (
            now - age for age in (self.kept.payloads, self.kept.attempts, self.kept.deliveries)
        )
        await self._purge_messages(payloads)
        await self._purge("messages", lambda c: retention.purge_custom(c, now, _BATCH))
        await self._purge("attempts", lambda c: _attempts(c, attempts))
        await self._purge("deliveries", lambda c: _deliveries(c, deliveries))

    async def reseal(self) -> int:
        """Seal anew what older keys have sealed, and return how much that was."""
        count = 0
        while True:
            async with self.database.transaction() as connection:
                done, unreadable = await signing_keys.reseal(connection, self.seal, _BATCH)
            count += done
            if done == 0:
                break
        if unreadable:
            get_logger().error("secrets_unreadable", count=unreadable, reason="none of the configured keys opens them")
        if count:
            get_logger().info("secrets_resealed", count=count)
        return count

    async def _purge_messages(self, before: datetime) -> None:
        async with self.database.connection() as connection:
            programs = await retention.programs(connection)
        for program_id in programs:
            since = _EPOCH

            async def remove(connection: Connection, program_id: uuid.UUID = program_id) -> int:
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


async def _attempts(connection: Connection, before: datetime) -> int:
    return await retention.purge_attempts(connection, earliest_id(before), before, _BATCH)


async def _deliveries(connection: Connection, before: datetime) -> int:
    return await retention.purge_deliveries(connection, earliest_id(before), before, _BATCH)
