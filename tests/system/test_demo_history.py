"""A demo's history is as the real path leaves one: counters, sums and statistics agree with the facts."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import ROOT
from tests.system.stack import Stack

# The first test waits for the stack, and for its history.
pytestmark = pytest.mark.timeout(300)

ARGUMENTS = ("demo", "fill", "--days", "30", "--codes", "900")

QUOTAS = """
SELECT p.code_prefix, p.quota_granted, p.quota_minted,
       (SELECT sum(amount) FROM codes.quota_ledger l WHERE l.partner_id = p.id AND kind = 'grant') AS granted,
       (SELECT sum(amount) FROM codes.quota_ledger l WHERE l.partner_id = p.id AND kind = 'mint') AS minted,
       (SELECT count(*) FROM codes.promotion_codes c WHERE c.partner_id = p.id AND c.is_auto_generated) AS codes,
       (SELECT count(DISTINCT i) FROM codes.quota_ledger l, unnest(l.code_ids) i
        WHERE l.partner_id = p.id) AS in_the_ledger
FROM codes.partners p WHERE p.program_id = $1 AND p.code_prefix IN ('DEMO', 'NORTH', 'LUMEN')
"""
USES = """
SELECT c.code, c.times_redeemed, coalesce(n.uses, 0) AS uses, coalesce(n.version, 0) AS version,
       c.times_redeemed_version,
       (SELECT count(*) FROM redemption.redemptions r WHERE r.code_id = c.id AND r.is_counted) AS counted
FROM codes.promotion_codes c LEFT JOIN redemption.code_counters n ON n.code_id = c.id WHERE c.program_id = $1
"""
CODE_STATS = """
SELECT (SELECT count(*) FROM codes.promotion_codes WHERE program_id = $1) AS minted_codes,
       (SELECT count(*) FROM codes.promotion_codes WHERE program_id = $1 AND times_redeemed > 0) AS redeemed_codes,
       sum(minted) AS minted, sum(redeemed) AS redeemed
FROM codes.stats_totals WHERE program_id = $1 AND slice = 0 AND level = $2
"""
REDEMPTION_STATS = """
SELECT f.*, s.* FROM (
    SELECT count(*) AS made, sum(discount_minor) AS taken_off, sum(commission_minor) AS earned,
           count(*) FILTER (WHERE voided_at IS NOT NULL) AS taken_back
    FROM redemption.redemptions WHERE program_id = $1) f, (
    SELECT sum(redemptions) AS redemptions, sum(discount_minor) AS discount, sum(commission_minor) AS commission,
           sum(voids) AS voids, sum(refusals) AS refusals
    FROM redemption.stats_totals WHERE program_id = $1 AND slice = 0 AND level = $2) s
"""
REASONS = "SELECT reason, sum(times) AS times FROM redemption.rejections WHERE program_id = $1 GROUP BY 1"
REASON_STATS = """
SELECT reason, sum(refusals) AS times FROM redemption.stats_totals
WHERE program_id = $1 AND slice = 4 AND level = 0 AND reason IS NOT NULL GROUP BY 1
"""
LEFT = """
SELECT (SELECT count(*) FROM codes.outbox o JOIN codes.events e ON e.id = o.event_id WHERE position($1 IN
            encode(e.body, 'escape')) > 0) AS of_codes,
       (SELECT count(*) FROM redemption.outbox o JOIN redemption.events e ON e.id = o.event_id WHERE position($1 IN
            encode(e.body, 'escape')) > 0) AS of_redemption,
       (SELECT count(*) FROM webhooks.outbox o JOIN webhooks.events e ON e.id = o.event_id WHERE position($1 IN
            encode(e.body, 'escape')) > 0) AS of_webhooks,
       (SELECT count(*) FROM webhooks.delivery_queue q JOIN webhooks.deliveries d ON d.id = q.delivery_id
        JOIN webhooks.endpoints e ON e.id = d.endpoint_id WHERE e.program_id::text = $1) AS due
"""
DELIVERIES = """
SELECT d.status, d.attempts_made, d.last_error_code, d.completed_at, l.reason, m.event_type, e.url,
       e.status AS standing,
       (SELECT count(*) FROM webhooks.attempts a WHERE a.delivery_id = d.id) AS attempts,
       (SELECT max(a.number) FROM webhooks.attempts a WHERE a.delivery_id = d.id) AS last_number
FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id
JOIN webhooks.messages m ON m.id = d.message_id AND m.format = d.format
LEFT JOIN webhooks.dead_letters l ON l.delivery_id = d.id
WHERE e.program_id = $1 AND e.url LIKE 'https://%.example/%'
"""
DELIVERY_STATS = """
SELECT s.*, f.*, t.* FROM (
    SELECT sum(deliveries) AS deliveries, sum(succeeded) AS succeeded, sum(dead) AS dead, sum(answers_2xx) AS answers,
           sum(unanswered) AS unanswered, sum(first_tries) AS first_tries
    FROM webhooks.stats_totals WHERE endpoint_id = ANY ($1) AND slice = 3 AND level = $2) s, (
    SELECT count(*) AS made, count(*) FILTER (WHERE status = 'succeeded') AS arrived,
           count(*) FILTER (WHERE status = 'dead') AS given_up
    FROM webhooks.deliveries WHERE endpoint_id = ANY ($1)) f, (
    SELECT count(*) FILTER (WHERE a.status = 204) AS answered, count(*) FILTER (WHERE a.status IS NULL) AS silent,
           count(*) FILTER (WHERE a.number = 1) AS first
    FROM webhooks.attempts a JOIN webhooks.deliveries d ON d.id = a.delivery_id WHERE d.endpoint_id = ANY ($1)) t
"""
REDEEMED = """
SELECT count(*) AS n FROM redemption.redemptions r JOIN codes.partners p ON p.id = r.partner_id
WHERE r.program_id = $1 AND p.code_prefix IN ('NORTH', 'LUMEN')
"""


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[str]:
    """The demo program with its history."""
    stack.mintwire(*ARGUMENTS, seconds=180)
    yield stack.told["program"]["id"]
    # Other tests of this stack want its doctor to be content.
    stack.mintwire("webhook", "dead", "purge", "--program", "--reason", "attempts_exhausted", seconds=60)


async def one(stack: Stack, sql: str, *arguments: object) -> dict[str, Any]:
    [row] = await stack.rows(sql, *arguments)
    return dict(row)


async def test_quotas_are_what_the_ledger_and_the_codes_say(stack: Stack, filled: str) -> None:
    rows = await stack.rows(QUOTAS, filled)
    assert {row["code_prefix"] for row in rows} == {"DEMO", "NORTH", "LUMEN"}
    for row in rows:
        assert row["quota_granted"] == row["granted"]
        assert row["quota_minted"] == row["minted"] == row["codes"] == row["in_the_ledger"]
    assert sum(row["codes"] for row in rows if row["code_prefix"] != "DEMO") > 100


async def test_every_code_shows_the_uses_that_redemption_counts(stack: Stack, filled: str) -> None:
    rows = await stack.rows(USES, filled)
    assert len(rows) > 400
    for row in rows:
        assert row["times_redeemed"] == row["uses"] == row["counted"], row
        assert row["times_redeemed_version"] == row["version"], row
    assert sum(row["uses"] for row in rows) > 200


@pytest.mark.parametrize("level", [0, 1, 2])
async def test_statistics_are_the_sums_of_the_facts(stack: Stack, filled: str, level: int) -> None:
    codes = await one(stack, CODE_STATS, filled, level)
    assert codes["minted"] == codes["minted_codes"]
    assert codes["redeemed"] == codes["redeemed_codes"]
    found = await one(stack, REDEMPTION_STATS, filled, level)
    assert found["redemptions"] == found["made"]
    assert found["discount"] == found["taken_off"]
    assert found["commission"] == found["earned"] > 0
    assert found["voids"] == found["taken_back"] > 0


async def test_refusals_are_there_by_reason_and_counted(stack: Stack, filled: str) -> None:
    reasons = {row["reason"]: row["times"] for row in await stack.rows(REASONS, filled)}
    assert {"code_expired", "code_used", "code_unknown"} <= set(reasons)
    assert {row["reason"]: row["times"] for row in await stack.rows(REASON_STATS, filled)} == reasons


async def test_a_code_is_held_and_refunds_lowered_commissions(stack: Stack, filled: str) -> None:
    held = await one(stack, "SELECT count(*) AS n FROM redemption.holds WHERE order_ref = 'demo-held'")
    refunds = await one(stack, "SELECT count(*) AS n FROM redemption.refunds WHERE order_ref LIKE 'demo-%'")
    lowered = await one(
        stack,
        "SELECT count(*) AS n FROM redemption.redemptions WHERE program_id = $1 AND commission_version > 0",
        filled,
    )
    assert held["n"] == 1
    assert refunds["n"] > 0
    assert lowered["n"] > 0


async def test_every_redemption_was_told_once_and_a_night_went_wrong(stack: Stack, filled: str) -> None:
    rows = await stack.rows(DELIVERIES, filled)
    redeemed = await one(stack, REDEEMED, filled)
    assert len(rows) == redeemed["n"]
    for row in rows:
        assert row["event_type"] == "code.redeemed"
        assert row["attempts_made"] == row["attempts"] == row["last_number"]
        assert (row["status"] == "dead") == (row["reason"] is not None)
        assert row["completed_at"] is not None
        # Nothing is ever sent to a receiver that does not exist.
        assert row["standing"] == "paused"
    tries = [row["attempts"] for row in rows if row["status"] == "succeeded"]
    assert max(tries) > 3
    assert [row for row in rows if row["status"] == "dead"]


@pytest.mark.parametrize("level", [0, 1, 2])
async def test_statistics_of_webhooks_are_the_sums_of_the_facts(stack: Stack, filled: str, level: int) -> None:
    sql = "SELECT id FROM webhooks.endpoints WHERE program_id = $1 AND url LIKE 'https://%.example/%'"
    endpoints = [row["id"] for row in await stack.rows(sql, filled)]
    found = await one(stack, DELIVERY_STATS, endpoints, level)
    assert found["deliveries"] == found["made"] > 100
    assert found["succeeded"] == found["arrived"]
    assert found["dead"] == found["given_up"] > 0
    assert found["answers"] == found["answered"]
    assert found["unanswered"] == found["silent"] > 0
    assert found["first_tries"] == found["first"] == found["made"]


async def test_the_demo_s_own_receiver_got_none_of_it(stack: Stack, filled: str) -> None:
    """It would have got hundreds of webhooks at once."""
    received = (stack.folder / "received-webhooks.jsonl").read_text()
    codes = await stack.rows(
        "SELECT code FROM codes.promotion_codes WHERE program_id = $1 AND code LIKE 'DEMO-%'", filled
    )
    used = await stack.rows("SELECT code FROM redemption.redemptions WHERE order_ref LIKE 'demo-0%'")
    assert {row["code"] for row in codes} & {row["code"] for row in used}
    assert not [row["code"] for row in used if row["code"] in received]


async def test_nothing_of_it_waits_to_be_published(stack: Stack, filled: str) -> None:
    """Partners would get webhooks about purchases of months ago."""
    assert await one(stack, LEFT, filled) == {"of_codes": 0, "of_redemption": 0, "of_webhooks": 0, "due": 0}


async def test_a_repeat_adds_nothing_and_another_history_is_refused(stack: Stack, filled: str) -> None:
    before = await one(stack, REDEMPTION_STATS, filled, 0)
    assert json.loads(stack.mintwire(*ARGUMENTS, "--json", seconds=180))["codes"] == 900
    assert await one(stack, REDEMPTION_STATS, filled, 0) == before
    stack.mintwire("demo", "fill", "--days", "31", seconds=60, statuses=[1])


@pytest.mark.parametrize("service", ["codes", "redemption", "webhooks"])
@pytest.mark.parametrize("case", ["no demo", "production"])
async def test_only_a_demo_in_development_is_filled(stack: Stack, service: str, case: str) -> None:
    """A merchant's statistics must never contain made-up sales."""
    url, token = f"{stack.url('codes')}/v1/programs", stack.told["operator_token"]
    program = await stack.made(url, key=token, body={"name": "A merchant", "is_demo": case == "production"})
    environment = stack.plan.service_environment(service, stack.plan.known_port(service))
    if case == "production":
        environment[f"{service.upper()}_ENVIRONMENT"] = "production"
    arguments = ["--program", program["id"], "--until", "2026-03-01T00:00:00Z", "--events", os.devnull]
    command = [sys.executable, "-m", f"services.{service}", "demo", *arguments]
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stderr=subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 60)
    wanted = {"no demo": (1, "is not a demo"), "production": (2, "development mode only")}[case]
    assert process.returncode == wanted[0], said
    assert wanted[1] in said.decode()
    sql = "SELECT count(*) AS n FROM codes.promotion_codes WHERE program_id = $1"
    assert (await one(stack, sql, program["id"]))["n"] == 0
