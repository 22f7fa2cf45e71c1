"""Shows reservations and ends them; creating one is a decision like a redemption."""

import uuid
from dataclasses import dataclass

from services.redemption.domain.books import Reservation
from services.redemption.domain.errors import Missing
from services.redemption.store import redemptions
from shared.clock import Clock
from shared.database.pool import Database


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
    """Ends a reservation and releases its holds."""

    database: Database

    async def __call__(self, program_id: uuid.UUID, reservation_id: uuid.UUID) -> None:
        """End it; raises Missing."""
        async with self.database.transaction() as connection:
            if not await redemptions.release_reservation(connection, program_id, reservation_id):
                raise Missing
