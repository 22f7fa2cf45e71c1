"""Handles a single delivery: sends it manually, cancels it, or redacts a response.

A manual attempt sends the same message under the same id, signed with the keys in effect now. It ignores the status and
the health of the endpoint and changes neither. A failure leaves the delivery as it was, a success completes it.
"""

import secrets
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.webhooks.domain.endpoints import Owner
from services.webhooks.domain.errors import (
    ContentGone,
    DeliveryMissing,
    DeliveryNotPending,
    DeliveryUnderWay,
    SecretUnreadable,
)
from services.webhooks.domain.shown_deliveries import RecordedAttempt
from services.webhooks.store import resends, targets
from services.webhooks.store.resends import Lease
from services.webhooks.usecases.send_test import Post
from services.webhooks.usecases.take_turns import TakeTurn
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS

# Longer than any POST: a process that has not come back by then has died, and the delivery is due again.
_LEASE: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class HandleDelivery:
    """Sends or cancels one delivery on request."""

    database: Database
    clock: Clock
    seal: Seal
    post: Post
    take_turn: TakeTurn

    async def resend(self, owner: Owner, delivery_id: uuid.UUID) -> RecordedAttempt:
        """Send it now and return the attempt.

        Raises DeliveryMissing, DeliveryUnderWay, ContentGone, SecretUnreadable or RateLimitReached.
        """
        async with self.database.connection() as connection:
            endpoint_id = await resends.endpoint_of(connection, owner, delivery_id)
        if endpoint_id is None:
            raise DeliveryMissing
        await self.take_turn(endpoint_id)
        now = self.clock()
        held: Lease | None = None
        async with self.database.transaction() as connection:
            found = await resends.lock(connection, owner, delivery_id)
            if found is None:
                raise DeliveryMissing
            if found.body is None:
                raise ContentGone
            if found.status == "pending":
                held = await resends.lease(connection, delivery_id, secrets.randbits(62), now + _LEASE, now)
                if held is None:
                    raise DeliveryUnderWay
            target = await targets.one(connection, self.seal, found.endpoint_id)
            if target.missing is not None:
                raise SecretUnreadable
        outgoing = target.outgoing(found.message_id, found.format, found.body, now, found.sequence, found.traceparent)
        answer = await self.post(outgoing)
        WEBHOOK_SECONDS.observe(answer.duration_ms / 1000)
        WEBHOOK_ATTEMPTS.labels(answer.kind, "manual").inc()
        async with self.database.transaction() as connection:
            number = await resends.record(connection, delivery_id, "manual", answer, held, self.clock())
        return RecordedAttempt(
            delivery_id=delivery_id, message_id=found.message_id, number=number, trigger="manual", answer=answer
        )

    async def cancel(self, owner: Owner, delivery_id: uuid.UUID) -> None:
        """Cancel a pending delivery. Raises DeliveryMissing, DeliveryNotPending or DeliveryUnderWay."""
        async with self.database.transaction() as connection:
            found = await resends.lock(connection, owner, delivery_id)
            if found is None:
                raise DeliveryMissing
            if found.status != "pending":
                raise DeliveryNotPending
            if not await resends.cancel(connection, delivery_id, self.clock()):
                raise DeliveryUnderWay

    async def redact_attempt(self, owner: Owner, delivery_id: uuid.UUID, number: int) -> None:
        """Redact the headers and the response of an attempt; its record and status remain. Raises DeliveryMissing."""
        async with self.database.connection() as connection:
            if not await resends.redact_attempt(connection, owner, delivery_id, number, self.clock()):
                raise DeliveryMissing
