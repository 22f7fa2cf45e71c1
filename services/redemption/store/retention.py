"""Removes old rows, a few at a time: orders without a redemption, and refusals."""

from datetime import datetime
from typing import NamedTuple

from shared.database.pool import Connection, affected

# Locked before it is checked, and checked in new statements: a purchase that held the lock may have redeemed since.
LOCK_TOUCHED = """
SELECT program_id, order_ref FROM orders WHERE touched_at < $1
ORDER BY touched_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# OFFSET 0 forces one lookup at a time.
KEEP_REDEEMED = """
UPDATE orders d SET touched_at = NULL
FROM unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
CROSS JOIN LATERAL (
    SELECT FROM redemptions r WHERE r.program_id = o.program_id AND r.order_ref = o.order_ref LIMIT 1) r
WHERE d.program_id = ANY ($1::uuid[]) AND d.order_ref = ANY ($2::text[])
  AND d.program_id = o.program_id AND d.order_ref = o.order_ref
"""
# The rest has no redemption. A reservation has long ended by then; any remaining holds are removed too.
DELETE_TOUCHED = """
WITH gone AS (
    DELETE FROM orders d USING unnest($1::uuid[], $2::text[]) AS o (program_id, order_ref)
    WHERE d.program_id = ANY ($1::uuid[]) AND d.order_ref = ANY ($2::text[])
      AND d.program_id = o.program_id AND d.order_ref = o.order_ref
      AND d.touched_at < $3 AND (d.reserved_until IS NULL OR d.reserved_until < $3)
    RETURNING d.program_id, d.order_ref
), held AS (
    DELETE FROM holds h USING gone g
    WHERE h.program_id = ANY ($1::uuid[]) AND h.order_ref = ANY ($2::text[])
      AND h.program_id = g.program_id AND h.order_ref = g.order_ref
)
SELECT program_id, order_ref FROM gone
"""
FORGET_REFUNDS = "SELECT forget_refunds($1, $2)"
PURGE_REJECTIONS = "SELECT purge_rejections($1, $2)"
PURGE_GUESSES = """
DELETE FROM guesses WHERE (key_id, address) IN (
    SELECT key_id, address FROM guesses WHERE window_started_at < $1
    ORDER BY window_started_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


class Forgotten(NamedTuple):
    """How many orders were checked, and what was removed."""

    judged: int
    orders: int
    refunds: int


async def forget_orders(connection: Connection, touched_before: datetime, limit: int) -> Forgotten:
    """Remove up to `limit` orders without a redemption, inside a transaction; those with one stay for good."""
    rows = await connection.fetch(LOCK_TOUCHED, touched_before, limit)
    keys = [row["program_id"] for row in rows], [row["order_ref"] for row in rows]
    await connection.execute(KEEP_REDEEMED, *keys)
    gone = await connection.fetch(DELETE_TOUCHED, *keys, touched_before)
    gone_keys = [row["program_id"] for row in gone], [row["order_ref"] for row in gone]
    return Forgotten(len(rows), len(gone), await connection.fetchval(FORGET_REFUNDS, *gone_keys))


async def purge_rejections(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` refusals that were decided before a time, 30 days ago at least."""
    removed: int = await connection.fetchval(PURGE_REJECTIONS, before, limit)
    return removed


async def purge_guesses(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` windows of failed guesses that began before a time and have ended."""
    return affected(await connection.execute(PURGE_GUESSES, before, limit))
