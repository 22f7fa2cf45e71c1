"""90-day statistics by day over HTTP beside their bare statement, and what noting changes costs a mint."""

import asyncio
import http.client
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import uvloop

from bench.environment import BENCH_PROGRAM, OPERATOR_TOKEN, Environment, call
from bench.figures import percentile
from bench.load import run_load
from services.codes.store import stats as codes_store
from services.redemption.store import stats as redemption_store
from shared.steps import Span

DAYS = 90
REQUESTS = 300
ROWS = 100_000
_AT_ONCE = 100_000
_PARTNERS, _COUPONS = 20, 20
_PATIENCE_SECONDS = 3_600.0

# Evenly over the days before now, of twenty partners and twenty coupons; a tenth of what is redeemed is voided.
FILL_CODES = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, times_redeemed, created_at,
                                   updated_at)
SELECT gen_random_uuid(), $1, ($2::uuid[])[1 + n % $4], ($3::uuid[])[1 + n / 7 % $5], 'B' || n, 'B' || n,
       (n % 3 = 0)::int, now() - n * ($6::interval / $7::bigint), now()
FROM generate_series($8::bigint, $9::bigint) AS n
"""
FILL_REDEMPTIONS = """
INSERT INTO redemption.redemptions (id, program_id, order_ref, canonical, code, code_id, coupon_id, partner_id,
    discount_type, discount_minor, commission_minor, currency, release_policy, occurred_at, confirmed_at, is_counted,
    voided_at, terms, decided_at)
SELECT gen_random_uuid(), $1, 'order-' || n, 'B' || n, 'B' || n, gen_random_uuid(), ($2::uuid[])[1 + n % $4],
       ($3::uuid[])[1 + n / 7 % $5], 'percent', 500, 50, 'EUR', 'always', o.at, o.at, n % 10 > 0,
       CASE WHEN n % 10 = 0 THEN o.at + interval '1 hour' END, '{}', now()
FROM generate_series($8::bigint, $9::bigint) AS n
CROSS JOIN LATERAL (SELECT now() - n * ($6::interval / $7::bigint) AS at) AS o
"""
IS_COUNTED = """
SELECT NOT EXISTS (SELECT FROM redemption.stats_changes) AND NOT EXISTS (SELECT FROM codes.stats_changes)
"""


def run(env: Environment, rounds: int, seconds: float, rows: int) -> dict[str, Any]:
    """Fill both services, let them count, then measure."""
    with env.service("codes"):
        told = _prepared(env)
        asyncio.run(_fill(env.database_url, rows, told))
        with env.service("redemption"):
            print(
                f"{rows:,} codes and redemptions counted in {asyncio.run(_counted(env.database_url)):.0f} s", flush=True
            )
            result = {
                path: _measured(env, service, path, told)
                for service, path in (("codes", "/v1/stats/codes"), ("redemption", "/v1/stats/redemptions"))
            }
        result["mint with and without noting it"] = _mints(env, rounds, seconds, told)
    return {**result, "rows": rows}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'stats':<34}{'measure':>9}{'bare':>11}{'ours':>11}")
    for name, summary in result.items():
        if name == "rows":
            continue
        for measure, of in summary.items():
            print(f"{name:<34}{measure:>9}{of['bare']:>11.2f}{of['ours']:>11.2f}")


def _prepared(env: Environment) -> dict[str, Any]:
    base = env.urls["codes"]
    program = call("POST", f"{base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
    manage = call("POST", f"{base}/v1/programs/{program}/keys", OPERATOR_TOKEN, {})["data"]["key"]
    partner = {"name": "Bench", "prefix": "BENCH", "email": "bench@bench.example", "status": "active"}
    owner = call("POST", f"{base}/v1/partners", manage, partner)["data"]["id"]
    call("POST", f"{base}/v1/partners/{owner}/quota", manage, {"amount": 100_000_000})
    limit = {"rate_limit_per_minute": 1_000_000}
    key = call("POST", f"{base}/v1/partners/{owner}/keys", manage, limit)["data"]["key"]
    return {"program": uuid.UUID(program), "manage": manage, "key": key}


async def _fill(url: str, rows: int, told: dict[str, Any]) -> None:
    coupons, partners = ([uuid.uuid4() for _ in range(number)] for number in (_COUPONS, _PARTNERS))
    connection = await asyncpg.connect(url, command_timeout=1200)
    try:
        for statement in (FILL_CODES, FILL_REDEMPTIONS):
            for first in range(1, rows + 1, _AT_ONCE):
                span = timedelta(days=DAYS), rows, first, min(rows, first + _AT_ONCE - 1)
                await connection.execute(statement, told["program"], coupons, partners, _COUPONS, _PARTNERS, *span)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _counted(url: str) -> float:
    began = time.monotonic()
    connection = await asyncpg.connect(url)
    try:
        while not await connection.fetchval(IS_COUNTED):
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise SystemExit("The services do not finish counting.")
            await asyncio.sleep(0.5)
        await connection.execute("VACUUM ANALYZE codes.stats")
        await connection.execute("VACUUM ANALYZE redemption.stats")
    finally:
        await connection.close()
    return time.monotonic() - began


def _measured(env: Environment, service: str, path: str, told: dict[str, Any]) -> dict[str, Any]:
    until = datetime.now(UTC)
    since = until - timedelta(days=DAYS)
    connection = http.client.HTTPConnection("127.0.0.1", int(env.urls[service].rpartition(":")[2]), timeout=20)
    query = f"{path}?step=1d&zone=Asia/Kolkata&from={since:%Y-%m-%dT%H:%M:%SZ}&to={until:%Y-%m-%dT%H:%M:%SZ}"
    ours = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", query, headers={"Authorization": f"Bearer {told['manage']}"})
        answer = connection.getresponse()
        body = answer.read()
        ours.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"GET {query}: {answer.status} {body.decode()}")
    bare = asyncio.run(_bare(env, service, told["program"], since, until))
    return {
        f"p{percent}_ms": {"bare": percentile(bare, percent), "ours": percentile(ours, percent)} for percent in (50, 95)
    }


async def _bare(env: Environment, service: str, program: uuid.UUID, since: datetime, until: datetime) -> list[float]:
    bounds = Span(since=since, until=until, step="1d", zone=None).bounds(UTC, until)
    given: dict[str, Any] = {
        "program_id": program,
        "partner_id": None,
        "coupon_id": None,
        "bounds": bounds,
        "since": bounds[0],
    }
    given |= {"until": bounds[-1], "way": "quarter", "slice": 0, "group_by": None, "groups": 1, "is_live": True}
    if service == "codes":
        text, *values = codes_store.READ_STATS(**given, most_changes=20_000, most_rows=200_000)
    else:
        text, *values = redemption_store.READ_STATS(**given, most_touched=200, most_facts=5_000, most_rows=200_000)
    settings = {"search_path": service, "jit": "off"}
    connection = await asyncpg.connect(
        env.settings(service)[f"{service.upper()}_DATABASE_URL"], server_settings=settings
    )
    try:
        prepared, found = await connection.prepare(text), []
        for _ in range(REQUESTS):
            began = time.perf_counter()
            await prepared.fetch(*values)
            found.append((time.perf_counter() - began) * 1000)
        return found
    finally:
        await connection.close()


def _mints(env: Environment, rounds: int, seconds: float, told: dict[str, Any]) -> dict[str, Any]:
    """Mint with the triggers and without them, in turn."""
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    port = int(env.urls["codes"].rpartition(":")[2])
    for _ in range(rounds):
        for name, state in (("bare", "DISABLE"), ("ours", "ENABLE")):
            asyncio.run(_switch(env.database_url, state))
            load = uvloop.run(run_load(port, [told["key"]], connections=32, seconds=seconds))
            if set(load.statuses) != {200}:
                raise SystemExit(f"a mint was answered {dict(load.statuses)}; a figure of this run means nothing.")
            rates[name].append(load.rate)
    return {"per_s": {name: statistics.median(of) for name, of in rates.items()}}


async def _switch(url: str, state: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"ALTER TABLE codes.promotion_codes {state} TRIGGER USER")
    finally:
        await connection.close()
