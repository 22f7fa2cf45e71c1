"""Codes, redemptions and deliveries evenly over 90 days, as many as asked for, and the wait until they are counted."""

import asyncio
import time
import uuid
from datetime import timedelta

import asyncpg

from shared.database.rows import Statement

DAYS = 90
_AT_ONCE = 100_000
_PARTNERS_AND_COUPONS = 20
_PATIENCE_SECONDS = 7_200.0

# Twenty partners and twenty coupons; a tenth of the redemptions are voided. Every partner has an endpoint, and a tenth
# of the attempts fail.
FILL_CODES = Statement("""
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, times_redeemed, created_at,
                                   updated_at)
SELECT gen_random_uuid(), $program_id, ($coupons::uuid[])[1 + n % 20], ($partners::uuid[])[1 + n / 7 % 20],
       'B' || n, 'B' || n, (n % 3 = 0)::int, now() - n * ($days::interval / $rows::bigint), now()
FROM generate_series($first::bigint, $last::bigint) AS n
""")
FILL_REDEMPTIONS = Statement("""
INSERT INTO redemption.redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id,
    discount_type, discount_minor, commission_minor, currency, release_policy, occurred_at, confirmed_at, is_counted,
    voided_at, terms, decided_at)
SELECT gen_random_uuid(), $program_id, 'order-' || n, 'B' || n, 'B' || n, gen_random_uuid(),
       ($coupons::uuid[])[1 + n % 20], ($partners::uuid[])[1 + n / 7 % 20],
       'percent', 500, 50, 'EUR', 'always', o.at, o.at, n % 10 > 0,
       CASE WHEN n % 10 = 0 THEN o.at + interval '1 hour' END, '{}', now()
FROM generate_series($first::bigint, $last::bigint) AS n
CROSS JOIN LATERAL (SELECT now() - n * ($days::interval / $rows::bigint) AS at) AS o
""")
# A message, its delivery and its attempt have one id, and a partner and its endpoint too.
FILL_MESSAGES = Statement("""
INSERT INTO webhooks.messages (id, format, program_id, partner_id, event_type, occurred_at, body, created_at)
SELECT pg_temp.bench_id(n), 'flat', $program_id, ($partners::uuid[])[1 + n / 7 % 20], 'code.redeemed', o.at, '{}', o.at
FROM generate_series($first::bigint, $last::bigint) AS n
CROSS JOIN LATERAL (SELECT now() - n * ($days::interval / $rows::bigint) AS at) AS o
""")
FILL_DELIVERIES = Statement("""
INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, format, event_type, status, attempts_made, created_at,
                                 completed_at)
SELECT pg_temp.bench_id(n), ($partners::uuid[])[1 + n / 7 % 20], pg_temp.bench_id(n), 'flat', 'code.redeemed',
       CASE WHEN n % 10 = 0 THEN 'dead' ELSE 'succeeded' END, 1, o.at, o.at
FROM generate_series($first::bigint, $last::bigint) AS n
CROSS JOIN LATERAL (SELECT now() - n * ($days::interval / $rows::bigint) AS at) AS o
""")
FILL_ATTEMPTS = Statement("""
INSERT INTO webhooks.attempts (delivery_id, number, trigger, started_at, duration_ms, status)
SELECT pg_temp.bench_id(n), 1, 'automatic', now() - n * ($days::interval / $rows::bigint), 5 + n % 400,
       CASE WHEN n % 10 = 0 THEN 500 ELSE 204 END
FROM generate_series($first::bigint, $last::bigint) AS n
""")
MAKE_IDS = """
CREATE OR REPLACE FUNCTION pg_temp.bench_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('b' || lpad(to_hex(n), 31, '0'))::uuid
"""
FILL_ENDPOINTS = """
INSERT INTO webhooks.endpoints (id, program_id, partner_id, url, event_types, format, status, max_in_flight,
                                created_at, updated_at)
SELECT p, $1, p, 'https://bench.example/', '{*}', 'flat', 'active', 10, now(), now() FROM unnest($2::uuid[]) AS p
"""
IS_COUNTED = """
SELECT NOT EXISTS (SELECT FROM codes.stats_changes) AND NOT EXISTS (SELECT FROM redemption.stats_changes)
   AND NOT EXISTS (SELECT FROM webhooks.stats_changes)
"""
_FILLS = (FILL_CODES, FILL_REDEMPTIONS, FILL_MESSAGES, FILL_DELIVERIES, FILL_ATTEMPTS)


async def fill(url: str, rows: int, program_id: uuid.UUID) -> float:
    """Write the rows of all three services, and return how many seconds it took."""
    began = time.monotonic()
    coupons, partners = ([uuid.uuid4() for _ in range(_PARTNERS_AND_COUPONS)] for _ in range(2))
    given: dict[str, object] = {"program_id": program_id, "coupons": coupons, "partners": partners}
    given |= {"days": timedelta(days=DAYS), "rows": rows}
    connection = await asyncpg.connect(url, command_timeout=1200, server_settings={"synchronous_commit": "off"})
    try:
        await connection.execute(MAKE_IDS)
        await connection.execute(FILL_ENDPOINTS, program_id, partners)
        for statement in _FILLS:
            for first in range(1, rows + 1, _AT_ONCE):
                given = given | {"first": first, "last": min(rows, first + _AT_ONCE - 1)}
                await connection.execute(*statement(**{name: given[name] for name in statement.names}))
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return time.monotonic() - began


async def counted(url: str) -> float:
    """Wait until the services have added everything up, and return how many seconds it took."""
    began = time.monotonic()
    connection = await asyncpg.connect(url)
    try:
        while not await connection.fetchval(IS_COUNTED):
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise SystemExit("The services do not finish counting.")
            await asyncio.sleep(0.5)
        for service in ("codes", "redemption", "webhooks"):
            await connection.execute(f"VACUUM ANALYZE {service}.stats_totals")
    finally:
        await connection.close()
    return time.monotonic() - began
