"""Lists of deliveries and messages: each thing once however the pages fall, and never more looked at than a bound."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.webhooks.store import deliveries, messages
from tests.databases import Database
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed

MANY = 20_000
_FIRST, _LAST = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
FILL_DELIVERIES = """
INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, format, event_type, status, created_at, completed_at)
SELECT (lpad(to_hex(n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid, $1, gen_random_uuid(), 'flat',
       'code.redeemed', 'succeeded', now(), now()
FROM generate_series(1, $2::int) AS n
"""
FILL_MESSAGES = """
INSERT INTO webhooks.messages (id, format, program_id, partner_id, event_type, occurred_at, body, created_at)
SELECT gen_random_uuid(), format, $1, $2, 'code.redeemed', now(), '', now() - n * interval '1 second'
FROM generate_series(1, $3::int) AS n CROSS JOIN (VALUES ('flat'), ('standard')) AS f (format)
"""


@pytest.mark.parametrize("scanned", [1, 7, 2000])
async def test_every_delivery_is_listed_once_however_the_pages_fall(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    """Three endpoints with unlike numbers of deliveries: what one has looked at must not hide what another has not."""
    monkeypatch.setattr(deliveries, "SCANNED_PER_PAGE", scanned)
    key = merchant.program_key
    for n in range(4):
        if n < 3:
            await service.endpoint(key, "https://example.com/", status="paused")
        await service.consume(code_redeemed(merchant, f"A{n}"), code_redeemed(merchant, f"B{n}"))
    await service.admin.execute(
        "UPDATE webhooks.deliveries SET status = 'failed' WHERE id IN"
        " (SELECT id FROM webhooks.deliveries ORDER BY message_id LIMIT 5)"
    )
    rows = await service.query("SELECT id, status FROM webhooks.deliveries ORDER BY id DESC")
    assert len(rows) == 18
    for query, expected in (
        ("", [row["id"] for row in rows]),
        ("&status=failed", [row["id"] for row in rows if row["status"] == "failed"]),
        ("&event_type=code.redeemed", [row["id"] for row in rows]),
        ("&event_type=code.exhausted", []),
        ("&status=succeeded", []),
    ):
        assert [each["id"] for each in await service.pages("/deliveries", key, query)] == [
            str(each) for each in expected
        ], query


async def test_a_list_of_almost_nothing_looks_at_a_bounded_number(
    service: Service, merchant: Merchant, database: Database
) -> None:
    endpoint = uuid.UUID((await service.endpoint(merchant.partner_key, "https://example.com/", status="paused"))["id"])
    program, partner = merchant.program_id, merchant.partner_id
    page, bound = 51, 2000
    begin, end = service.clock() - timedelta(days=30), service.clock() + timedelta(days=1)
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "webhooks"})
    try:
        await connection.execute(FILL_DELIVERIES, endpoint, MANY)
        await connection.execute(FILL_MESSAGES, program, partner, MANY)
        await connection.execute("ANALYZE deliveries, messages")
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for status, type_ in (("canceled", None), (None, "code.exhausted"), ("failed", "code.redeemed")):
                for whose in ((program, None, None), (program, partner, None), (program, None, endpoint)):
                    arguments = (*whose, _LAST, _FIRST, status, type_, page, bound)
                    assert await looked_at(connection, deliveries.LIST_DELIVERIES, *arguments) <= bound + 3 * page
            newest = (program, None, None, _LAST, _FIRST, None, None, page, 0)
            assert await looked_at(connection, deliveries.LIST_DELIVERIES, *newest) <= 3 * page
            wanted: tuple[datetime | uuid.UUID | str | int | None, ...]
            wanted = (program, begin, end, _LAST, "code.exhausted", page, bound)
            assert await looked_at(connection, messages.LIST_OF_PROGRAM, *wanted) <= bound + 3 * page
            assert await looked_at(connection, messages.LIST_OF_PARTNER, *wanted, partner) <= bound + 3 * page
            assert await looked_at(connection, messages.LIST_OF_PARTNER, *wanted, uuid.uuid4()) == 0
    finally:
        await connection.close()


async def looked_at(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: Any) -> float:
    """Return how many deliveries and messages the statement reads, by the plan that has run."""
    plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments))
    return _rows(plan[0]["Plan"])


def _rows(node: dict[str, Any]) -> float:
    own = 0.0
    if node.get("Relation Name") in ("deliveries", "messages"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return own + sum(_rows(child) for child in node.get("Plans", []))
