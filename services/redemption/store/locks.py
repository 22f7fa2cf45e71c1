"""The locks of a decision: orders, then code counters, then coupons, then customers, each in a sorted order.

An upsert whose update never happens creates missing rows and locks existing ones. Nothing read here decides.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from services.redemption.domain.customers import CustomerKey
from services.redemption.domain.purchase import OrderKey
from shared.database.pool import Connection
from shared.database.rows import Statement

# Decisions that see a coupon without a limit share this lock on it, and the one that sees its first limit takes it
# exclusively: so the count of existing redemptions misses no concurrent one. The same for the first limit per customer;
# once customers are counted, all uses with a customer are, limit or not. Buckets bound the server's lock table.
COUPON_LOCK_CLASS = 7_236_002
COUPON_LOCK_BUCKETS = 256

# A code's counter begins with its earlier uses elsewhere, given at its creation.
#
# Each part counts the rows of the previous one, which makes the server run them in this order. The first two parts of
# `wanted` match the two partial indexes on live and on archived codes, the third takes codes by id that no string
# names; OFFSET 0 forces one lookup at a time.
LOCK = Statement("""
WITH fresh_order AS (
    INSERT INTO orders (program_id, order_ref, created_at, touched_at)
    SELECT program_id, order_ref, $now, NULL FROM @o(program_id uuid, order_ref text)
    ORDER BY program_id, order_ref
    ON CONFLICT (program_id, order_ref) DO UPDATE SET created_at = orders.created_at WHERE false
    RETURNING program_id, order_ref
), wanted AS MATERIALIZED (
    SELECT r.code_id, r.coupon_id, r.canonical, r.program_id, r.customer_limit, r.opening_uses,
           coalesce(r.use_limit, r.day_limit, r.week_limit, r.month_limit, r.budget) IS NOT NULL AS is_limited
    FROM @w(program_id uuid, canonical text), LATERAL (
        SELECT v.code_id, v.coupon_id, v.canonical, v.program_id, v.customer_redemption_limit AS customer_limit,
               v.coupon_redemption_limit AS use_limit, v.daily_redemption_limit AS day_limit,
               v.weekly_redemption_limit AS week_limit, v.monthly_redemption_limit AS month_limit,
               v.budget_minor AS budget, v.code_opening_uses AS opening_uses
        FROM codes.redeemable_v1 v
        WHERE v.program_id = w.program_id AND v.canonical = w.canonical AND v.code_archived_at IS NULL
        UNION ALL
        SELECT v.code_id, v.coupon_id, v.canonical, v.program_id, v.customer_redemption_limit,
               v.coupon_redemption_limit, v.daily_redemption_limit, v.weekly_redemption_limit,
               v.monthly_redemption_limit, v.budget_minor, v.code_opening_uses
        FROM codes.redeemable_v1 v
        WHERE v.program_id = w.program_id AND v.canonical = w.canonical AND v.code_archived_at IS NOT NULL
        OFFSET 0) r
    UNION ALL
    SELECT r.code_id, r.coupon_id, r.canonical, r.program_id, r.customer_limit, r.opening_uses,
           coalesce(r.use_limit, r.day_limit, r.week_limit, r.month_limit, r.budget) IS NOT NULL
    FROM unnest($code_ids::uuid[]) AS c (id), LATERAL (
        SELECT v.code_id, v.coupon_id, v.canonical, v.program_id, v.customer_redemption_limit AS customer_limit,
               v.coupon_redemption_limit AS use_limit, v.daily_redemption_limit AS day_limit,
               v.weekly_redemption_limit AS week_limit, v.monthly_redemption_limit AS month_limit,
               v.budget_minor AS budget, v.code_opening_uses AS opening_uses
        FROM codes.redeemable_v1 v WHERE v.code_id = c.id OFFSET 0) r
    WHERE NOT EXISTS (
        SELECT FROM @w(program_id uuid, canonical text)
        WHERE w.program_id = r.program_id AND w.canonical = r.canonical)
), locked_code AS (
    INSERT INTO code_counters (code_id, uses)
    SELECT code_id, opening_uses FROM wanted WHERE (SELECT count(*) FROM fresh_order) >= 0 ORDER BY code_id
    ON CONFLICT (code_id) DO UPDATE SET uses = code_counters.uses WHERE false
    RETURNING code_id
), coupon AS MATERIALIZED (
    SELECT w.coupon_id, w.is_limited OR c.coupon_id IS NOT NULL AS is_counted, c.uses IS NULL AS is_uncounted_yet,
           w.has_customer_limit OR m.coupon_id IS NOT NULL AS counts_customers,
           w.has_customer_limit AND m.coupon_id IS NULL AS has_first_customer
    FROM (SELECT coupon_id, bool_or(is_limited) AS is_limited,
                 bool_or(customer_limit IS NOT NULL) AS has_customer_limit
          FROM wanted GROUP BY coupon_id) w
    LEFT JOIN LATERAL (
        SELECT n.coupon_id, n.uses FROM coupon_counters n WHERE n.coupon_id = w.coupon_id OFFSET 0) c ON true
    LEFT JOIN LATERAL (
        SELECT m.coupon_id FROM customer_counters m WHERE m.coupon_id = w.coupon_id
        ORDER BY m.customer_key LIMIT 1) m ON true
), locked_coupon AS (
    INSERT INTO coupon_counters (coupon_id)
    SELECT coupon_id FROM coupon WHERE is_counted AND (SELECT count(*) FROM locked_code) >= 0 ORDER BY coupon_id
    ON CONFLICT (coupon_id) DO UPDATE SET uses = coupon_counters.uses WHERE false
    RETURNING coupon_id
), bucket AS MATERIALIZED (
    SELECT id, is_alone FROM (
        SELECT abs(hashtext(coupon_id::text) % $buckets) AS id, bool_or(is_counted OR has_first_customer) AS is_alone
        FROM coupon WHERE is_uncounted_yet GROUP BY 1) b
    WHERE (SELECT count(*) FROM locked_coupon) >= 0 ORDER BY id
), locked_bucket AS MATERIALIZED (
    SELECT CASE WHEN is_alone THEN pg_advisory_xact_lock($lock_class, id)
                ELSE pg_advisory_xact_lock_shared($lock_class, id) END
    FROM bucket
)
SELECT program_id, order_ref, NULL::uuid AS code_id, NULL::uuid AS coupon_id, NULL::boolean AS is_counted,
       false AS counts_customers
FROM fresh_order
UNION ALL
SELECT CASE WHEN c.counts_customers THEN w.program_id END, CASE WHEN c.counts_customers THEN w.canonical END,
       w.code_id, w.coupon_id, c.is_counted, c.counts_customers
FROM wanted w JOIN coupon c USING (coupon_id)
WHERE (SELECT count(*) FROM locked_bucket) >= 0
""")
# The first part alone.
LOCK_ORDERS = Statement("""
INSERT INTO orders (program_id, order_ref, created_at, touched_at)
SELECT program_id, order_ref, $now, NULL FROM @o(program_id uuid, order_ref text)
ORDER BY program_id, order_ref
ON CONFLICT (program_id, order_ref) DO UPDATE SET created_at = orders.created_at WHERE false
RETURNING program_id, order_ref
""")
LOCK_CUSTOMERS = """
INSERT INTO customer_counters (coupon_id, customer_key)
SELECT coupon_id, customer_key FROM unnest($1::uuid[], $2::text[]) AS c (coupon_id, customer_key)
ORDER BY coupon_id, customer_key
ON CONFLICT (coupon_id, customer_key) DO UPDATE SET uses = customer_counters.uses WHERE false
"""
# What the locking statement would find, for reads without locks. Both halves as there.
FIND_CODES = """
WITH wanted AS MATERIALIZED (
    SELECT r.code_id, r.coupon_id, r.canonical, r.program_id, r.customer_limit,
           coalesce(r.use_limit, r.day_limit, r.week_limit, r.month_limit, r.budget) IS NOT NULL AS is_limited
    FROM unnest($1::uuid[], $2::text[]) AS w (program_id, canonical), LATERAL (
        SELECT v.code_id, v.coupon_id, v.canonical, v.program_id, v.customer_redemption_limit AS customer_limit,
               v.coupon_redemption_limit AS use_limit, v.daily_redemption_limit AS day_limit,
               v.weekly_redemption_limit AS week_limit, v.monthly_redemption_limit AS month_limit,
               v.budget_minor AS budget
        FROM codes.redeemable_v1 v
        WHERE v.program_id = w.program_id AND v.canonical = w.canonical AND v.code_archived_at IS NULL
        UNION ALL
        SELECT v.code_id, v.coupon_id, v.canonical, v.program_id, v.customer_redemption_limit,
               v.coupon_redemption_limit, v.daily_redemption_limit, v.weekly_redemption_limit,
               v.monthly_redemption_limit, v.budget_minor
        FROM codes.redeemable_v1 v
        WHERE v.program_id = w.program_id AND v.canonical = w.canonical AND v.code_archived_at IS NOT NULL
        OFFSET 0) r
)
SELECT w.program_id, w.canonical AS order_ref, w.code_id, w.coupon_id,
       w.is_limited OR n.coupon_id IS NOT NULL AS is_counted,
       w.customer_limit IS NOT NULL OR m.coupon_id IS NOT NULL AS counts_customers
FROM wanted w
LEFT JOIN LATERAL (
    SELECT n.coupon_id FROM coupon_counters n WHERE n.coupon_id = w.coupon_id OFFSET 0) n ON true
LEFT JOIN LATERAL (
    SELECT m.coupon_id FROM customer_counters m WHERE m.coupon_id = w.coupon_id
    ORDER BY m.customer_key LIMIT 1) m ON true
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """The locked rows: code ids, coupons with their count, coupons without one, and the orders just created.

    `counted_customers` are the coupons whose customers are locked too, by the strings (program, canonical) of codes.
    """

    code_ids: Sequence[uuid.UUID]
    counted_coupons: frozenset[uuid.UUID]
    uncounted_coupons: frozenset[uuid.UUID]
    fresh_orders: frozenset[OrderKey]
    counted_customers: dict[tuple[uuid.UUID, str], set[uuid.UUID]] = field(default_factory=dict)


async def lock(
    connection: Connection,
    orders: Sequence[OrderKey],
    strings: Sequence[tuple[uuid.UUID, str]],
    now: datetime,
    code_ids: Sequence[uuid.UUID] = (),
) -> Locked:
    """Lock orders, and the counters of every code that has or had one of the strings (program, canonical form).

    `code_ids` are further codes to lock. None of the sequences may name anything twice.
    """
    rows = await connection.fetch(
        *LOCK(
            o={"program_id": [order[0] for order in orders], "order_ref": [order[1] for order in orders]},
            w={"program_id": [string[0] for string in strings], "canonical": [string[1] for string in strings]},
            now=now,
            lock_class=COUPON_LOCK_CLASS,
            buckets=COUPON_LOCK_BUCKETS,
            code_ids=code_ids,
        )
    )
    codes = [row for row in rows if row["code_id"] is not None]
    return _locked(codes, frozenset((row["program_id"], row["order_ref"]) for row in rows if row["code_id"] is None))


async def lock_orders(connection: Connection, orders: Sequence[OrderKey], now: datetime) -> frozenset[OrderKey]:
    """Lock orders, each named once; return those whose rows were just created."""
    keys = {"program_id": [order[0] for order in orders], "order_ref": [order[1] for order in orders]}
    rows = await connection.fetch(*LOCK_ORDERS(o=keys, now=now))
    return frozenset((row["program_id"], row["order_ref"]) for row in rows)


async def lock_customers(connection: Connection, customers: Collection[CustomerKey]) -> None:
    """Lock the uses of customers, after all else: transactions that count the same uses share a key, and so a lock."""
    keys = [key for key in customers if key[2] is None]
    await connection.execute(LOCK_CUSTOMERS, [key[0] for key in keys], [key[1] for key in keys])


async def find(connection: Connection, strings: Sequence[tuple[uuid.UUID, str]]) -> Locked:
    """Return what `lock` would lock for these strings, without locking it."""
    programs, canonicals = [string[0] for string in strings], [string[1] for string in strings]
    return _locked(await connection.fetch(FIND_CODES, programs, canonicals), frozenset())


def _locked(codes: "Sequence[asyncpg.Record]", fresh_orders: frozenset[OrderKey]) -> Locked:
    counted_customers: dict[tuple[uuid.UUID, str], set[uuid.UUID]] = {}
    for row in codes:
        if row["counts_customers"]:
            counted_customers.setdefault((row["program_id"], row["order_ref"]), set()).add(row["coupon_id"])
    return Locked(
        [row["code_id"] for row in codes],
        frozenset(row["coupon_id"] for row in codes if row["is_counted"]),
        frozenset(row["coupon_id"] for row in codes if not row["is_counted"]),
        fresh_orders,
        counted_customers,
    )
