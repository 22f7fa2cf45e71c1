"""What statistics look at grows with the steps that are asked for, not with redemptions, partners or coupons."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.domain.stats import MOST_FACTS, MOST_TOUCHED
from services.redemption.store.stats import READ_STATS, WALK_REDEMPTIONS
from shared.database.pool import Database as Pool
from shared.database.stats import NEXT_TOUCHED
from shared.steps import MOST_ROWS
from tests.databases import Database
from tests.plans import MODES, Plans
from tests.services.redemption.merchant import Merchant
from tests.services.redemption.test_bounded import FILL_REDEMPTIONS, FILL_REJECTIONS

MANY = 20_000
QUARTERS = 90 * 96
STATEMENTS = {
    "READ_STATS": READ_STATS.text,
    "NEXT_TOUCHED": NEXT_TOUCHED.text,
    "WALK_REDEMPTIONS": WALK_REDEMPTIONS.text,
}
# Each quarter has a total, and rows of many partners and coupons.
FILL_STATS = """
INSERT INTO redemption.stats (kind, program_id, quarter, slice, partner_id, coupon_id, redemptions, discount_minor,
    commission_minor, voids, voided_discount_minor, voided_commission_minor, refusals)
SELECT 'redemptions', $1, date_bin('15 minutes', now(), 'epoch') - n * interval '15 minutes', s,
       CASE WHEN s = 2 THEN CASE WHEN each = 1 THEN $2 ELSE gen_random_uuid() END END,
       CASE WHEN s = 1 THEN gen_random_uuid() END, 1, 1, 1, 0, 0, 0, 0
FROM generate_series(1, $3::int) AS n CROSS JOIN generate_series(0, 2) AS s
CROSS JOIN LATERAL generate_series(1, CASE WHEN s = 0 THEN 1 ELSE 4 END) AS each
"""
TOUCH_ALL = """
INSERT INTO redemption.stats_touched
SELECT k, $1, date_bin('15 minutes', now(), 'epoch') - n % $2 * interval '15 minutes'
FROM generate_series(1, $3::int) AS n CROSS JOIN unnest('{redemptions,rejections}'::text[]) AS k
"""


@pytest.fixture
async def plans(database: Database) -> Any:
    settings = {"search_path": "redemption", "enable_seqscan": "off", "jit": "off"}
    connection = await asyncpg.connect(database.admin, server_settings=settings)
    try:
        yield Plans(connection, STATEMENTS)
    finally:
        await connection.close()


async def test_what_is_looked_at_is_bounded(plans: Plans, pool: Pool, merchant: Merchant, admin: Any) -> None:
    program, other = await merchant.program(), await merchant.program()
    partner, coupon = await merchant.partner(program), await merchant.coupon(program)
    code = await merchant.code(program, coupon, "PUBLIC")
    await admin.execute(FILL_REDEMPTIONS, program, code, coupon, partner, MANY)
    await admin.execute(FILL_REJECTIONS, program, partner, MANY)
    await admin.execute(FILL_STATS, program, partner, QUARTERS)
    for each in (program, other):
        await admin.execute(
            "DELETE FROM redemption.stats_kinds; INSERT INTO redemption.stats_kinds VALUES ('redemptions')"
        )
        await admin.execute("INSERT INTO redemption.stats_kinds VALUES ('rejections')")
        await admin.execute(TOUCH_ALL, each, 300, MANY)
    await admin.execute("ANALYZE")
    until = datetime.now(UTC)
    bounds = [until - timedelta(days=90) + timedelta(days=n) for n in range(91)]

    def asked(program_id: object = program, **more: Any) -> tuple[Any, ...]:
        wanted: dict[str, Any] = {"program_id": program_id, "partner_id": None, "coupon_id": None, "group_by": None}
        wanted |= {"way": "quarter", "slice": 0, "groups": 1, "is_live": False, "bounds": bounds}
        wanted |= {"since": bounds[0], "until": bounds[-1], "most_touched": MOST_TOUCHED, "most_facts": MOST_FACTS}
        return tuple(READ_STATS(**(wanted | {"most_rows": MOST_ROWS} | more))[1:])

    few = QUARTERS + 10
    for mode in MODES:
        await plans.prepare(mode)
        assert await plans.looked_at("READ_STATS", *asked()) <= few
        mine = {"partner_id": partner, "slice": 2, "way": "partner"}
        assert await plans.looked_at("READ_STATS", *asked(**mine)) <= few
        grouped = {"group_by": "partner_id", "slice": 2, "most_rows": 1_000}
        assert await plans.looked_at("READ_STATS", *asked(**grouped)) <= 1_010
        # The list has too many quarters to count any at once, or a few with many facts.
        live = {"is_live": True, "since": until - timedelta(days=3)}
        assert await plans.looked_at("READ_STATS", *asked(**live)) <= 300 + 2 * MOST_TOUCHED + 10
        live = {"is_live": True, "since": until - timedelta(hours=4)}
        assert await plans.looked_at("READ_STATS", *asked(**live)) <= MOST_FACTS + 200
        nothing = "00000000-0000-0000-0000-000000000000"
        first = ("redemptions", nothing, datetime(1970, 1, 1, tzinfo=UTC), 50)
        names = NEXT_TOUCHED.names
        given = dict(zip(("kind", "program_id", "quarter", "limit"), first, strict=True))
        assert await plans.looked_at("NEXT_TOUCHED", *(given[name] for name in names)) <= 110
        given = {"program_id": nothing, "next": first[2], "limit": 20}
        assert await plans.looked_at("WALK_REDEMPTIONS", *(given[name] for name in WALK_REDEMPTIONS.names)) <= 45
