"""Takes due deliveries over from the table, and gives back what is not going to be sent."""

import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from services.webhooks.domain.deliveries import LEASE_SECONDS, Backlog, HeldDelivery
from services.webhooks.domain.pacing import BEGIN_SECONDS
from services.webhooks.domain.schedule import LIFETIME
from services.webhooks.store import claims, queue
from shared.clock import Clock
from shared.database.pool import Database
from shared.ids import earliest_id

# What may be leased of one endpoint in all processes, as a multiple of its cap; the most of it waits its turn.
_AHEAD: Final = 10
# Who reads the metric knows by then that there is a backlog; the age of the oldest tells the rest.
COUNTED_DUE: Final = 10_000
_LINES_AT_ONCE: Final = 500
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class ClaimDeliveries:
    """Leases due work to this process, fairly over endpoints."""

    database: Database
    clock: Clock

    async def __call__(
        self,
        limit: int,
        limit_bytes: int,
        rooms: Iterable[tuple[uuid.UUID, int]],
        room: int,
        begin_within: float = BEGIN_SECONDS,
    ) -> list[HeldDelivery]:
        """Return up to `limit` deliveries, and no more once their bodies come to `limit_bytes`.

        `rooms` says how many of single endpoints, `room` how many of any other; what has a limit per second has to be
        sent within `begin_within` seconds.
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


@dataclass(frozen=True, slots=True)
class ClaimExpired:
    """Leases deliveries whose time is over, also those of endpoints that are paused or rest."""

    database: Database
    clock: Clock

    async def __call__(self, limit: int) -> list[HeldDelivery]:
        """Return up to `limit` of them; they carry no body, for they are not sent any more."""
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


@dataclass(frozen=True, slots=True)
class ReleaseDeliveries:
    """Gives leased deliveries back."""

    database: Database
    clock: Clock

    async def __call__(self, held: Sequence[HeldDelivery]) -> None:
        """Make deliveries due for any process: at once, or in their turn where they have an order."""
        async with self.database.transaction() as connection:
            now = self.clock()
            await queue.release(connection, held, now)
            await queue.release_heads(connection, queue.lines_of(held), now)


@dataclass(frozen=True, slots=True)
class ReleaseHeads:
    """Calls up what is first of its line and was not called up, because what stood before it went some other way."""

    database: Database
    clock: Clock

    async def __call__(self) -> bool:
        """Say whether anything became due."""
        has_released = False
        after: tuple[uuid.UUID, str] | None = (uuid.UUID(int=0), "")
        while after is not None:
            async with self.database.connection() as connection:
                lines, after = await queue.waiting_lines(connection, after, _LINES_AT_ONCE)
            if lines:
                async with self.database.transaction() as connection:
                    has_released |= await queue.release_heads(connection, lines, self.clock()) > 0
        return has_released


@dataclass(frozen=True, slots=True)
class MeasureBacklog:
    """Says how far behind the deliveries are."""

    database: Database
    clock: Clock

    async def __call__(self) -> Backlog:
        """Return for how long the oldest due delivery of an active endpoint has waited, and how many are due."""
        async with self.database.connection() as connection:
            return await queue.measure(connection, self.clock(), COUNTED_DUE)
