"""Shows statements of commissions and their lines, enters their payments, and takes these back."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.redemption.domain.commission_statements import (
    CommissionStatement,
    Line,
    LinePage,
    LinePlace,
    Payment,
    StatementFilter,
    StatementPage,
    StatementPlace,
)
from services.redemption.domain.errors import Missing, OtherCurrency, PaidAlready, StatementOpen, Unpaid
from services.redemption.store.commission_payments import insert_payment, lock_statement, take_back
from services.redemption.store.commission_statements import (
    list_lines,
    list_payments,
    list_statements,
    read_statement,
)
from shared.clock import Clock
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection, Database
from shared.idempotency import Answer, Once

_LINES_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class ShownStatement:
    """A statement with its payments, the newest first; `is_new` if it was paid just now."""

    statement: CommissionStatement
    payments: Sequence[Payment]
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class ReadStatements:
    """Reads the statements of a program, or of one of its partners."""

    database: Database
    clock: Clock

    async def __call__(self, wanted: StatementFilter, last: StatementPlace | None, limit: int) -> StatementPage:
        """Return up to `limit` statements after the last one, the newest month first."""
        async with self.database.connection() as connection:
            return await list_statements(connection, wanted, last, limit, self.clock())

    async def one(self, wanted: StatementFilter, statement_id: uuid.UUID) -> ShownStatement:
        """Return one statement; raises Missing."""
        async with self.database.connection() as connection:
            return await _shown(connection, wanted, statement_id, self.clock())

    async def lines(
        self, wanted: StatementFilter, statement_id: uuid.UUID, last: LinePlace | None, limit: int
    ) -> LinePage:
        """Return up to `limit` lines of a statement after the last one, the earliest first; raises Missing."""
        async with self.database.connection() as connection:
            shown = await _shown(connection, wanted, statement_id, self.clock())
            return await list_lines(connection, wanted.program_id, shown.statement, last, limit)

    async def all_lines(self, program_id: uuid.UUID, statement: CommissionStatement) -> AsyncIterator[Sequence[Line]]:
        """Yield all lines of a statement, page by page."""
        last: LinePlace | None = None
        while True:
            async with self.database.connection() as connection:
                page = await list_lines(connection, program_id, statement, last, _LINES_AT_ONCE)
            if page.lines:
                yield page.lines
            last = page.next_after
            if last is None:
                return


@dataclass(frozen=True, slots=True)
class PayStatement:
    """Enters the payment of a closed statement, once, and takes it back."""

    answer_once: AnswerOnce

    async def pay(
        self, wanted: StatementFilter, statement_id: uuid.UUID, payment: Payment, once: Once[ShownStatement]
    ) -> Answer:
        """Enter a payment; a repeat changes nothing.

        Raises Missing, StatementOpen, OtherCurrency and PaidAlready.
        """

        async def work(connection: Connection, now: datetime) -> ShownStatement:
            await lock_statement(connection, statement_id)
            shown = await _shown(connection, wanted, statement_id, now)
            if shown.statement.closed_at is None:
                raise StatementOpen
            if payment.currency != shown.statement.currency:
                raise OtherCurrency(shown.statement.currency)
            is_new = await insert_payment(connection, statement_id, payment)
            shown = await _shown(connection, wanted, statement_id, now)
            if not is_new and not _is_repeat(payment, shown.payments[0]):
                raise PaidAlready(shown.payments[0].reference)
            return ShownStatement(shown.statement, shown.payments, is_new)

        return await self.answer_once(once, work)

    async def take_back(
        self, wanted: StatementFilter, statement_id: uuid.UUID, actor: str, reason: str, once: Once[ShownStatement]
    ) -> Answer:
        """Take a payment back; a repeat changes nothing. Raises Missing and Unpaid."""

        async def work(connection: Connection, now: datetime) -> ShownStatement:
            await lock_statement(connection, statement_id)
            await _shown(connection, wanted, statement_id, now)
            await take_back(connection, statement_id, actor, reason, now)
            shown = await _shown(connection, wanted, statement_id, now)
            if not shown.payments:
                raise Unpaid
            return shown

        return await self.answer_once(once, work)


async def _shown(
    connection: Connection, wanted: StatementFilter, statement_id: uuid.UUID, now: datetime
) -> ShownStatement:
    found = await read_statement(connection, wanted, statement_id, now)
    if found is None:
        raise Missing
    return ShownStatement(found, await list_payments(connection, statement_id))


def _is_repeat(payment: Payment, known: Payment) -> bool:
    return (payment.amount_minor, payment.reference) == (known.amount_minor, known.reference)
