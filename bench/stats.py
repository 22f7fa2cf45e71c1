"""90-day statistics by day over HTTP beside their bare statement, and what counting costs a mint and a delivery."""

import asyncio
import http.client
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import uvloop

from bench.environment import BENCH_PROGRAM, OPERATOR_TOKEN, Environment, call, free_port
from bench.field import field
from bench.figures import percentile
from bench.load import run_load
from bench.meter import Meter
from bench.stats_fill import DAYS, counted, fill
from bench.webhooks import SENDING_ENDPOINTS, from_the_queue
from services.codes.store import stats as codes_store
from services.redemption.store import stats as redemption_store
from services.webhooks.store import figures as webhooks_store
from shared.database.stats import MOST_CHANGES, piece_columns
from shared.steps import MOST_ROWS, Span

REQUESTS = 100
ROWS = 100_000
# Days of this zone begin at half past an hour of UTC, so they are made of the most figures.
ZONE = "Asia/Kolkata"
DELIVERIES = 6_000
PATHS = (
    ("codes", "/v1/stats/codes", None),
    ("codes", "/v1/stats/codes", "partner_id"),
    ("redemption", "/v1/stats/redemptions", None),
    ("redemption", "/v1/stats/redemptions", "partner_id"),
    ("webhooks", "/v1/stats/webhooks", None),
    ("webhooks", "/v1/stats/webhooks", "endpoint_id"),
)
PARTS = ("read", "mint", "deliver")


def run(env: Environment, rounds: int, seconds: float, rows: int, parts: list[str]) -> dict[str, Any]:
    """Fill all three services, let them count, then measure."""
    result: dict[str, Any] = {}
    if "read" in parts or "mint" in parts:
        with env.service("codes"):
            told = _prepared(env)
            if "read" in parts:
                result |= _read(env, rows, told)
            if "mint" in parts:
                result["mint with and without counting"] = _mints(env, rounds, seconds, told)
    if "deliver" in parts:
        result["delivery with and without counting"] = _deliveries(env, rounds)
    return {**result, "rows": rows}


def _read(env: Environment, rows: int, told: dict[str, Any]) -> dict[str, Any]:
    wrote = asyncio.run(fill(env.database_url, rows, told["program"]))
    with env.service("redemption"), env.service("webhooks"):
        added = asyncio.run(counted(env.database_url))
        print(f"{rows:,} rows in each service written in {wrote:.0f} s and added up in {added:.0f} s", flush=True)
        return {
            path if group_by is None else f"{path} by {group_by}": _measured(env, service, path, group_by, told)
            for service, path, group_by in PATHS
        }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'stats':<44}{'measure':>9}{'bare':>11}{'ours':>11}")
    for name, summary in result.items():
        if name == "rows":
            continue
        for measure, of in summary.items():
            print(f"{name:<44}{measure:>9}{of['bare']:>11.2f}{of['ours']:>11.2f}")


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


def _measured(env: Environment, service: str, path: str, group_by: str | None, told: dict[str, Any]) -> dict[str, Any]:
    until = datetime.now(UTC)
    since = until - timedelta(days=DAYS)
    connection = http.client.HTTPConnection("127.0.0.1", int(env.urls[service].rpartition(":")[2]), timeout=20)
    query = f"{path}?step=1d&zone={ZONE}&from={since:%Y-%m-%dT%H:%M:%SZ}&to={until:%Y-%m-%dT%H:%M:%SZ}"
    query += "" if group_by is None else f"&group_by={group_by}&groups=20"
    ours = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", query, headers={"Authorization": f"Bearer {told['manage']}"})
        answer = connection.getresponse()
        body = answer.read()
        ours.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"GET {query}: {answer.status} {body.decode()}")
    bare = asyncio.run(_bare(env, service, group_by, told["program"], since, until))
    return {
        f"p{percent}_ms": {"bare": percentile(bare, percent), "ours": percentile(ours, percent)} for percent in (50, 95)
    }


async def _bare(
    env: Environment, service: str, group_by: str | None, program: uuid.UUID, since: datetime, until: datetime
) -> list[float]:
    settings = {"search_path": service, "jit": "off"}
    connection = await asyncpg.connect(
        env.settings(service)[f"{service.upper()}_DATABASE_URL"], server_settings=settings
    )
    try:
        text, *values = _asked(service, group_by, program, since, until)
        prepared, found = await connection.prepare(text), []
        for _ in range(REQUESTS):
            began = time.perf_counter()
            await prepared.fetch(*values)
            found.append((time.perf_counter() - began) * 1000)
        return found
    finally:
        await connection.close()


def _asked(service: str, group_by: str | None, program: uuid.UUID, since: datetime, until: datetime) -> list[Any]:
    """Return the statement as the service runs it."""
    bounds = Span(since=since, until=until, step="1d", zone=None).bounds(ZoneInfo(ZONE), until)
    given: dict[str, Any] = {
        "program_id": program,
        "partner_id": None,
        "bounds": bounds,
        "since": bounds[0],
        "until": bounds[-1],
        "p": piece_columns(bounds),
        "way": "program",
        "group_by": group_by,
        "groups": 20,
        "is_live": True,
        "slice": {None: 0, "partner_id": 2, "endpoint_id": 3}[group_by],
        "most_changes": MOST_CHANGES,
        "most_rows": MOST_ROWS,
    }
    if service != "webhooks":
        store: Any = codes_store if service == "codes" else redemption_store
        return list(store.READ_STATS(**given, coupon_id=None))
    chosen = {"endpoint_id": None, "event_type": None, "reason": None, "by_reason": False}
    return webhooks_store.READ_STATS(**given, **chosen, by_endpoint=group_by is not None)


def _mints(env: Environment, rounds: int, seconds: float, told: dict[str, Any]) -> dict[str, Any]:
    """Mint with the triggers and without them, in turn."""
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    port = int(env.urls["codes"].rpartition(":")[2])
    for _ in range(rounds):
        for name, state in (("bare", "DISABLE"), ("ours", "ENABLE")):
            asyncio.run(_switch(env.database_url, state, "codes.promotion_codes"))
            load = uvloop.run(run_load(port, [told["key"]], connections=32, seconds=seconds))
            if set(load.statuses) != {200}:
                raise SystemExit(f"a mint was answered {dict(load.statuses)}; a figure of this run means nothing.")
            rates[name].append(load.rate)
    return {"per_s": {name: statistics.median(of) for name, of in rates.items()}}


def _deliveries(env: Environment, rounds: int) -> dict[str, Any]:
    """Deliver from the queue with the triggers and without them, in turn; CPU time of the service and the database."""
    used: dict[str, list[int]] = {"bare": [], "ours": []}
    ports = [free_port() for _ in range(SENDING_ENDPOINTS)]
    with field(env, SENDING_ENDPOINTS, ports) as made:
        for number, port in enumerate(ports):
            made.subscribe(number, port)
        uvloop.run(from_the_queue(made, 500))
        for number_of_round in range(rounds):
            sides = [("bare", "DISABLE"), ("ours", "ENABLE")]
            for name, state in sides if number_of_round % 2 else reversed(sides):
                tables = (f"webhooks.{table}" for table in ("messages", "deliveries", "attempts"))
                asyncio.run(_switch(env.database_url, state, *tables))
                made.receiver.forget()
                meter = Meter(env, {"service": made.service})
                uvloop.run(from_the_queue(made, DELIVERIES))
                spent = meter.microseconds_per(DELIVERIES)
                used[name].append(spent["service"] + spent["postgresql"])
    return {"cpu_us": {name: statistics.median(of) for name, of in used.items()}}


async def _switch(url: str, state: str, *tables: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for table in tables:
            await connection.execute(f"ALTER TABLE {table} {state} TRIGGER USER")
    finally:
        await connection.close()
