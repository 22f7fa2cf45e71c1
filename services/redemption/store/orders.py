"""The writes of orders in the transaction that holds their locks: cancellations, refunds, reservations with holds."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.redemption.domain.books import HeldCode, OrderBook
from services.redemption.domain.purchase import OrderKey
from services.redemption.domain.settlement import backs_text
from services.redemption.store.outcomes import CodeCountRow
from shared.database.pool import Connection
from shared.database.rows import Statement, Values, sparse

# Changed orders are checked again much later; see `store.retention`.
WRITE_ORDERS = Statement("""
WITH held_code AS (
    INSERT INTO code_counters AS n (code_id, uses, version, use_limit, held_until)
    SELECT * FROM @c(id uuid, uses int, version bigint, use_limit int, held_until timestamptz)
    ON CONFLICT (code_id) DO UPDATE
    SET use_limit = excluded.use_limit, held_until = greatest(n.held_until, excluded.held_until)
), written AS (
    INSERT INTO orders (program_id, order_ref, created_at, touched_at, cancelled_at, cancel_reason, has_refunds,
                        reservation_id, reserved_at, reserved_until, cancel_claimed_at, cancel_clock, cancelled_besides,
                        cancel_releases)
    SELECT u.program_id, u.order_ref, $now, $now, u.cancelled_at, u.cancel_reason, u.has_refunds, u.reservation_id,
           u.reserved_at, u.reserved_until, u.cancel_claimed_at, u.cancel_clock, u.cancelled_besides,
           u.cancel_releases
    FROM @u(program_id uuid, order_ref text, cancelled_at timestamptz, cancel_reason text, has_refunds boolean,
            reservation_id uuid, reserved_at timestamptz, reserved_until timestamptz, cancel_claimed_at timestamptz,
            cancel_clock text, cancelled_besides json, cancel_releases boolean)
    ON CONFLICT (program_id, order_ref) DO UPDATE
    SET cancelled_at = excluded.cancelled_at, cancel_reason = excluded.cancel_reason,
        has_refunds = excluded.has_refunds, reservation_id = excluded.reservation_id,
        reserved_at = excluded.reserved_at, reserved_until = excluded.reserved_until, touched_at = excluded.touched_at,
        cancel_claimed_at = excluded.cancel_claimed_at, cancel_clock = excluded.cancel_clock,
        cancelled_besides = excluded.cancelled_besides, cancel_releases = excluded.cancel_releases
)
INSERT INTO holds (program_id, order_ref, expires_at, canonical, code, code_id, coupon_id, customer_key,
                   discount_minor, currency, lines, mailbox_key)
SELECT * FROM @h(program_id uuid, order_ref text, expires_at timestamptz, canonical text, code text, code_id uuid,
                 coupon_id uuid, customer_key text, discount_minor bigint, currency text, lines json, mailbox_key text)
""")
# Two arrays instead of a join, as for holds.
DELETE_IDLE_ORDERS = """
DELETE FROM orders d USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE d.program_id = ANY ($1::uuid[]) AND d.order_ref = ANY ($2::text[])
  AND d.program_id = o.program_id AND d.order_ref = o.order_ref
"""
# Two arrays instead of a join: they make the planner use the index, however small the table looks.
DELETE_HOLDS = """
DELETE FROM holds h USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
WHERE h.program_id = ANY ($1::uuid[]) AND h.order_ref = ANY ($2::text[])
  AND h.program_id = o.program_id AND h.order_ref = o.order_ref
"""
INSERT_REFUNDS = Statement("""
INSERT INTO refunds (id, program_id, order_ref, amount_minor, reason, occurred_at, claimed_at, clock, releases,
                     recorded_at)
SELECT r.*, $recorded_at
FROM @r(id uuid, program_id uuid, order_ref text, amount_minor bigint, reason text, occurred_at timestamptz,
        claimed_at timestamptz, clock text, releases boolean)
""")


@dataclass(slots=True, kw_only=True)
class RefundRow:
    """A partial refund."""

    id: uuid.UUID
    program_id: uuid.UUID
    order_ref: str
    amount_minor: int
    reason: str | None
    occurred_at: datetime
    claimed_at: datetime
    clock: str | None
    releases: bool | None


async def write_orders(
    connection: Connection,
    orders: Mapping[OrderKey, OrderBook],
    fresh: Collection[OrderKey],
    now: datetime,
    *,
    held_codes: Sequence[CodeCountRow] = (),
) -> None:
    """Write the changes of locked orders: cancellations, refunds and reservations with their holds.

    `fresh` are those without earlier holds. `held_codes` are the counters of codes whose uses have not changed.
    """
    if old := [key for key in orders if key not in fresh]:
        await connection.execute(DELETE_HOLDS, [key[0] for key in old], [key[1] for key in old])
    holds = [(key, book.reserved_until, held) for key, book in orders.items() for held in book.held]
    held = _HOLDS.columns([each for _, _, each in holds])
    held["program_id"], held["order_ref"] = [key[0] for key, _, _ in holds], [key[1] for key, _, _ in holds]
    held["expires_at"] = [until for _, until, _ in holds]
    codes = _CODE_COUNTS.columns(held_codes)
    await connection.execute(*WRITE_ORDERS(u=_order_columns(orders), h=held, c=codes, now=now))


def _order_columns(orders: Mapping[OrderKey, OrderBook]) -> dict[str, list[Any]]:
    books = list(orders.values())
    cancelled = [book.cancelled for book in books]
    others: dict[str, list[Any]] = {
        "has_refunds": [bool(book.refunds) for book in books],
        "cancelled_at": [moment and moment.known_at for moment in cancelled],
        "cancel_claimed_at": [moment and moment.claimed_at for moment in cancelled],
        "cancel_clock": [moment and moment.clock for moment in cancelled],
        "cancelled_besides": [backs_text(book.cancellations[1:]) if book.cancellations[1:] else None for book in books],
        "cancel_releases": [book.cancellations[0].releases if book.cancellations else None for book in books],
    }
    return {
        **_ORDERS.columns(books),
        "program_id": [key[0] for key in orders],
        "order_ref": [key[1] for key in orders],
        **{name: sparse(column) for name, column in others.items()},
    }


async def delete_idle_orders(connection: Connection, orders: Collection[OrderKey]) -> None:
    """Remove order rows that this transaction created without a result: waiting transactions create their own."""
    await connection.execute(DELETE_IDLE_ORDERS, [key[0] for key in orders], [key[1] for key in orders])


async def insert_refunds(connection: Connection, rows: Sequence[RefundRow], recorded_at: datetime) -> None:
    """Write refunds."""
    await connection.execute(*INSERT_REFUNDS(r=_REFUNDS.columns(rows), recorded_at=recorded_at))


_ORDERS: Final = Values(("cancel_reason", "reservation_id", "reserved_at", "reserved_until"), OrderBook)
_HOLDS: Final = Values(WRITE_ORDERS.tables["h"], HeldCode, "program_id", "order_ref", "expires_at")
_REFUNDS: Final = Values(INSERT_REFUNDS.tables["r"], RefundRow)
_CODE_COUNTS: Final = Values(WRITE_ORDERS.tables["c"], CodeCountRow)
