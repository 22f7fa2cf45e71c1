"""The queue of deliveries: what a dispatcher claims, reads, gives back and settles, and what it is asked for in turn.

The dispatcher depends on `DeliveryQueue`; the other use cases know the dispatcher as a `Courier` and no better.
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
from services.webhooks.usecases.tell_of_endpoints import HandOver
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.sealing import Seal
from shared.ids import earliest_id

# What may be leased of one endpoint in all processes, as a multiple of its cap; most of it waits its turn.
_AHEAD: Final = 10
# Beyond this the metric only says that there is a backlog; the age of the oldest tells the rest.
COUNTED_DUE: Final = 10_000
_LINES_AT_ONCE: Final = 500
_MILLISECOND: Final = timedelta(milliseconds=1)

Wake = Callable[[], None]
"""Tells the courier that deliveries are due in the table; never blocks."""

Renew = Callable[[uuid.UUID], None]
"""Tells the courier, right after the commit, that an endpoint has changed: it sends nothing to it before it has read
the endpoint again. Never blocks."""


class Courier(Protocol):
    """Whoever sends deliveries, as the intake sees it: it takes some over without a claim."""

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Keep room for one delivery; False if the endpoint or the process has none, or sends must not go out now."""

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Give reserved room back."""

    def accept(self, held: Sequence[HeldDelivery]) -> None:
        """Send deliveries for which room was reserved."""

    async def breathe(self) -> None:
        """Wait a moment, but not long, if there is more than enough to send already."""

    def wake(self) -> None:
        """Learn that deliveries are due in the table."""


@dataclass(frozen=True, slots=True)
class DeliveryQueue:
    """The live work of all processes; each delivery that is claimed is fenced by the token of its lease.

    Results are written by `batches`, the pool with kept plans. `note_secret` hears which endpoints lack a secret that
    can be opened.
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
        """Lease up to `limit` due deliveries, fairly over endpoints, and no more once they have `limit_bytes`.

        `rooms` has the room of some endpoints, `room` is that of any other; what has a limit per second has to be sent
        within `begin_within` seconds.
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
        """Lease up to `limit` deliveries whose time is over, without bodies, also of endpoints that are not sent to."""
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
        """Return what is needed to send to endpoints, archived ones too."""
        async with self.database.connection() as connection:
            found = await targets.find(connection, self.seal, endpoint_ids)
        for endpoint_id, target in found.items():
            if not target.is_archived:
                self.note_secret(endpoint_id, target.missing)
        return found

    async def states(self, endpoint_ids: Sequence[uuid.UUID]) -> list[EndpointState]:
        """Return by what a process notices that another has changed endpoints."""
        async with self.database.connection() as connection:
            return await endpoints.states(connection, endpoint_ids)

    async def give_back(self, held: Sequence[HeldDelivery]) -> None:
        """Make deliveries due for any process: at once, or in their turn where they have an order."""
        async with self.database.transaction() as connection:
            now = self.clock()
            await queue.release(connection, held, now)
            await queue.release_heads(connection, queue.lines_of(held), now)

    async def settle(self, settlements: Sequence[Settlement]) -> bool:
        """Write attempts; what another process has taken over is left out. Raises TransientFault.

        Says whether deliveries that waited for these may have become due.
        """
        return await record_results.record(self.batches, self.hand_over, settlements, self.clock())

    async def cancel(self, held: Sequence[HeldDelivery]) -> None:
        """End deliveries of an archived endpoint unsent; they leave no dead letter."""
        await record_results.cancel(self.database, held, self.clock())

    async def give_up(self, held: Sequence[HeldDelivery], reason: str) -> None:
        """End deliveries unsent as dead letters."""
        targets = await self.targets(list({delivery.endpoint_id for delivery in held}))
        await record_results.give_up(self.database, self.hand_over, held, targets, reason, self.clock())

    async def call_up(self) -> bool:
        """Make due what is first of its line and was not called up, because what stood before it went some other way.

        Says whether there was any.
        """
        has_called = False
        after: tuple[uuid.UUID, str] | None = (uuid.UUID(int=0), "")
        while after is not None:
            async with self.database.connection() as connection:
                lines, after = await queue.waiting_lines(connection, after, _LINES_AT_ONCE)
            if lines:
                async with self.database.transaction() as connection:
                    has_called |= await queue.release_heads(connection, lines, self.clock()) > 0
        return has_called

    async def measure(self) -> Backlog:
        """Return for how long the oldest due delivery of an active endpoint has waited, and how many are due."""
        async with self.database.connection() as connection:
            return await queue.measure(connection, self.clock(), COUNTED_DUE)
