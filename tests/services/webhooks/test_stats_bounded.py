"""What statistics look at grows with the steps that are asked for, not with deliveries, endpoints or event types."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from services.webhooks.store.figures import ADD_UP, READ_STATS
from shared.database.stats import LEVEL_COLUMNS, MOST_CHANGES, piece_columns
from shared.steps import MOST_ROWS, bounds_of
from tests.databases import Database
from tests.plans import MODES, Plans

MANY = 20_000
STATEMENTS = {"READ_STATS": READ_STATS.text, "ADD_UP": ADD_UP.text}
# Every figure has a total, and rows of many endpoints, of which one is always among them.
FILL_TOTALS = """
INSERT INTO stats_totals (program_id, slice, level, at, partner_id, endpoint_id, messages, deliveries, succeeded,
    failed, dead, canceled, answers_2xx, answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries,
    first_successes, durations)
SELECT $1, s, l.level, date_bin(l.size, now(), 'epoch') - n * l.size, CASE WHEN s = 3 THEN $2::uuid END,
       CASE WHEN s = 3 THEN CASE WHEN each = 1 THEN $3::uuid ELSE gen_random_uuid() END END,
       1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, histogram_of(each)
FROM (VALUES (0, interval '15 minutes'), (1, interval '1 hour'), (2, interval '6 hours')) AS l (level, size)
CROSS JOIN LATERAL generate_series(1, 91 * 86400 / extract(epoch FROM l.size)::int) AS n
CROSS JOIN unnest('{0,3}'::int[]) AS s
CROSS JOIN LATERAL generate_series(1, CASE WHEN s = 0 THEN 1 ELSE 4 END) AS each
"""
FILL_CHANGES = """
INSERT INTO stats_changes (program_id, quarter, event_type, messages)
SELECT $1, date_bin('15 minutes', now(), 'epoch') - n % 300 * interval '15 minutes', 'code.redeemed', 1
FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
async def connection(database: Database) -> Any:
    settings = {"search_path": "webhooks", "enable_seqscan": "off", "jit": "off"}
    made = await asyncpg.connect(database.admin, server_settings=settings)
    try:
        yield made
    finally:
        await made.close()


async def test_what_is_looked_at_is_bounded(connection: Any) -> None:
    program, other, partner, endpoint = (uuid.uuid4() for _ in range(4))
    for each, owned in ((program, endpoint), (other, uuid.uuid4())):
        await connection.execute(FILL_TOTALS, each, partner, owned)
        await connection.execute(FILL_CHANGES, each, MANY)
    await connection.execute("ANALYZE")
    until = datetime.now(UTC)
    bounds = bounds_of(until - timedelta(days=90), until, "1d", ZoneInfo("Asia/Kolkata"))

    def asked(**more: Any) -> tuple[Any, ...]:
        wanted: dict[str, Any] = dict.fromkeys(("partner_id", "endpoint_id", "event_type", "reason", "group_by"))
        wanted |= {"program_id": program, "way": "program", "slice": 0, "groups": 1, "is_live": False}
        wanted |= {"by_endpoint": False, "by_reason": False, "bounds": bounds, "p": piece_columns(bounds)}
        wanted |= {"since": bounds[0], "until": bounds[-1], "most_changes": MOST_CHANGES, "most_rows": MOST_ROWS}
        return tuple(READ_STATS(**(wanted | more))[1:])

    few, plans = 91 * 13, Plans(connection, STATEMENTS)
    for mode in MODES:
        await plans.prepare(mode)
        assert 1_000 < await plans.looked_at("READ_STATS", *asked()) <= few
        mine = {"endpoint_id": endpoint, "slice": 3, "by_endpoint": True, "way": "endpoint"}
        assert 1_000 < await plans.looked_at("READ_STATS", *asked(**mine)) <= few
        grouped = {"partner_id": partner, "group_by": "endpoint_id", "slice": 3, "by_endpoint": True, "way": "partner"}
        assert await plans.looked_at("READ_STATS", *asked(**grouped, most_rows=1_000)) <= 1_100
        assert await plans.looked_at("READ_STATS", *asked(is_live=True, most_changes=700)) <= few + 710
        assert await plans.looked_at("ADD_UP", *ADD_UP(limit=500, l=LEVEL_COLUMNS)[1:]) <= 2_100
