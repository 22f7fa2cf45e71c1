"""Payments of statements: entered once, and taken back once."""

import uuid
from datetime import datetime

from services.redemption.domain.commission_statements import Payment
from shared.database.pool import Connection, affected
from shared.database.rows import Statement, Values

# Nothing if another payment counts by now.
INSERT_PAYMENT = Statement("""
INSERT INTO commission_payments (id, statement_id, amount_minor, currency, reference, paid_at, actor,
                                 created_at)
VALUES ($id, $statement_id, $amount_minor, $currency, $reference, $paid_at, $actor, $created_at)
ON CONFLICT (statement_id) WHERE taken_back_at IS NULL DO NOTHING
""")
TAKE_BACK = Statement("""
UPDATE commission_payments SET taken_back_at = $now, taken_back_by = $actor, reason = $reason
WHERE statement_id = $statement_id AND taken_back_at IS NULL
""")
LOCK_STATEMENT = "SELECT FROM commission_statements WHERE id = $1 FOR UPDATE"


async def lock_statement(connection: Connection, statement_id: uuid.UUID) -> None:
    """Lock a statement against other payments of it."""
    await connection.execute(LOCK_STATEMENT, statement_id)


async def insert_payment(connection: Connection, statement_id: uuid.UUID, payment: Payment) -> bool:
    """Enter a payment; False if the statement has one."""
    values = _PAYMENT.of(payment)
    made = await connection.execute(*INSERT_PAYMENT(statement_id=statement_id, **values))
    return affected(made) == 1


async def take_back(connection: Connection, statement_id: uuid.UUID, actor: str, reason: str, now: datetime) -> bool:
    """Take the payment of a statement back; False if it has none."""
    taken = {"statement_id": statement_id, "actor": actor, "reason": reason, "now": now}
    return affected(await connection.execute(*TAKE_BACK(**taken))) == 1


_PAYMENT = Values(INSERT_PAYMENT.names, Payment, "statement_id")
