"""Turns the pending deliveries of a disabled endpoint into dead letters: at once, in chunks of one transaction each.

The first chunk belongs to the transaction that disables the endpoint. The endpoint's row says whether more are to
follow, so if a process dies in between, the next one continues.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.webhooks.domain.deliveries import ENDPOINT_DISABLED
from services.webhooks.domain.event_types import is_operational
from services.webhooks.domain.names import message_name
from services.webhooks.store import closing
from services.webhooks.store.closing import Closing, GivenUp
from services.webhooks.usecases.endpoint_events import HandOver
from shared.clock import Clock
from shared.database import outbox
from shared.database.pool import Connection, Database
from shared.database.purging import in_batches
from shared.events.envelope import OutboxEvent
from shared.events.webhooks import WebhookDeliveryDeadV1
from shared.ids import new_id
from shared.known_ids import FIRST_ID
from shared.metrics import WEBHOOKS_DEAD
from shared.periodic import for_each

CLOSE_SECONDS: Final = 1.0
GIVEN_UP_AT_ONCE: Final = 500
_ENDPOINTS_AT_ONCE: Final = 500


async def give_up_waiting(
    connection: Connection, endpoint_id: uuid.UUID, now: datetime
) -> tuple[int, list[OutboxEvent]]:
    """Give up a chunk of the waiting deliveries of a disabled endpoint; return their number and the events to emit."""
    endpoint = await closing.lock(connection, endpoint_id)
    if endpoint is None:
        return 0, []
    given_up = await closing.give_up(connection, endpoint_id, ENDPOINT_DISABLED, now, GIVEN_UP_AT_ONCE)
    WEBHOOKS_DEAD.inc(len(given_up))
    return len(given_up), _dead_events(endpoint, given_up, now)


@dataclass(frozen=True, slots=True)
class CloseEndpoints:
    """Continues where the transaction that disabled an endpoint stopped; any number of processes may run it."""

    database: Database
    clock: Clock
    hand_over: HandOver

    async def __call__(self) -> None:
        """Give up all pending deliveries of disabled endpoints."""
        after: uuid.UUID | None = FIRST_ID
        while after is not None:
            async with self.database.connection() as connection:
                found, after = await closing.find(connection, after, _ENDPOINTS_AT_ONCE)
            await for_each(found, self._close)

    async def _close(self, endpoint_id: uuid.UUID) -> None:
        async def chunk() -> int:
            async with self.database.transaction() as connection:
                count, events = await give_up_waiting(connection, endpoint_id, self.clock())
                await outbox.insert_events(connection, events)
            self.hand_over(events)
            return count

        await in_batches(chunk, GIVEN_UP_AT_ONCE)


def _dead_events(endpoint: Closing, given_up: Sequence[GivenUp], now: datetime) -> list[OutboxEvent]:
    return [
        WebhookDeliveryDeadV1(
            program_id=endpoint.program_id,
            partner_id=endpoint.partner_id,
            delivery_id=each.delivery_id,
            endpoint_id=endpoint.id,
            message_id=message_name(each.message_id),
            event_type=each.event_type,
            reason=ENDPOINT_DISABLED,
            attempts=each.attempts_made,
            last_status=each.last_status,
            died_at=now,
        ).to_event(new_id(), now)
        for each in given_up
        if not is_operational(each.event_type)
    ]
