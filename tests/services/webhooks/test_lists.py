"""Lists of deliveries and messages: each item once wherever pages end, and a bounded number of rows read."""

import json
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.webhooks.store import delivery_lists, messages, queue_lists
from tests.databases import Database
from tests.services.webhooks.conftest import (
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
)

MANY = 20_000
_FIRST, _LAST = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
FILL_DELIVERIES = """
INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, format, event_type, status, created_at, completed_at)
SELECT (lpad(to_hex(n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid, $1, gen_random_uuid(), 'flat',
       'code.redeemed', $4, now(), CASE WHEN $4 = 'pending' THEN NULL ELSE now() END
FROM generate_series($2::int, $3::int) AS n
"""
FILL_QUEUE = """
INSERT INTO webhooks.delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step,
                                     visible_at, ends_at)
SELECT id, endpoint_id, message_id, format, event_type, 'automatic', 1, now() + random() * interval '1 day',
       now() + interval '4 days'
FROM webhooks.deliveries WHERE status = 'pending'
"""
LEASE_SOME = """
UPDATE webhooks.delivery_queue SET token = 1, visible_at = now() + interval '1 hour'
WHERE delivery_id IN (SELECT id FROM webhooks.deliveries WHERE endpoint_id = $1 AND status = 'pending' LIMIT 30)
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
    """Three endpoints with different numbers of deliveries: rows read of one must not hide unread rows of another."""
    monkeypatch.setattr(delivery_lists, "SCANNED_PER_PAGE", scanned)
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
        counted = (await service.send("GET", f"/deliveries?limit=1&count=bounded{query}", key)).body["meta"]
        # Where only few may be read, fewer may be counted, and that is said.
        assert counted["count"] <= len(expected)
        assert counted["count"] == len(expected) or not counted["count_is_exact"]
        assert counted["count_is_exact"] or scanned < 18


@pytest.mark.parametrize("sorted_", [1, 3, 500])
async def test_what_waits_is_listed_once_however_much_lies_in_the_queue(
    database: Database, clock: HeldClock, monkeypatch: pytest.MonkeyPatch, sorted_: int
) -> None:
    """Four endpoints with different numbers of deliveries, some of them leased, and one endpoint paused."""
    monkeypatch.setattr(delivery_lists, "SORTED_PER_ENDPOINT", sorted_)
    async with running_service(database, clock, sends=False) as service:
        merchant = await make_merchant(service.admin, clock())
        key = merchant.program_key
        for n in range(4):
            members: dict[str, Any] = {"status": "paused"} if n == 1 else {"max_in_flight": 1}
            await service.endpoint(key, "https://example.com/", **members)
            await service.consume(*(code_redeemed(merchant, f"{name}{n}") for name in "ABC"))
        shown = await service.pages("/deliveries", key)
        assert len(shown) == 30
        for status in ("pending", "in_flight", "paused", "succeeded", "dead"):
            expected = [each for each in shown if each["status"] == status]
            assert await service.pages("/deliveries", key, f"&status={status}") == expected, status
            assert bool(expected) == (status in ("pending", "in_flight", "paused"))
            for query in ("&event_type=code.redeemed", "&since=2020-01-01T00:00:00Z"):
                assert await service.pages("/deliveries", key, f"&status={status}{query}") == expected
            for query in ("&event_type=code.exhausted", "&until=2020-01-01T00:00:00Z"):
                assert await service.pages("/deliveries", key, f"&status={status}{query}") == []


async def test_a_list_of_almost_nothing_looks_at_a_bounded_number(
    service: Service, merchant: Merchant, database: Database
) -> None:
    """With plans for one owner and with cached ones, whatever other owners have."""
    endpoint = uuid.UUID((await service.endpoint(merchant.partner_key, "https://example.com/", status="paused"))["id"])
    stranger = await make_merchant(service.admin, service.clock())
    crowd = uuid.UUID((await service.endpoint(stranger.partner_key, "https://example.com/", status="paused"))["id"])
    program, partner = merchant.program_id, merchant.partner_id
    page, bound = 51, 2000
    begin, end = service.clock() - timedelta(days=30), service.clock() + timedelta(days=1)
    bounds = {"limit": page, "now": begin, "most": 1001, "sources": 50, "scanned": bound}
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "webhooks"})
    try:
        await connection.execute(FILL_DELIVERIES, endpoint, 1, MANY, "succeeded")
        await connection.execute(FILL_DELIVERIES, crowd, MANY + 1, 3 * MANY, "succeeded")
        await connection.execute(FILL_MESSAGES, program, partner, MANY)
        await connection.execute("ANALYZE deliveries, messages")
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for statuses, type_ in (("{canceled}", None), (None, "code.exhausted"), ("{failed}", "code.redeemed")):
                for whose in ((program, None, None), (program, partner, None), (program, None, endpoint)):
                    chosen = {**owned(*whose), "statuses": statuses, "type": type_, "share": bound}
                    every = delivery_lists.LIST_DELIVERIES(**chosen, **bounds)
                    assert await looked_at(connection, *every) <= bound + 3 * page
            chosen = {**owned(program, None, None), "statuses": None, "type": None, "share": 0}
            newest = delivery_lists.LIST_DELIVERIES(**chosen, **bounds)
            assert await looked_at(connection, *newest) <= 3 * page
            wanted: dict[str, Any] = {"program": program, "since": begin, "until": end, "until_id": _LAST}
            wanted |= {"type": "code.exhausted", "limit": page, "scanned": bound}
            assert await looked_at(connection, *messages.LIST_OF_PROGRAM(**wanted)) <= bound + 3 * page
            of_partner = messages.LIST_OF_PARTNER
            assert await looked_at(connection, *of_partner(**wanted, partner=partner)) <= bound + 3 * page
            assert await looked_at(connection, *of_partner(**wanted, partner=uuid.uuid4())) == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("waiting", [40, MANY])
async def test_what_waits_is_found_among_what_waits_for_others(
    service: Service, merchant: Merchant, database: Database, waiting: int
) -> None:
    """A few or many, among twice as many newer ones of other owners."""
    key = merchant.partner_key
    paused, active = [
        uuid.UUID((await service.endpoint(key, "https://example.com/", status=status))["id"])
        for status in ("paused", "active")
    ]
    stranger = await make_merchant(service.admin, service.clock())
    crowd = uuid.UUID((await service.endpoint(stranger.partner_key, "https://example.com/", status="paused"))["id"])
    page, bound, now = 51, 500, service.clock()
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "webhooks"})
    try:
        for place, endpoint in enumerate((paused, active)):
            await connection.execute(FILL_DELIVERIES, endpoint, place * MANY + 1, place * MANY + waiting, "pending")
        await connection.execute(FILL_DELIVERIES, crowd, 2 * MANY + 1, 4 * MANY, "pending")
        await connection.execute(FILL_QUEUE)
        await connection.execute(LEASE_SOME, active)
        await connection.execute("ANALYZE deliveries, delivery_queue")
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for endpoint_id in (None, paused, active):
                wanted = {**owned(merchant.program_id, None, endpoint_id), "type": None, "limit": page, "now": now}
                bounds = {"sorted": bound, "most": 1001, "most_sorted": 20, "scanned": 2000}
                for status in ("paused", "pending"):
                    waiting_ones = queue_lists.LIST_WAITING(**wanted, **bounds, status=status)
                    assert await looked_at(connection, *waiting_ones) <= bound + 2 * 2000 + 5 * page
                in_flight = queue_lists.LIST_IN_FLIGHT(**wanted, status="in_flight", most_leased=20_000)
                assert await looked_at(connection, *in_flight) <= 2 * page
    finally:
        await connection.close()


def owned(program: uuid.UUID, partner: uuid.UUID | None, endpoint: uuid.UUID | None) -> dict[str, Any]:
    return {"program": program, "partner": partner, "endpoint": endpoint, "before": _LAST, "first": _FIRST}


async def looked_at(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: Any) -> float:
    """Return how many deliveries and messages the statement reads, from its executed plan."""
    texts = [None if each is None else str(each) for each in arguments]
    values = await connection.fetchval("SELECT string_agg(quote_nullable(t), ', ') FROM unnest($1::text[]) AS t", texts)
    await connection.execute(f"PREPARE wanted AS {statement}")
    try:
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE wanted ({values})"))
    finally:
        await connection.execute("DEALLOCATE wanted")
    return _rows(plan[0]["Plan"])


def _rows(node: dict[str, Any]) -> float:
    own = 0.0
    if node.get("Relation Name") in ("deliveries", "delivery_queue", "messages"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return own + sum(_rows(child) for child in node.get("Plans", []))
