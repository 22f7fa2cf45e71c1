"""Customers as named in rows: which were erased, their names, and the contents of their own file."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zlib import crc32

from shared.database.pool import Connection

# The number of rows that are read for the other names of a customer; one with more is a shop's own account.
ROWS_LOOKED_AT: Final = 20_000

# A transaction that counts a customer's uses shares this lock, taken before it checks for an erasure; an erasure is
# marked under it exclusively. So concurrent counts use the same name of the customer. Buckets bound the server's lock
# table; they are sorted, so that there is no deadlock.
CUSTOMER_LOCK_CLASS: Final = 7_236_191
CUSTOMER_LOCK_BUCKETS: Final = 256
SHARE_CUSTOMERS = "SELECT pg_advisory_xact_lock_shared($1, b.id) FROM unnest($2::int[]) AS b (id)"
HOLD_CUSTOMERS = "SELECT pg_advisory_xact_lock($1, b.id) FROM unnest($2::int[]) AS b (id)"
# One at a time by the key, like every lookup of purchases.
FIND_ERASED = """
SELECT e.program_id, e.digest, e.erased_at
FROM unnest($1::uuid[], $2::text[]) AS w (program_id, digest), LATERAL (
    SELECT x.program_id, x.digest, x.erased_at FROM erased_customers x
    WHERE x.program_id = w.program_id AND x.digest = w.digest OFFSET 0) e
"""
MARK_ERASED = """
INSERT INTO erased_customers AS e (program_id, digest, erased_at)
SELECT $1, d.digest, $3 FROM unnest($2::text[]) AS d (digest) ORDER BY d.digest
ON CONFLICT (program_id, digest) DO UPDATE SET erased_at = greatest(e.erased_at, excluded.erased_at)
"""
# The second key, a mailbox, is indexed per coupon: each of the program's coupons is searched in turn.
FIND_NAMES = """
SELECT DISTINCT n.name FROM (
    (SELECT r.mailbox_key AS name FROM redemptions r
     WHERE r.program_id = $1 AND r.customer_key = ANY ($2::text[]) AND r.customer_key IS NOT NULL LIMIT $3)
    UNION ALL
    (SELECT r.customer_key FROM codes.coupon_v1 k CROSS JOIN LATERAL (
         SELECT m.customer_key FROM redemptions m
         WHERE m.coupon_id = k.coupon_id AND m.mailbox_key = ANY ($2::text[]) AND m.mailbox_key IS NOT NULL
         OFFSET 0) r
     WHERE k.program_id = $1 LIMIT $3)
    UNION ALL
    (SELECT unnest(ARRAY[h.customer_key, h.mailbox_key]) FROM holds h
     WHERE h.program_id = $1 AND (h.customer_key = ANY ($2::text[]) OR h.mailbox_key = ANY ($2::text[])) LIMIT $3)
) n
WHERE n.name IS NOT NULL
"""
FIND_REDEMPTIONS = """
SELECT f.id, f.order_ref FROM (
    (SELECT r.id, r.order_ref FROM redemptions r
     WHERE r.program_id = $1 AND r.customer_key = ANY ($2::text[]) AND r.customer_key IS NOT NULL AND r.id > $3)
    UNION
    (SELECT r.id, r.order_ref FROM codes.coupon_v1 k CROSS JOIN LATERAL (
         SELECT m.id, m.order_ref FROM redemptions m
         WHERE m.coupon_id = k.coupon_id AND m.mailbox_key = ANY ($2::text[]) AND m.mailbox_key IS NOT NULL
           AND m.id > $3 OFFSET 0) r
     WHERE k.program_id = $1)
) f
ORDER BY f.id LIMIT $4
"""
READ_NAMES = """
SELECT r.id, r.order_ref, r.customer_key, r.mailbox_key FROM redemptions r WHERE r.id = ANY ($1::uuid[]) ORDER BY r.id
"""
ADD_EVENTS = """
INSERT INTO customer_events AS c (job_id, event_id, is_whole)
SELECT $1, e.event_id, e.is_whole FROM unnest($2::uuid[], $3::boolean[]) AS e (event_id, is_whole) ORDER BY e.event_id
ON CONFLICT (job_id, event_id) DO UPDATE SET is_whole = c.is_whole OR excluded.is_whole
"""
READ_EVENTS = "SELECT id, body FROM events WHERE id = ANY ($1::uuid[]) ORDER BY id"
# Rows unchanged, for the customer's own file.
SHOW_REDEMPTIONS = """
SELECT r.order_ref, to_jsonb(r) AS shown FROM redemptions r WHERE r.id = ANY ($1::uuid[]) ORDER BY r.id
"""
SHOW_ORDERS = """
SELECT 'order' AS kind, to_jsonb(d) AS shown FROM orders d WHERE d.program_id = $1 AND d.order_ref = ANY ($2::text[])
UNION ALL
SELECT 'refund', to_jsonb(f) FROM refunds f WHERE f.program_id = $1 AND f.order_ref = ANY ($2::text[])
UNION ALL
SELECT 'rejection', to_jsonb(j) FROM rejections j WHERE j.program_id = $1 AND j.order_ref = ANY ($2::text[])
"""
SHOW_HOLDS = """
SELECT to_jsonb(h) AS shown FROM holds h
WHERE h.program_id = $1 AND (h.customer_key = ANY ($2::text[]) OR h.mailbox_key = ANY ($2::text[]))
ORDER BY h.order_ref, h.canonical LIMIT $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A redemption with the names of its customer."""

    id: uuid.UUID
    order_ref: str
    customer_key: str | None
    mailbox_key: str | None


async def share_customers(connection: Connection, customers: Collection[tuple[uuid.UUID, str]]) -> None:
    """Lock customers (program, plain key) against erasure while their uses are counted."""
    await connection.execute(SHARE_CUSTOMERS, CUSTOMER_LOCK_CLASS, _buckets(customers))


async def hold_customers(connection: Connection, program_id: uuid.UUID, keys: Collection[str]) -> None:
    """Wait until no transaction counts uses of customers, and lock them out."""
    await connection.execute(HOLD_CUSTOMERS, CUSTOMER_LOCK_CLASS, _buckets([(program_id, key) for key in keys]))


def _buckets(customers: Collection[tuple[uuid.UUID, str]]) -> list[int]:
    return sorted({crc32(program.bytes + key.encode()) % CUSTOMER_LOCK_BUCKETS for program, key in customers})


async def find_erased(
    connection: Connection, wanted: Sequence[tuple[uuid.UUID, str]]
) -> dict[tuple[uuid.UUID, str], datetime]:
    """Return which digests represent erased customers, and until when their purchases are stored under them."""
    rows = await connection.fetch(FIND_ERASED, [each[0] for each in wanted], [each[1] for each in wanted])
    return {(row["program_id"], row["digest"]): row["erased_at"] for row in rows}


async def mark_erased(connection: Connection, program_id: uuid.UUID, digests: Sequence[str], now: datetime) -> None:
    """Mark customers as erased, by their digests."""
    await connection.execute(MARK_ERASED, program_id, digests, now)


async def find_names(connection: Connection, program_id: uuid.UUID, keys: Sequence[str]) -> set[str]:
    """Return the names that occur with these in redemptions and holds, including placeholders of erased ones."""
    rows = await connection.fetch(FIND_NAMES, program_id, keys, ROWS_LOOKED_AT)
    return {row["name"] for row in rows}


async def find_redemptions(
    connection: Connection, program_id: uuid.UUID, keys: Sequence[str], after: uuid.UUID, limit: int
) -> list[tuple[uuid.UUID, str]]:
    """Return the next redemptions with one of the keys, each with its order."""
    rows = await connection.fetch(FIND_REDEMPTIONS, program_id, keys, after, limit)
    return [(row["id"], row["order_ref"]) for row in rows]


async def read_names(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Named]:
    """Return redemptions with their present names."""
    return [Named(**row) for row in await connection.fetch(READ_NAMES, ids)]


async def add_events(connection: Connection, job_id: uuid.UUID, events: Mapping[uuid.UUID, bool]) -> None:
    """Record events that name the customer of a job, and whether they are about it as a whole."""
    await connection.execute(ADD_EVENTS, job_id, list(events), list(events.values()))


async def read_events(connection: Connection, ids: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, bytes]]:
    """Return those of the events that the history still has."""
    return [(row["id"], row["body"]) for row in await connection.fetch(READ_EVENTS, ids)]


async def show_redemptions(connection: Connection, ids: Sequence[uuid.UUID]) -> list[tuple[str, str]]:
    """Return redemptions as JSON."""
    return [("redemption", row["shown"]) for row in await connection.fetch(SHOW_REDEMPTIONS, ids)]


async def show_orders(
    connection: Connection, program_id: uuid.UUID, order_refs: Sequence[str]
) -> list[tuple[str, str]]:
    """Return orders with their refunds and refusals as JSON, each with its kind."""
    rows = await connection.fetch(SHOW_ORDERS, program_id, order_refs)
    return [(row["kind"], row["shown"]) for row in rows]


async def show_holds(
    connection: Connection, program_id: uuid.UUID, keys: Sequence[str], limit: int
) -> list[tuple[str, str]]:
    """Return a customer's holds as JSON."""
    return [("hold", row["shown"]) for row in await connection.fetch(SHOW_HOLDS, program_id, keys, limit)]
