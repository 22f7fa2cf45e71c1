"""The ledger of partners' commissions: books its lines to statements, and closes months that are over.

The lines are written with the decisions, in `store.outcomes`. Booking those of a program takes the lock of its row.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from services.redemption.domain.purchase import OrderKey
from shared.database.pool import Connection, affected
from shared.database.rows import Rows, Statement

# From program to program along the index, however many lines each has.
NEXT_UNBOOKED = """
SELECT program_id FROM commission_lines WHERE statement_id IS NULL AND program_id > $1
ORDER BY program_id, partner_id LIMIT 1
"""
NEXT_DUE = """
SELECT program_id, closes_at FROM commission_months WHERE closes_at <= $1 AND (closes_at, program_id) > ($2, $3)
ORDER BY closes_at, program_id LIMIT 1
"""
MAKE_MONTH = "INSERT INTO commission_months (program_id) VALUES ($1) ON CONFLICT (program_id) DO NOTHING"
LOCK_MONTH = "SELECT open_month FROM commission_months WHERE program_id = $1 FOR UPDATE SKIP LOCKED"
MOVE_MONTH = Statement("""
UPDATE commission_months SET open_month = $open_month, zone = $zone, closes_at = $closes_at, booked_at = $now
WHERE program_id = $program_id
""")
NOTE_ZONE = "UPDATE commission_months SET zone = $2 WHERE program_id = $1 AND zone <> $2"
BOOK = Statement("""
WITH taken AS MATERIALIZED (
    SELECT place, statement_id, month FROM commission_open_lines
    WHERE program_id = $program_id ORDER BY program_id, partner_id LIMIT $limit
), booked AS (
    UPDATE commission_lines l SET statement_id = t.statement_id
    FROM taken t WHERE l.ctid = t.place
    RETURNING t.statement_id, l.program_id, l.partner_id, t.month, l.currency, l.kind, l.amount_minor
), summed AS (
    INSERT INTO commission_statements AS s (id, program_id, partner_id, month, currency, redemptions,
                                            redemptions_minor, reversals, reversals_minor, adjustments,
                                            adjustments_minor)
    SELECT statement_id, program_id, partner_id, month, currency,
           count(*) FILTER (WHERE kind = 'redemption'),
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'redemption'), 0),
           count(*) FILTER (WHERE kind = 'reversal'),
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'reversal'), 0),
           count(*) FILTER (WHERE kind = 'adjustment'),
           coalesce(sum(amount_minor) FILTER (WHERE kind = 'adjustment'), 0)
    FROM booked GROUP BY statement_id, program_id, partner_id, month, currency
    ON CONFLICT (id) DO UPDATE
    SET redemptions = s.redemptions + excluded.redemptions,
        redemptions_minor = s.redemptions_minor + excluded.redemptions_minor,
        reversals = s.reversals + excluded.reversals,
        reversals_minor = s.reversals_minor + excluded.reversals_minor,
        adjustments = s.adjustments + excluded.adjustments,
        adjustments_minor = s.adjustments_minor + excluded.adjustments_minor
)
SELECT count(*) FROM booked
""")
CLOSE = Statement("""
UPDATE commission_statements SET closed_at = $now, zone = $zone
WHERE id = ANY (ARRAY(
    SELECT id FROM commission_statements WHERE program_id = $program_id AND month < $open_month AND closed_at IS NULL
    ORDER BY program_id, month LIMIT $limit))
""")
IS_WALKING = "SELECT EXISTS (SELECT FROM commission_walks)"
LOCK_WALK = """
SELECT due_at, partner_id, occurred_at, redemption_id FROM commission_walks
WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
MOVE_WALK = Statement("""
UPDATE commission_walks SET partner_id = $partner_id, occurred_at = $occurred_at, redemption_id = $id
WHERE due_at = $due_at
""")
END_WALK = "DELETE FROM commission_walks WHERE due_at = $1"
READ_WALKED = Statement("""
SELECT id, partner_id, occurred_at, program_id, order_ref FROM redemptions
WHERE partner_id IS NOT NULL AND (partner_id, occurred_at, id) > ($partner_id, $occurred_at, $id)
ORDER BY partner_id, occurred_at, id LIMIT $limit
""")
# In the order in which decisions lock them, so that neither waits for the other.
LOCK_ORDERS = """
SELECT FROM orders d, unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE d.program_id = ANY ($1::uuid[]) AND d.order_ref = ANY ($2::text[])
  AND d.program_id = o.program_id AND d.order_ref = o.order_ref
ORDER BY d.program_id, d.order_ref FOR UPDATE OF d
"""
# As `store.outcomes` does for what a decision changes.
ACCOUNT = Statement("""
WITH before AS MATERIALIZED (
    SELECT id, accounted_minor FROM redemptions
    WHERE id = ANY ($ids) AND accounted_minor IS DISTINCT FROM
          CASE WHEN voided_at IS NULL THEN commission_minor ELSE 0 END
), written AS (
    UPDATE redemptions r SET accounted_minor = CASE WHEN r.voided_at IS NULL THEN r.commission_minor ELSE 0 END
    FROM before b WHERE r.id = ANY ($ids) AND r.id = b.id
    RETURNING r.id, r.program_id, r.partner_id, r.occurred_at, r.voided_at, r.commission_minor, r.currency,
              r.accounted_minor
)
INSERT INTO commission_lines (program_id, partner_id, redemption_id, kind, amount_minor, currency, at)
SELECT w.program_id, w.partner_id, w.id, l.kind, l.amount_minor, coalesce(w.currency, ''), l.at
FROM written w JOIN before b ON b.id = w.id CROSS JOIN LATERAL (VALUES
    ('redemption', CASE WHEN b.accounted_minor IS NULL THEN w.commission_minor END, w.occurred_at),
    (CASE WHEN w.voided_at IS NULL THEN 'adjustment' ELSE 'reversal' END,
     w.accounted_minor - coalesce(b.accounted_minor, w.commission_minor),
     coalesce(w.voided_at, $now))) AS l (kind, amount_minor, at)
WHERE l.amount_minor <> 0
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """A redemption that an upgrade has found."""

    id: uuid.UUID
    partner_id: uuid.UUID
    occurred_at: datetime
    program_id: uuid.UUID
    order_ref: str

    @property
    def order(self) -> OrderKey:
        """Its order."""
        return self.program_id, self.order_ref


async def next_unbooked(connection: Connection, after: uuid.UUID) -> uuid.UUID | None:
    """Return the next program that has lines to be booked."""
    found: uuid.UUID | None = await connection.fetchval(NEXT_UNBOOKED, after)
    return found


async def next_due(
    connection: Connection, now: datetime, after: tuple[datetime, uuid.UUID]
) -> tuple[datetime, uuid.UUID] | None:
    """Return the next program whose open month can be closed, with the time since when."""
    row = await connection.fetchrow(NEXT_DUE, now, *after)
    return None if row is None else (row["closes_at"], row["program_id"])


async def lock_month(connection: Connection, program_id: uuid.UUID) -> date | None:
    """Lock the ledger of a program, and return its first month that is not closed; None if another process has it."""
    await connection.execute(MAKE_MONTH, program_id)
    found: date | None = await connection.fetchval(LOCK_MONTH, program_id)
    return found


async def book(connection: Connection, program_id: uuid.UUID, zone: str, limit: int) -> int:
    """Book up to `limit` lines of a program whose ledger is locked, and return how many."""
    await connection.execute(NOTE_ZONE, program_id, zone)
    booked: int = await connection.fetchval(*BOOK(program_id=program_id, limit=limit))
    return booked


async def close(
    connection: Connection, program_id: uuid.UUID, month: date, *, zone: str, now: datetime, limit: int
) -> int:
    """Close up to `limit` statements of a program before a month, and return how many."""
    closing = {"program_id": program_id, "open_month": month, "zone": zone, "now": now, "limit": limit}
    return affected(await connection.execute(*CLOSE(**closing)))


async def move_month(
    connection: Connection, program_id: uuid.UUID, month: date, *, zone: str, closes_at: datetime, now: datetime
) -> None:
    """Record the first month that is not closed, and when it can be."""
    await connection.execute(
        *MOVE_MONTH(program_id=program_id, open_month=month, zone=zone, closes_at=closes_at, now=now)
    )


async def is_walking(connection: Connection) -> bool:
    """Whether redemptions from before an upgrade may still be without lines."""
    found: bool = await connection.fetchval(IS_WALKING)
    return found


async def lock_walk(connection: Connection) -> tuple[datetime, tuple[uuid.UUID, datetime, uuid.UUID]] | None:
    """Lock an upgrade's walk that is due, and return its name and how far it came; None if there is none."""
    row = await connection.fetchrow(LOCK_WALK)
    return None if row is None else (row["due_at"], (row["partner_id"], row["occurred_at"], row["redemption_id"]))


async def read_walked(connection: Connection, last: tuple[uuid.UUID, datetime, uuid.UUID], limit: int) -> list[Walked]:
    """Return the next redemptions of partners, and lock their orders."""
    asked = {"partner_id": last[0], "occurred_at": last[1], "id": last[2]}
    found = [_walked(row) for row in await connection.fetch(*READ_WALKED(**asked, limit=limit))]
    orders = sorted({each.order for each in found})
    await connection.execute(LOCK_ORDERS, [order[0] for order in orders], [order[1] for order in orders])
    return found


async def account(connection: Connection, walked: list[Walked], now: datetime) -> None:
    """Write the missing lines of redemptions whose orders are locked; in a new statement after the locks."""
    await connection.execute(*ACCOUNT(ids=[each.id for each in walked], now=now))


async def move_walk(connection: Connection, due_at: datetime, last: Walked | None) -> None:
    """Record how far a walk came; without a last redemption it is over."""
    if last is None:
        await connection.execute(END_WALK, due_at)
        return
    at = {"partner_id": last.partner_id, "occurred_at": last.occurred_at, "id": last.id}
    await connection.execute(*MOVE_WALK(**at, due_at=due_at))


_walked: Final = Rows(Walked)
