"""The queue of deliveries: the port through which a dispatcher claims, reads, returns and settles deliveries.

The dispatcher depends on `DeliveryQueue`; the other use cases know the dispatcher only as a `Courier`.
"""

import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final, Protocol

from services.webhooks.domain.deliveries import LEASE_SECONDS, Backlog, HeldDelivery, Settlement, Target
from services.webhooks.domain.endpoints import EndpointState
from services.webhooks.domain.pacing import BEGIN_SECONDS
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.domain.secrets import SecretKind
from services.webhooks.store import claims, endpoints, queue, targets
from services.webhooks.usecases import record_results
from services.webhooks.usecases.endpoint_events import HandOver
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.ids import earliest_id
from shared.known_ids import FIRST_ID

# How much may be leased for one endpoint by all processes, as a multiple of its cap; most of it waits for its turn.
_AHEAD: Final = 10
# Beyond this the metric only shows that there is a backlog; the age of the oldest delivery shows the rest.
COUNTED_DUE: Final = 10_000
_LINES_AT_ONCE: Final = 500
_MILLISECOND: Final = timedelta(milliseconds=1)

Wake = Callable[[], None]
"""Notifies the courier that deliveries are due in the table; never blocks."""

Renew = Callable[[uuid.UUID], None]
"""Notifies the courier, right after the commit, that an endpoint has changed: it sends nothing before it has read the
endpoint again. Never blocks."""


class Courier(Protocol):
    """Sends deliveries, as the intake sees it: it accepts some without a claim."""

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Reserve room for one delivery; False if the endpoint or the process has none, or nothing may be sent now."""

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Release reserved room."""

    def accept(self, held: Sequence[HeldDelivery]) -> None:
        """Send deliveries for which room was reserved."""

    async def breathe(self) -> None:
        """Wait briefly if there is already more than enough to send."""

    def wake(self) -> None:
        """Notice that deliveries are due in the table."""


@dataclass(frozen=True, slots=True)
class DeliveryQueue:
    """The live work of all processes; each claimed delivery is fenced by the token of its lease.

    Results are written through `batches`, the pool with prepared plans. `note_secret` is called with the endpoints
    whose secrets cannot be decrypted.
    """

    database: Database
    batches: Database
    clock: Clock
    seal: Seal
    note_secret: Callable[[uuid.UUID, SecretKind | None], None]
    hand_over: HandOver

    async def claim(
        self,
        limit: int,
        limit_bytes: int,
        rooms: Iterable[tuple[uuid.UUID, int]],
        room: int,
        begin_within: float = BEGIN_SECONDS,
    ) -> list[HeldDelivery]:
        """Lease up to `limit` due deliveries, fairly across endpoints, and no more once they have `limit_bytes`.

        `rooms` has the room of some endpoints, `room` is that of any other. Deliveries of an endpoint with a limit per
        second must be sent within `begin_within` seconds.
        """
        now = self.clock()
        async with self.database.connection() as connection:
            return await claims.claim(
                connection,
                now=now,
                limit=limit,
                limit_bytes=limit_bytes,
                leased_until=now + timedelta(seconds=LEASE_SECONDS),
                token=secrets.randbits(62),
                start=uuid.UUID(bytes=secrets.token_bytes(16)),
                rooms=rooms,
                room=room,
                ahead=_AHEAD,
                asked=monotonic(),
                begin_within=begin_within,
            )

    async def claim_expired(self, limit: int) -> list[HeldDelivery]:
        """Lease up to `limit` deliveries whose time is over, without bodies, even if their endpoint is not sent to."""
        now = self.clock()
        async with self.database.connection() as connection:
            return await claims.claim_expired(
                connection,
                now=now,
                limit=limit,
                leased_until=now + timedelta(seconds=LEASE_SECONDS),
                token=secrets.randbits(62),
                bound=earliest_id(now - LIFETIME + _MILLISECOND),
                lease_ends=monotonic() + LEASE_SECONDS,
            )

    async def targets(self, endpoint_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Target]:
        """Return what is needed to send to endpoints, including archived ones."""
        async with self.database.connection() as connection:
            found = await targets.find(connection, self.seal, endpoint_ids)
        for endpoint_id, target in found.items():
            if not target.is_archived:
                self.note_secret(endpoint_id, target.missing)
        return found

    async def states(self, endpoint_ids: Sequence[uuid.UUID]) -> list[EndpointState]:
        """Return the state by which a process notices that another one has changed endpoints."""
        async with self.database.connection() as connection:
            return await endpoints.states(connection, endpoint_ids)

    async def give_back(self, held: Sequence[HeldDelivery]) -> None:
        """Make deliveries due for any process: at once, or in their turn if they have an order."""
        async with self.database.transaction() as connection:
            now = self.clock()
            await queue.release(connection, held, now)
            await queue.release_heads(connection, queue.lines_of(held), now)

    async def settle(self, settlements: Sequence[Settlement]) -> bool:
        """Write attempts, except those taken over by another process. Raises TransientFault.

        Returns whether deliveries that waited for these may have become due.
        """
        return await record_results.record(self.batches, self.hand_over, settlements, self.clock())

    async def cancel(self, held: Sequence[HeldDelivery]) -> None:
        """Cancel unsent deliveries of an archived endpoint; they leave no dead letter."""
        await record_results.cancel(self.database, held, self.clock())

    async def give_up(self, held: Sequence[HeldDelivery], reason: str) -> None:
        """End unsent deliveries as dead letters."""
        targets = await self.targets(list({delivery.endpoint_id for delivery in held}))
        await record_results.give_up(self.database, self.hand_over, held, targets, reason, self.clock())

    async def call_up(self) -> bool:
        """Make the first delivery of a line due if it was not, because the one before it left the queue in another way.

        Returns whether there was any.
        """
        has_called = False
        after: tuple[uuid.UUID, str] | None = (FIRST_ID, "")
        while after is not None:
            async with self.database.connection() as connection:
                lines, after = await queue.waiting_lines(connection, after, _LINES_AT_ONCE)
            if lines:
                async with self.database.transaction() as connection:
                    has_called |= await queue.release_heads(connection, lines, self.clock()) > 0
        return has_called

    async def measure(self) -> Backlog:
        """Return how long the oldest due delivery of an active endpoint has waited, and how many are due."""
        async with self.database.connection() as connection:
            return await queue.measure(connection, self.clock(), COUNTED_DUE)
