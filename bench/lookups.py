"""Lookups, list pages and mints with 10,000 and with 10,000,000 codes, side by side in two databases of one server.

`python -m bench.lookups prepare` fills both databases once, `python -m bench.lookups measure` then compares them.
"""

import argparse
import asyncio
import http.client
import json
import os
import platform
import random
import secrets
import shutil
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uvloop

from bench.environment import BENCH_PROGRAM, FOLDER, OPERATOR_TOKEN, ROOT, SERVICES, Environment, call, watched
from bench.load import run_load
from mintwire.stack.servers import Servers
from shared.web import encode_cursor

HERE = FOLDER / "lookups"
KEYS = HERE / "keys.json"
RESULT = ROOT / "bench" / "results" / "lookups.json"
SIZES = {"small": 10_000, "large": 10_000_000}
COUPONS, PARTNERS = 20, 20
# The number of objects that can be looked up by name, whatever the number of codes.
NAMED = 200

# Ids like UUIDv7, one code per millisecond up to now; the codes themselves are random. One coupon and one partner
# have only a handful of codes, and the first ones have as many as all others together.
FILL = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, partner_id, code, canonical, external_id,
                                   is_limited_to_customer, customer_id, is_auto_generated, expires_at, redemption_limit,
                                   created_at, updated_at)
SELECT (lpad(to_hex($6::bigint + n), 12, '0') || '7' || substr(md5('id' || n), 1, 3) || '8' ||
        substr(md5('id' || n), 4, 15))::uuid,
       $1, ($2::uuid[])[1 + CASE WHEN n % 2 = 0 THEN 0 ELSE (n / 2) % $4 END],
       ($3::uuid[])[1 + CASE WHEN n % 3 = 0 THEN 0 ELSE (n / 3) % $5 END],
       'B-' || c.text, 'B' || translate(c.text, 'OIL', '011'),
       CASE WHEN n % $7 = 0 THEN 'x' || n END, n % $7 = 0, CASE WHEN n % $7 = 0 THEN 'c' || n END,
       true, now() + interval '1 year', 1, now(), now()
FROM generate_series($8::bigint, $9::bigint) AS n, LATERAL (SELECT upper(substr(md5('code' || n), 1, 16)) AS text) c
"""
LISTED_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'codes' AND tablename = 'promotion_codes' AND indexname <> 'promotion_codes_pkey'
"""
SAMPLE = "SELECT id, code FROM codes.promotion_codes WHERE external_id IS NOT NULL AND archived_at IS NULL"


class Sized(Environment):
    """The product over one of the databases."""

    def __init__(self, servers: Servers, name: str, passwords: dict[str, str]) -> None:
        super().__init__(servers)
        self.name = name
        # Roles belong to the whole server, so both databases use the same passwords.
        self._passwords = passwords

    @property
    def database_url(self) -> str:
        """The superuser's URL of this database."""
        return self.servers.database_url.rpartition("/")[0] + f"/{self.name}"


@contextmanager
def sized() -> Iterator[dict[str, Sized]]:
    """Start the servers on the existing data."""
    with watched(HERE), Servers(HERE) as servers:
        asyncio.run(_create_databases(servers.database_url))
        passwords = {service: secrets.token_urlsafe(16) for service in SERVICES}
        made = {name: Sized(servers, name, passwords) for name in SIZES}
        for env in made.values():
            env.migrate()
        yield made


async def _create_databases(url: str) -> None:
    connection = await asyncpg.connect(url)
    there = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    for name in SIZES:
        if name not in there:
            await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()


def prepare() -> None:
    """Create both databases from scratch."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    with sized() as envs:
        KEYS.write_text(json.dumps({name: _prepared(env, SIZES[name]) for name, env in envs.items()}))


def _prepared(env: Sized, size: int) -> dict[str, Any]:
    with env.service("codes"):
        base = env.urls["codes"]
        program = call("POST", f"{base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
        manage = call("POST", f"{base}/v1/programs/{program}/keys", OPERATOR_TOKEN, {})["data"]["key"]
        terms = {"coupon_discount_type": "percent", "coupon_discount_amount": 10, "coupon_duration_type": "once"}
        coupons = [
            call("POST", f"{base}/v1/coupons", manage, {**terms, "uuid_code": f"coupon-{n}"})["data"]["id"]
            for n in range(COUPONS)
        ]
        partners, keys = [], []
        for n in range(PARTNERS):
            body = {"name": f"Partner {n}", "prefix": f"P{n}", "email": f"p{n}@bench.example", "status": "active"}
            partners.append(call("POST", f"{base}/v1/partners", manage, body)["data"]["id"])
            call("POST", f"{base}/v1/partners/{partners[-1]}/quota", manage, {"amount": 100_000_000})
            limit = {"rate_limit_per_minute": 1_000_000}
            keys.append(call("POST", f"{base}/v1/partners/{partners[-1]}/keys", manage, limit)["data"]["key"])
    asyncio.run(_fill(env.database_url, size, program, coupons, partners))
    return {"program": program, "manage": manage, "coupons": coupons, "partners": partners, "keys": keys}


async def _fill(url: str, size: int, program: str, coupons: list[str], partners: list[str]) -> None:
    """Insert the codes without indexes, then build the indexes and vacuum, as in a table that has been in use."""
    connection = await asyncpg.connect(url, command_timeout=1200)
    indexes = await connection.fetch(LISTED_INDEXES)
    for index in indexes:
        await connection.execute(f"DROP INDEX codes.{index['indexname']}")
    first = int(time.time() * 1000) - size
    for start in range(1, size + 1, 1_000_000):
        end = min(start + 999_999, size)
        await connection.execute(
            FILL, program, coupons, partners, COUPONS, PARTNERS, first, max(1, size // NAMED), start, end
        )
        print(f"{end:,} codes", flush=True)
    await connection.execute("SET maintenance_work_mem = '1GB'")
    for index in indexes:
        await connection.execute(index["indexdef"])
    await connection.execute("VACUUM ANALYZE codes.promotion_codes")
    await connection.execute("CHECKPOINT")
    await connection.close()


class Client:
    """A persistent connection to a codes service."""

    def __init__(self, env: Sized, told: dict[str, Any]) -> None:
        self.told = told
        self.step = max(1, SIZES[env.name] // NAMED)
        self.connection = http.client.HTTPConnection("127.0.0.1", int(env.urls["codes"].rpartition(":")[2]), timeout=20)
        self.samples = asyncio.run(_samples(env.database_url))
        self.random = random.Random(1)  # noqa: S311 - which codes are asked for, the same in each run

    def seconds(self, path: str) -> float:
        """Return how long a GET took; any status but 200 ends the run."""
        headers = {"Authorization": f"Bearer {self.told['manage']}"}
        if path.startswith("/api/partners"):
            headers = {"X-Partner-Key": self.told["keys"][0]}
        began = time.perf_counter()
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            raise SystemExit(f"GET {path}: {answer.status} {body.decode()}")
        return took


async def _samples(url: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(SAMPLE)
    await connection.close()
    return [(str(row["id"]), row["code"]) for row in rows]


def path(operation: str, client: Client) -> str:
    """Return the path of one request of an operation, for a random code, coupon or partner."""
    code_id, code = client.random.choice(client.samples)
    told, codes, query = client.told, "/v1/promotion-codes", "/api/v1/promotional-codes"
    coupon, partner = (client.random.choice(told[kind]) for kind in ("coupons", "partners"))
    cursor = encode_cursor(uuid.UUID(code_id))
    return {
        "by code": f"{codes}/{code.lower()}",
        "by id": f"{codes}/{code_id}",
        "by external id": f"{codes}?external_id=x{_number(client)}",
        "page 1": codes,
        "page 100": f"{codes}?page=100",
        "page after any code": f"{codes}?cursor={cursor}",
        "of a coupon": f"{codes}?coupon_id={coupon}",
        "of a coupon, after any code": f"{codes}?coupon_id={coupon}&cursor={cursor}",
        "of a partner": f"{codes}?partner_id={partner}",
        "of a partner by e-mail, after any code": f"{codes}?partner_email=p0@bench.example&cursor={cursor}",
        "of a partner and a coupon": f"{codes}?partner_id={partner}&coupon_id={coupon}",
        "of a customer": f"{codes}?customer_id=c{_number(client)}",
        "active ones": f"{codes}?active=true",
        "inactive ones, of which there are none": f"{codes}?active=false",
        "query API: by code": f"{query}?code={code}",
        "query API: of a coupon": f"{query}?couponId={coupon}&limit=50",
        "query API: of an affiliate and a coupon": f"{query}?affiliateId={partner}&couponId={coupon}&limit=50",
        "coupons with their newest codes": "/v1/coupons",
        "partner API: list": "/api/partners/codes",
        "partner API: redeemed ones, of which there are none": "/api/partners/codes?status=redeemed",
    }[operation]


OPERATIONS = (
    *("by code", "by id", "by external id", "page 1", "page 100", "page after any code", "of a coupon"),
    *("of a coupon, after any code", "of a partner", "of a partner by e-mail, after any code"),
    *("of a partner and a coupon", "of a customer", "active ones", "inactive ones, of which there are none"),
    *("query API: by code", "query API: of a coupon", "query API: of an affiliate and a coupon"),
    *("coupons with their newest codes", "partner API: list", "partner API: redeemed ones, of which there are none"),
)


def _number(client: Client) -> int:
    return client.step * client.random.randint(1, NAMED)


def measure(rounds: int, requests: int, seconds: float) -> dict[str, Any]:
    """Alternate small and large, operation by operation, round by round; then mint."""
    told = json.loads(KEYS.read_text())
    raw: dict[str, dict[str, list[float]]] = {name: {size: [] for size in SIZES} for name in OPERATIONS}
    mints: dict[str, list[float]] = {size: [] for size in SIZES}
    with sized() as envs, ExitStack() as stack:
        for env in envs.values():
            stack.enter_context(env.service("codes"))
        clients = {size: Client(env, told[size]) for size, env in envs.items()}
        for turn in range(rounds + 1):
            for name in OPERATIONS:
                for size, client in clients.items():
                    times = [client.seconds(path(name, client)) for _ in range(requests if turn else 10)]
                    if turn:
                        raw[name][size].append(statistics.median(times) * 1000)
            for size, env in envs.items():
                port = int(env.urls["codes"].rpartition(":")[2])
                load = uvloop.run(run_load(port, told[size]["keys"], connections=32, seconds=seconds if turn else 1))
                if set(load.statuses) != {200}:
                    raise SystemExit(f"a mint was answered {dict(load.statuses)}; a figure of this run means nothing.")
                if turn:
                    mints[size].append(load.rate)
    return {
        "p50_ms": {name: _compared(of) for name, of in raw.items()},
        "mints_per_s": _compared(mints),
        "requests_per_round": requests,
    }


def _compared(of: dict[str, list[float]]) -> dict[str, Any]:
    pairs = zip(of["small"], of["large"], strict=True)
    return {
        "small": statistics.median(of["small"]),
        "large": statistics.median(of["large"]),
        "ratio": statistics.median(large / small for small, large in pairs),
        "rounds": of,
    }


def main() -> None:
    """Prepare or measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.lookups", description=__doc__)
    parser.add_argument("step", choices=["prepare", "measure"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=60, help="of each operation in a round (default 60)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one minting load (default 1.5)")
    wanted = parser.parse_args()
    if wanted.step == "prepare":
        prepare()
        return
    result = measure(wanted.rounds, wanted.requests, wanted.seconds)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    document = {"measured_at": datetime.now(UTC).isoformat(), "machine": machine, "rounds": wanted.rounds}
    RESULT.write_text(json.dumps({**document, "codes": SIZES, "result": result}, indent=1) + "\n")
    print(f"{'p50 in ms':<56}{'small':>9}{'large':>9}{'ratio':>7}")
    for name, of in {**result["p50_ms"], "mints per second": result["mints_per_s"]}.items():
        print(f"{name:<56}{of['small']:>9.2f}{of['large']:>9.2f}{of['ratio']:>7.2f}")


if __name__ == "__main__":
    main()
