"""What an erasure reads and replaces: rows that name the customer, and events and reasons that may."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.redemption.store.customers import Named
from shared import erasing
from shared.database.pool import Connection

# Locked as in decisions: orders first, sorted.
LOCK_ORDERS = """
SELECT d.order_ref FROM orders d
WHERE d.program_id = $1 AND d.order_ref = ANY ($2::text[]) ORDER BY d.order_ref FOR UPDATE
"""
# What is already erased stays: another erasure may have been faster.
ERASE_REDEMPTIONS = """
UPDATE redemptions r
SET customer_id = CASE WHEN n.is_whole AND r.customer_id IS NOT NULL THEN n.customer_key ELSE r.customer_id END,
    customer_key = n.customer_key, mailbox_key = n.mailbox_key,
    attributes = CASE WHEN n.is_whole AND r.attributes IS NOT NULL
                      THEN (SELECT json_object_agg(name, NULL::text) FROM json_object_keys(r.attributes) AS name)
                      ELSE r.attributes END,
    void_reason = CASE WHEN n.is_whole AND r.void_reason IS NOT NULL THEN $5 ELSE r.void_reason END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[]) AS n (id, customer_key, mailbox_key, is_whole)
WHERE r.id = ANY ($1::uuid[]) AND r.id = n.id
"""
ERASE_REASONS = """
WITH refund AS (
    UPDATE refunds f SET reason = $3
    WHERE f.program_id = $1 AND f.order_ref = ANY ($2::text[]) AND f.reason IS NOT NULL
)
UPDATE orders d SET cancel_reason = $3
WHERE d.program_id = $1 AND d.order_ref = ANY ($2::text[]) AND d.cancel_reason IS NOT NULL
"""
# Purchases of others may name the customer too, in attributes and in reasons.
READ_OTHERS = """
SELECT s.id, s.order_ref, s.occurred_at, s.attributes, s.void_reason FROM (
    SELECT r.id, r.order_ref, r.occurred_at, r.attributes, r.void_reason FROM redemptions r
    WHERE r.program_id = $1 AND r.occurred_at >= $2 AND (r.occurred_at, r.id) > ($2, $3)
    ORDER BY r.program_id, r.occurred_at, r.id LIMIT $4) s
ORDER BY s.occurred_at, s.id
"""
ERASE_OTHERS = """
UPDATE redemptions r SET attributes = n.attributes, void_reason = n.void_reason
FROM unnest($1::uuid[], $2::json[], $3::text[]) AS n (id, attributes, void_reason)
WHERE r.id = ANY ($1::uuid[]) AND r.id = n.id
"""
READ_HISTORY = """
SELECT s.id, CASE WHEN s.type IN ('code.redeemed', 'code.redemption_voided') THEN s.body END AS body FROM (
    SELECT e.id, e.type, e.body FROM events e WHERE e.id > $1 ORDER BY e.id LIMIT $2) s
ORDER BY s.id
"""
READ_REASONS = """
SELECT s.order_ref, s.cancel_reason FROM (
    SELECT d.order_ref, d.cancel_reason FROM orders d
    WHERE d.program_id = $1 AND d.order_ref > $2 ORDER BY d.program_id, d.order_ref LIMIT $3) s
ORDER BY s.order_ref
"""
READ_REFUND_REASONS = """
SELECT f.order_ref, f.reason FROM refunds f
WHERE f.program_id = $1 AND f.order_ref = ANY ($2::text[]) AND f.reason IS NOT NULL
"""
ERASE_EVENTS = "SELECT erase_events($1, $2)"
FIND_HOLDS = """
SELECT DISTINCT h.order_ref FROM holds h
WHERE h.program_id = $1 AND (h.customer_key = ANY ($2::text[]) OR h.mailbox_key = ANY ($2::text[]))
ORDER BY h.order_ref LIMIT $3
"""
ERASE_HOLDS = """
UPDATE holds h
SET customer_key = coalesce((SELECT n.digest FROM unnest($3::text[], $4::text[]) AS n (key, digest)
                             WHERE n.key = h.customer_key), h.customer_key),
    mailbox_key = coalesce((SELECT n.digest FROM unnest($3::text[], $4::text[]) AS n (key, digest)
                            WHERE n.key = h.mailbox_key), h.mailbox_key)
WHERE h.program_id = $1 AND h.order_ref = ANY ($2::text[])
"""
TAKE_COUNTERS = """
DELETE FROM customer_counters c USING (
    SELECT n.coupon_id, n.customer_key FROM codes.coupon_v1 k CROSS JOIN LATERAL (
        SELECT m.coupon_id, m.customer_key FROM customer_counters m
        WHERE m.coupon_id = k.coupon_id AND m.customer_key = ANY ($2::text[]) OFFSET 0) n
    WHERE k.program_id = $1 ORDER BY n.coupon_id, n.customer_key LIMIT $3) w
WHERE c.coupon_id = w.coupon_id AND c.customer_key = w.customer_key
RETURNING c.coupon_id, c.customer_key, c.uses, c.use_limit
"""
# Two counters may become one; the next use counts the redemptions again, and sets the limit.
PUT_COUNTERS = """
INSERT INTO customer_counters AS c (coupon_id, customer_key, uses, use_limit)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) ORDER BY 1, 2
ON CONFLICT (coupon_id, customer_key) DO UPDATE SET uses = greatest(c.uses, excluded.uses), use_limit = NULL
"""


async def lock_orders(connection: Connection, program_id: uuid.UUID, order_refs: Sequence[str]) -> None:
    """Lock orders against decisions, as decisions do against each other."""
    await connection.execute(LOCK_ORDERS, program_id, order_refs)


async def erase_redemptions(
    connection: Connection, program_id: uuid.UUID, erased: Sequence[tuple[Named, bool]]
) -> None:
    """Write redemptions with other names; remove the reasons of those erased as a whole, and of their orders."""
    await connection.execute(
        ERASE_REDEMPTIONS,
        [named.id for named, _ in erased],
        [named.customer_key for named, _ in erased],
        [named.mailbox_key for named, _ in erased],
        [is_whole for _, is_whole in erased],
        erasing.ERASED,
    )
    order_refs = [named.order_ref for named, is_whole in erased if is_whole]
    await erase_reasons(connection, program_id, order_refs)


async def erase_events(connection: Connection, bodies: Mapping[uuid.UUID, bytes]) -> None:
    """Write other bodies of events that name a customer."""
    await connection.fetchval(ERASE_EVENTS, list(bodies), list(bodies.values()))


async def erase_holds(connection: Connection, program_id: uuid.UUID, digests: Mapping[str, str], limit: int) -> int:
    """Replace the names in the holds of up to `limit` orders; return how many orders these were."""
    keys = list(digests)
    rows = await connection.fetch(FIND_HOLDS, program_id, keys, limit)
    order_refs: list[str] = [row["order_ref"] for row in rows]
    if order_refs:
        await lock_orders(connection, program_id, order_refs)
        await connection.execute(ERASE_HOLDS, program_id, order_refs, keys, list(digests.values()))
    return len(order_refs)


async def erase_counters(connection: Connection, program_id: uuid.UUID, digests: Mapping[str, str], limit: int) -> int:
    """Move up to `limit` counters of a customer to its digests; return how many."""
    rows = await connection.fetch(TAKE_COUNTERS, program_id, list(digests), limit)
    # Names that were counted separately never share a digest, but the digest may exist already.
    await connection.execute(
        PUT_COUNTERS,
        [row["coupon_id"] for row in rows],
        [digests[row["customer_key"]] for row in rows],
        [row["uses"] for row in rows],
        [row["use_limit"] for row in rows],
    )
    return len(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The texts of a redemption; `attributes` are JSON."""

    id: uuid.UUID
    order_ref: str
    occurred_at: datetime
    attributes: str | None
    void_reason: str | None


async def read_others(
    connection: Connection, program_id: uuid.UUID, after: tuple[datetime, uuid.UUID], limit: int
) -> list[Told]:
    """Return the next redemptions of a program, of any customer."""
    return [Told(**row) for row in await connection.fetch(READ_OTHERS, program_id, *after, limit)]


async def erase_others(connection: Connection, told: Sequence[Told]) -> None:
    """Write other texts of redemptions; their orders are locked."""
    await connection.execute(
        ERASE_OTHERS,
        [each.id for each in told],
        [each.attributes for each in told],
        [each.void_reason for each in told],
    )


async def read_history(connection: Connection, after: uuid.UUID, limit: int) -> list[tuple[uuid.UUID, bytes | None]]:
    """Return the next events of the history, with the bodies of those that name customers."""
    return [(row["id"], row["body"]) for row in await connection.fetch(READ_HISTORY, after, limit)]


async def read_reasons(
    connection: Connection, program_id: uuid.UUID, after: str, limit: int
) -> list[tuple[str, list[str]]]:
    """Return the next orders of a program with the reasons of their cancellations and refunds."""
    orders = await connection.fetch(READ_REASONS, program_id, after, limit)
    reasons = {row["order_ref"]: [row["cancel_reason"]] if row["cancel_reason"] else [] for row in orders}
    for row in await connection.fetch(READ_REFUND_REASONS, program_id, list(reasons)):
        reasons[row["order_ref"]].append(row["reason"])
    return list(reasons.items())


async def erase_reasons(connection: Connection, program_id: uuid.UUID, order_refs: Sequence[str]) -> None:
    """Remove the reasons of orders' cancellations and refunds."""
    await connection.execute(ERASE_REASONS, program_id, order_refs, erasing.ERASED)
