"""The counts that only some codes have: holds, uses per customer and per period, and budgets."""

import json
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from services.redemption.domain.books import Budget, Count, PeriodKey, quarter
from services.redemption.domain.customers import Aliases, CustomerKey
from shared.database.pool import Connection
from shared.database.rows import Statement

COUNT_HELD_CODES = """
SELECT c.id, (SELECT count(*)::int FROM holds h WHERE h.code_id = c.id AND h.expires_at > $2) AS held
FROM unnest($1::uuid[]) AS c (id)
"""
COUNT_HELD_COUPONS = """
SELECT k.id, h.currency, h.held, h.held_minor
FROM unnest($1::uuid[]) AS k (id)
CROSS JOIN LATERAL (
    SELECT h.currency, count(*)::int AS held, coalesce(sum(h.discount_minor), 0)::bigint AS held_minor
    FROM holds h WHERE h.coupon_id = k.id AND h.expires_at > $2 GROUP BY h.currency OFFSET 0) h
"""
# A customer has few redemptions and fewer holds; the locks on its counters keep them from changing. One key counts
# the rows with it as the first key or, if it is a mailbox, as the second; two keys count the rows with both.
COUNT_CUSTOMERS = Statement("""
SELECT c.coupon_id, c.customer_key, c.mailbox_key,
       (SELECT count(*)::int FROM redemptions r
        WHERE r.coupon_id = c.coupon_id AND r.customer_key = c.customer_key AND r.customer_key IS NOT NULL
          AND r.is_counted AND (c.mailbox_key IS NULL OR r.mailbox_key = c.mailbox_key))
       + (SELECT count(*)::int FROM redemptions r
          WHERE c.mailbox_key IS NULL AND r.coupon_id = c.coupon_id AND r.mailbox_key = c.customer_key
            AND r.mailbox_key IS NOT NULL AND r.is_counted) AS uses,
       (SELECT count(*)::int FROM holds h
        WHERE h.coupon_id = c.coupon_id AND h.customer_key = c.customer_key AND h.customer_key IS NOT NULL
          AND h.expires_at > $now AND (c.mailbox_key IS NULL OR h.mailbox_key = c.mailbox_key))
       + (SELECT count(*)::int FROM holds h
          WHERE c.mailbox_key IS NULL AND h.coupon_id = c.coupon_id AND h.mailbox_key = c.customer_key
            AND h.mailbox_key IS NOT NULL AND h.expires_at > $now) AS held
FROM @c(coupon_id uuid, customer_key text, mailbox_key text)
""")
# The same if some of them were erased: rows have the customer's placeholder, and rows since the erasure its name.
COUNT_ERASED_CUSTOMERS = Statement("""
SELECT c.coupon_id, c.customer_key, c.mailbox_key,
       (SELECT count(*)::int FROM redemptions r
        WHERE r.coupon_id = c.coupon_id AND r.customer_key = ANY (c.names) AND r.customer_key IS NOT NULL
          AND r.is_counted AND (c.mailbox_key IS NULL OR r.mailbox_key = ANY (c.mailboxes)))
       + (SELECT count(*)::int FROM redemptions r
          WHERE c.mailbox_key IS NULL AND r.coupon_id = c.coupon_id AND r.mailbox_key = ANY (c.names)
            AND r.mailbox_key IS NOT NULL AND r.is_counted) AS uses,
       (SELECT count(*)::int FROM holds h
        WHERE h.coupon_id = c.coupon_id AND h.customer_key = ANY (c.names) AND h.customer_key IS NOT NULL
          AND h.expires_at > $now AND (c.mailbox_key IS NULL OR h.mailbox_key = ANY (c.mailboxes)))
       + (SELECT count(*)::int FROM holds h
          WHERE c.mailbox_key IS NULL AND h.coupon_id = c.coupon_id AND h.mailbox_key = ANY (c.names)
            AND h.mailbox_key IS NOT NULL AND h.expires_at > $now) AS held
FROM (
    SELECT u.coupon_id, u.customer_key, u.mailbox_key,
           ARRAY(SELECT jsonb_array_elements_text(u.names)) AS names,
           ARRAY(SELECT jsonb_array_elements_text(u.mailboxes)) AS mailboxes
    FROM @u(coupon_id uuid, customer_key text, mailbox_key text, names jsonb, mailboxes jsonb)
    OFFSET 0) c
""")
# A period without a counter yet, or with one by another time zone, is counted from the redemptions.
READ_PERIODS = Statement("""
WITH wanted AS MATERIALIZED (
    SELECT m.coupon_id, m.moment, m.is_known, p.period, date_trunc(p.period, m.moment, m.timezone) AS starts_at,
           (date_trunc(p.period, m.moment AT TIME ZONE m.timezone) + p.length) AT TIME ZONE m.timezone AS ends_at
    FROM @m(coupon_id uuid, moment timestamptz, timezone text, is_known boolean)
    CROSS JOIN (VALUES ('day', interval '1 day'), ('week', interval '7 days'), ('month', interval '1 month'))
        AS p (period, length)
)
SELECT w.coupon_id, w.moment, w.period, w.starts_at, coalesce(n.uses, (
    SELECT count(*)::int FROM redemptions r
    WHERE r.coupon_id = w.coupon_id AND r.occurred_at >= w.starts_at AND r.occurred_at < w.ends_at AND r.is_counted
)) AS uses
FROM wanted w
LEFT JOIN LATERAL (
    SELECT n.uses FROM period_counters n
    WHERE n.coupon_id = w.coupon_id AND n.period = w.period AND n.starts_at = w.starts_at AND w.is_known
    OFFSET 0) n ON true
""")
COUNT_SPENT = """
SELECT b.coupon_id, (
    SELECT coalesce(sum(r.discount_minor), 0)::bigint FROM redemptions r
    WHERE r.coupon_id = b.coupon_id AND r.is_counted AND r.currency = b.currency) AS spent_minor
FROM unnest($1::uuid[], $2::text[]) AS b (coupon_id, currency)
"""


async def add_held(
    connection: Connection,
    codes: dict[uuid.UUID, Count],
    coupons: dict[uuid.UUID, Count],
    budgets: dict[uuid.UUID, Budget],
    now: datetime,
    *,
    reads_all: bool = False,
) -> None:
    """Add the live holds to these counts and budgets; with `reads_all` both are read."""
    if codes or reads_all:
        for row in await connection.fetch(COUNT_HELD_CODES, list(codes), now):
            codes[row["id"]].held = row["held"]
    if not coupons and not reads_all:
        return
    for row in await connection.fetch(COUNT_HELD_COUPONS, list(coupons), now):
        coupons[row["id"]].held += row["held"]
        budget = budgets.get(row["id"])
        if budget is not None and budget.currency == row["currency"]:
            budget.held_minor = row["held_minor"]


async def count_customers(
    connection: Connection, customers: Collection[CustomerKey], now: datetime, aliases: Aliases
) -> dict[CustomerKey, Count]:
    """Return how often customers have used and hold coupons."""
    keys: dict[str, list[Any]] = {
        "coupon_id": [customer[0] for customer in customers],
        "customer_key": [customer[1] for customer in customers],
        "mailbox_key": [customer[2] for customer in customers],
    }
    if aliases:

        def names(known_as: Sequence[Any]) -> list[str]:
            return [json.dumps(aliases.names.get(key, [key])) for key in known_as]

        named = {"names": names(keys["customer_key"]), "mailboxes": names(keys["mailbox_key"])}
        rows = await connection.fetch(*COUNT_ERASED_CUSTOMERS(u={**keys, **named}, now=now))
    else:
        rows = await connection.fetch(*COUNT_CUSTOMERS(c=keys, now=now))
    return {
        (row["coupon_id"], row["customer_key"], row["mailbox_key"]): Count(row["uses"], 0, held=row["held"])
        for row in rows
    }


async def read_periods(
    connection: Connection, moments: Sequence[tuple[uuid.UUID, datetime, str, bool]]
) -> tuple[dict[PeriodKey, Count], dict[tuple[uuid.UUID, datetime], dict[str, datetime]]]:
    """Return the counts of the periods that contain the times, and these periods by coupon and quarter of an hour.

    Each time comes with the program's time zone and whether the coupon's counters use it.
    """
    wanted = sorted({(coupon_id, quarter(moment), *zone) for coupon_id, moment, *zone in moments})
    counts: dict[PeriodKey, Count] = {}
    starts: dict[tuple[uuid.UUID, datetime], dict[str, datetime]] = {}
    asked = {
        "coupon_id": [each[0] for each in wanted],
        "moment": [each[1] for each in wanted],
        "timezone": [each[2] for each in wanted],
        "is_known": [each[3] for each in wanted],
    }
    for row in await connection.fetch(*READ_PERIODS(m=asked)):
        coupon_id, period, starts_at = row["coupon_id"], row["period"], row["starts_at"]
        counts.setdefault((coupon_id, period, starts_at), Count(row["uses"], 0))
        starts.setdefault((coupon_id, row["moment"]), {})[period] = starts_at
    return counts, starts


async def count_spent(connection: Connection, budgets: Sequence[tuple[uuid.UUID, str]]) -> dict[uuid.UUID, int]:
    """Return the discounts of coupons' uses in a currency."""
    coupon_ids, currencies = [budget[0] for budget in budgets], [budget[1] for budget in budgets]
    rows = await connection.fetch(COUNT_SPENT, coupon_ids, currencies)
    return {row["coupon_id"]: row["spent_minor"] for row in rows}
