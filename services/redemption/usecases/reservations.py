"""Shows reservations and ends them; making one is a decision like a redemption."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.redemption.domain.books import Reservation
from services.redemption.domain.errors import Missing
from services.redemption.store import redemptions
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.purging import in_batches

KEPT_FOR: Final = timedelta(days=2)
_PURGED_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class ReadReservation:
    """Shows one reservation, live or expired."""

    database: Database
    clock: Clock

    async def __call__(self, program_id: uuid.UUID, reservation_id: uuid.UUID) -> Reservation:
        """Return it; raises Missing."""
        async with self.database.connection() as connection:
            found = await redemptions.read_reservation(connection, program_id, reservation_id, self.clock())
        if found is None:
            raise Missing
        return found


@dataclass(frozen=True, slots=True)
class ReleaseReservation:
    """Ends a reservation: what it held is free."""

    database: Database

    async def __call__(self, program_id: uuid.UUID, reservation_id: uuid.UUID) -> None:
        """End it; raises Missing."""
        async with self.database.transaction() as connection:
            if not await redemptions.release_reservation(connection, program_id, reservation_id):
                raise Missing


@dataclass(frozen=True, slots=True)
class PurgeReservations:
    """Removes reservations that no purchase can still refer to. Correctness does not need it; the disk does."""

    database: Database
    clock: Clock

    async def __call__(self) -> int:
        """Remove what is old, in short statements, and return how many there were."""
        return await in_batches(self._remove, _PURGED_AT_ONCE)

    async def _remove(self) -> int:
        async with self.database.transaction() as connection:
            return await redemptions.purge_reservations(connection, self.clock() - KEPT_FOR, _PURGED_AT_ONCE)
