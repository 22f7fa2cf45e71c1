"""What statistics look at grows with the steps that are asked for, not with redemptions, partners or coupons."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from services.redemption.store.stats import ADD_UP, READ_STATS
from shared.database.stats import LEVEL_COLUMNS, MOST_CHANGES, piece_columns
from shared.steps import MOST_ROWS, bounds_of
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.redemption.merchant import Merchant

MANY = 20_000
STATEMENTS = {"READ_STATS": READ_STATS.text, "ADD_UP": ADD_UP.text}
# Every figure has a total, and rows of many partners and coupons.
FILL_TOTALS = """
INSERT INTO redemption.stats_totals (program_id, slice, level, at, partner_id, coupon_id, redemptions, discount_minor,
    commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals)
SELECT $1, s, l.level, date_bin(l.size, now(), 'epoch') - n * l.size,
       CASE WHEN s = 2 THEN CASE WHEN each = 1 THEN $2 ELSE gen_random_uuid() END END,
       CASE WHEN s = 1 THEN gen_random_uuid() END, 1, 1, 1, 0, 0, 0, 0
FROM (VALUES (0, interval '15 minutes'), (1, interval '1 hour'), (2, interval '6 hours')) AS l (level, size)
CROSS JOIN LATERAL generate_series(1, 91 * 86400 / extract(epoch FROM l.size)::int) AS n
CROSS JOIN generate_series(0, 2) AS s
CROSS JOIN LATERAL generate_series(1, CASE WHEN s = 0 THEN 1 ELSE 4 END) AS each
"""
FILL_CHANGES = """
INSERT INTO redemption.stats_changes (program_id, quarter, redemptions, discount_minor, commission_minor, voids,
                                      voided_discount_minor, voided_commission_minor, refusals)
SELECT $1, date_bin('15 minutes', now(), 'epoch') - n % 300 * interval '15 minutes', 1, 1, 1, 0, 0, 0, 0
FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
async def plans(database: Database) -> Any:
    settings = {"search_path": "redemption", "enable_seqscan": "off", "jit": "off"}
    connection = await asyncpg.connect(database.admin, server_settings=settings)
    try:
        yield Plans(connection, STATEMENTS)
    finally:
        await connection.close()


async def test_what_is_looked_at_is_bounded(plans: Plans, merchant: Merchant, admin: Any) -> None:
    program, other = await merchant.program(), await merchant.program()
    partner = await merchant.partner(program)
    for each in (program, other):
        await admin.execute(FILL_TOTALS, each, partner)
        await admin.execute(FILL_CHANGES, each, MANY)
    await admin.execute("ANALYZE")
    until = datetime.now(UTC)
    bounds = bounds_of(until - timedelta(days=90), until, "1d", ZoneInfo("Asia/Kolkata"))

    def asked(**more: Any) -> tuple[Any, ...]:
        wanted: dict[str, Any] = {"program_id": program, "partner_id": None, "coupon_id": None, "group_by": None}
        wanted |= {"way": "program", "slice": 0, "groups": 1, "is_live": False, "bounds": bounds}
        wanted |= {"since": bounds[0], "until": bounds[-1], "most_changes": MOST_CHANGES, "most_rows": MOST_ROWS}
        return tuple(READ_STATS(**(wanted | {"p": piece_columns(bounds)} | more))[1:])

    few = 91 * 13
    for mode in MODES:
        await plans.prepare(mode)
        assert await plans.looked_at("READ_STATS", *asked()) <= few
        mine = {"partner_id": partner, "slice": 2, "way": "partner"}
        assert await plans.looked_at("READ_STATS", *asked(**mine)) <= few
        grouped = {"group_by": "partner_id", "slice": 2, "most_rows": 1_000}
        assert await plans.looked_at("READ_STATS", *asked(**grouped)) <= 1_100
        live = {"is_live": True, "most_changes": 700}
        assert await plans.looked_at("READ_STATS", *asked(**live)) <= few + 710
        given = ADD_UP(limit=500, l=LEVEL_COLUMNS)[1:]
        assert await plans.looked_at("ADD_UP", *given) <= 2_100
