"""Books the lines of partners' commissions to statements, and closes the statements of months that are over."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from services.redemption.domain.commission_statements import closes_at, open_month
from services.redemption.store import commission_ledger as ledger
from services.redemption.store.history import read_timezone
from shared.clock import Clock
from shared.database.pool import Connection, Database
from shared.known_ids import FIRST_ID
from shared.log import get_logger

INTERVAL_SECONDS: Final = 30.0
BOOKED_AT_ONCE: Final = 2_000
CLOSED_AT_ONCE: Final = 1_000
WALKED_AT_ONCE: Final = 500
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BookCommissions:
    """Books and closes program by program; each chunk is one transaction, under the lock of its program's ledger.

    A line that is written while its month is closed is not booked yet then, so it is booked to the next month.
    """

    database: Database
    clock: Clock

    async def __call__(self) -> int:
        """Return how many lines were booked."""
        while await self._walk():
            pass
        booked = 0
        program: uuid.UUID | None = FIRST_ID
        while program is not None:
            async with self.database.connection() as connection:
                program = await ledger.next_unbooked(connection, program)
            if program is not None:
                booked += await self.of_program(program)
        due: tuple[datetime, uuid.UUID] | None = (_BEFORE_ALL, FIRST_ID)
        while due is not None:
            async with self.database.connection() as connection:
                due = await ledger.next_due(connection, self.clock(), due)
            if due is not None:
                booked += await self.of_program(due[1])
        return booked

    async def of_program(self, program_id: uuid.UUID) -> int:
        """Book a program's lines, then close its months that are over; return how many lines were booked."""
        booked = 0
        while True:
            async with self.database.transaction() as connection:
                month = await ledger.lock_month(connection, program_id)
                if month is None:
                    return booked
                zone = await read_timezone(connection, program_id)
                count = await ledger.book(connection, program_id, zone, BOOKED_AT_ONCE)
                booked += count
                if count < BOOKED_AT_ONCE and await self._close(connection, program_id, month, zone):
                    return booked

    async def _close(self, connection: Connection, program_id: uuid.UUID, known: date, zone: str) -> bool:
        """Close statements of months that are over, a chunk of them; return whether that was the last."""
        if await ledger.is_walking(connection):
            return True
        now = self.clock()
        # A program that moves west does not open a month again.
        month = max(known, open_month(now, zone))
        closed = await ledger.close(connection, program_id, month, zone=zone, now=now, limit=CLOSED_AT_ONCE)
        is_last = closed < CLOSED_AT_ONCE
        # From the first chunk on nothing is booked to these months; until the last one the program stays due.
        due_at = closes_at(month, zone) if is_last else now
        await ledger.move_month(connection, program_id, month, zone=zone, closes_at=due_at, now=now)
        if closed:
            get_logger().info(
                "commission_statements_closed", program_id=str(program_id), before=month.isoformat(), statements=closed
            )
        return is_last

    async def _walk(self) -> bool:
        """Write lines for the next redemptions from before an upgrade; False if there is nothing to do."""
        async with self.database.transaction() as connection:
            walk = await ledger.lock_walk(connection)
            if walk is None:
                return False
            due_at, last = walk
            found = await ledger.read_walked(connection, last, WALKED_AT_ONCE)
            if found:
                await ledger.account(connection, found, self.clock())
            await ledger.move_walk(connection, due_at, found[-1] if found else None)
        return True
