"""Minting by single HTTP requests, beside bare servers that mint in one statement per request or per group.

The last three shapes are compared with a bare server that also writes and publishes everything that a mint leaves.
"""

import asyncio
import contextlib
import hashlib
import statistics
import uuid
from collections.abc import Iterator
from typing import Any

import asyncpg
import uvloop

from bench.bare import mint as bare
from bench.environment import BENCH_PROGRAM, OPERATOR_TOKEN, Environment, Program, call, free_port
from bench.load import Load, run_load

PARTNERS = 100
# Connections, partners, and the bare mode to compare with.
SHAPES = (
    ("one client", 1, 1, "one"),
    ("32 clients, one partner", 32, 1, "group"),
    ("32 clients, 100 partners", 32, PARTNERS, "group"),
    ("128 clients, 100 partners", 128, PARTNERS, "group"),
    ("one client, same work", 1, 1, "whole"),
    ("one partner, same work", 32, 1, "whole"),
    ("100 partners, same work", 32, PARTNERS, "whole"),
)
_WAYS = ("one", "group", "whole")


def product_keys(env: Environment) -> list[str]:
    """Create a program with partners, quotas and keys with a high rate limit; return the keys."""
    base = env.urls["codes"]
    program = call("POST", f"{base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
    manage = call("POST", f"{base}/v1/programs/{program}/keys", OPERATOR_TOKEN, {})["data"]["key"]
    keys = []
    for number in range(PARTNERS):
        wanted = {"name": f"Partner {number}", "prefix": f"P{number}", "status": "active"}
        partner = call("POST", f"{base}/v1/partners", manage, wanted)["data"]["id"]
        call("POST", f"{base}/v1/partners/{partner}/quota", manage, {"amount": 100_000_000})
        limit = {"rate_limit_per_minute": 1_000_000}
        keys.append(call("POST", f"{base}/v1/partners/{partner}/keys", manage, limit)["data"]["key"])
    return keys


async def prepare_bare(env: Environment) -> list[str]:
    """Create the bare tables with the same number of partners; return their keys."""
    connection = await asyncpg.connect(env.database_url)
    await connection.execute(bare.SCHEMA)
    keys = [f"bare-key-{number:060d}" for number in range(PARTNERS)]
    rows = [(n, hashlib.sha256(key.encode()).digest(), f"P{n}", True, 10**12) for n, key in enumerate(keys)]
    await connection.copy_records_to_table("partners", schema_name="bare", records=rows)
    whole = [(uuid.uuid4(), uuid.uuid4(), key_hash, prefix) for _, key_hash, prefix, *_ in rows]
    partners = [(partner_id, prefix, True, 10**12) for _, partner_id, _, prefix in whole]
    await connection.copy_records_to_table("whole_partners", schema_name="bare", records=partners)
    limited = [
        (key_id, key_hash, partner_id, ["codes:generate"], 1_000_000) for key_id, partner_id, key_hash, _ in whole
    ]
    columns = ["id", "key_hash", "partner_id", "scopes", "a_minute"]
    await connection.copy_records_to_table("whole_keys", schema_name="bare", records=limited, columns=columns)
    await connection.close()
    return keys


@contextlib.contextmanager
def servers(env: Environment) -> Iterator[tuple[dict[str, int], dict[str, Program]]]:
    """Run the product's codes service and the bare servers side by side; the idle ones cost nothing."""
    with contextlib.ExitStack() as stack:
        ports = {"ours": int(env.urls["codes"].rpartition(":")[2])}
        programs = {"ours": stack.enter_context(env.service("codes"))}
        for way in _WAYS:
            ports[way] = free_port()
            more = [env.amqp_url] if way == "whole" else []
            bare_server = env.bare("bench.bare.mint", env.database_url, str(ports[way]), way, *more)
            programs[way] = stack.enter_context(bare_server)
        yield ports, programs


def run(env: Environment, rounds: int, seconds: float) -> dict[str, Any]:
    """Alternate bare and ours, shape by shape, round by round, and return medians, ratios and the raw rounds."""
    bare_keys = asyncio.run(prepare_bare(env))
    raw: dict[str, list[dict[str, Any]]] = {shape[0]: [] for shape in SHAPES}
    with servers(env) as (ports, _):
        keys = {"ours": product_keys(env), **dict.fromkeys(_WAYS, bare_keys)}
        for way in ("ours", *_WAYS):
            run_one(ports[way], keys[way], connections=8, seconds=1)
        for _ in range(rounds):
            for name, connections, partners, way in SHAPES:
                row = {}
                for side, server in (("bare", way), ("ours", "ours")):
                    load = run_one(ports[server], keys[server][:partners], connections=connections, seconds=seconds)
                    if set(load.statuses) != {200}:
                        raise SystemExit(
                            f"{server} answered {dict(load.statuses)}; a figure of this run means nothing."
                        )
                    row[side] = {"per_s": load.rate, "p50_ms": load.percentile(50), "p99_ms": load.percentile(99)}
                raw[name].append(row)
    return {name: _summary(rows) for name, rows in raw.items()}


def run_one(port: int, keys: list[str], *, connections: int, seconds: float) -> Load:
    """Load one server."""
    return uvloop.run(run_load(port, keys, connections=connections, seconds=seconds))


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": rows}
    for measure in ("per_s", "p50_ms", "p99_ms"):
        summary[measure] = {side: statistics.median(row[side][measure] for row in rows) for side in ("bare", "ours")}
        summary[measure]["ratio"] = statistics.median(row["ours"][measure] / row["bare"][measure] for row in rows)
    return summary
