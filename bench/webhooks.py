"""Delivery: the speed beside a bare sender, the isolation from receivers that hang, and the cost of a claim.

For isolation `bare` is the same service in the same run with healthy receivers, and the measure is the time from
publishing an event to its first attempt. For claims `bare` is a table of a thousand deliveries.
"""

import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import uvloop

from bench import ordered
from bench.environment import Environment, free_port
from bench.field import ATTEMPTS, PENDING, Field, arrived, counted, field, publishing, summary, wait_in_table
from services.webhooks.dispatcher.holdings import MOST_BYTES
from services.webhooks.store import claims
from shared.ids import new_id

SENDING_ENDPOINTS = 20
# Enough for two seconds, so that writing the last group's results, during which nothing is sent, matters little.
DELIVERIES = 15_000
ISOLATED_ENDPOINTS = 100
QUEUED = 10_000
PER_SECOND = 150
SECONDS = 8
# Deliveries in the table, and how many of them are due.
TABLES = ((1_000, 1_000), (1_000_000, 1_000), (1_000_000, 1_000_000))
CLAIMS = 40
# This many due deliveries for each of a hundred endpoints; ids rise with time, as in production.
_FILL = (
    "TRUNCATE endpoints, endpoint_keys, messages, deliveries, delivery_queue, attempts CASCADE",
    """
INSERT INTO endpoints (id, program_id, url, event_types, format, status, max_in_flight, created_at, updated_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, gen_random_uuid(), 'https://example.com/', '{*}', 'flat', 'active', 50, now(),
       now()
FROM generate_series(1, 100) AS n
""",
    """
INSERT INTO messages (id, format, program_id, event_type, occurred_at, body, created_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'flat', gen_random_uuid(), 'code.redeemed', now(),
       convert_to(repeat('x', 250), 'UTF8'), now()
FROM generate_series(1, $1::int) AS n
""",
    """
INSERT INTO deliveries (id, endpoint_id, message_id, format, event_type, created_at)
SELECT lpad(to_hex(100 * m + e), 32, '0')::uuid, lpad(to_hex(e), 32, '0')::uuid, lpad(to_hex(m), 32, '0')::uuid, 'flat',
       'code.redeemed', now()
FROM generate_series(1, $1::int) AS m CROSS JOIN generate_series(1, 100) AS e
""",
    """
INSERT INTO delivery_queue (delivery_id, endpoint_id, message_id, format, event_type, trigger, step, visible_at,
                            ends_at)
SELECT id, endpoint_id, message_id, format, event_type, 'automatic', 1, now(), now() + interval '96 hours'
FROM deliveries ORDER BY id LIMIT $1
""",
    "VACUUM ANALYZE",
)


def throughput(env: Environment, rounds: int) -> dict[str, Any]:
    """Send from a backlog, in the table and in the queue, beside the bare sender, to the same receivers."""
    ports = [free_port() for _ in range(SENDING_ENDPOINTS)]
    rows: dict[str, list[dict[str, Any]]] = {"backlog in the table": [], "backlog in the queue": []}
    with (
        field(env, SENDING_ENDPOINTS, ports) as made,
        env.bare("bench.bare.hooks", str(DELIVERIES), *(str(port) for port in ports)) as bare,
    ):
        for number, port in enumerate(ports):
            made.subscribe(number, port)
        # A first, smaller lot opens connections and prepares plans.
        uvloop.run(from_the_queue(made, 500))
        for _ in range(rounds):
            for shape, measure in (
                ("backlog in the table", _from_the_table),
                ("backlog in the queue", from_the_queue),
            ):
                beside = bare.report()
                made.receiver.forget()
                used = made.service.cpu_seconds()
                ours = uvloop.run(measure(made, DELIVERIES))
                used = made.service.cpu_seconds() - used
                ours["cpu_us_per_delivery"] = round(used / DELIVERIES * 1e6)
                rows[shape].append({"bare": beside, "ours": ours})
    return {shape: summary(measured, "per_s") for shape, measured in rows.items()}


async def _from_the_table(made: Field, count: int) -> dict[str, Any]:
    first = new_id()
    await wait_in_table(made, [number % SENDING_ENDPOINTS for number in range(count)])
    return await _sent(made, count, first)


async def from_the_queue(made: Field, count: int) -> dict[str, Any]:
    first = new_id()
    made.service.pause()
    async with publishing(made) as publisher:
        await publisher.many([number % SENDING_ENDPOINTS for number in range(count)])
    made.service.go_on()
    return await _sent(made, count, first)


async def _sent(made: Field, count: int, first: uuid.UUID) -> dict[str, Any]:
    """Wait until everything is sent and every attempt is written; the rate includes both."""
    await counted(made, ATTEMPTS, count, first)
    finished = time.monotonic()
    report = made.receiver.report()
    made.receiver.forget()
    if not report["count"] == report["distinct"] == count:
        raise SystemExit(f"{report['count']} POSTs, {report['distinct']} distinct, for {count} deliveries.")
    return {"per_s": (count - 1) / (finished - report["first"])}


def isolation(env: Environment, rounds: int, hang: int) -> dict[str, Any]:
    """Publish at a fixed rate to all endpoints, with none and with several of them hanging behind a backlog."""
    quick, hanging = free_port(), free_port()
    rows: list[dict[str, Any]] = []
    with (
        field(env, ISOLATED_ENDPOINTS, [quick]) as made,
        env.bare("bench.receiver", "--hang", str(hanging)),
    ):
        for number_of_round in range(rounds):
            row = {}
            sides = [("bare", 0), ("ours", hang)]
            for side, sick in sides if number_of_round % 2 else reversed(sides):
                for number in range(ISOLATED_ENDPOINTS):
                    made.subscribe(number, hanging if number < sick else quick)
                row[side] = uvloop.run(_latencies(made, sick))
                made.unsubscribe()
                # A hanging attempt lasts until its timeout.
                uvloop.run(counted(made, PENDING, 0))
            rows.append(row)
    return {f"{hang} of {ISOLATED_ENDPOINTS} hang": summary(rows, "p50_ms", "p99_ms")}


async def _latencies(made: Field, sick: int) -> dict[str, Any]:
    """Return the latencies of the healthy endpoints."""
    well = list(range(sick, ISOLATED_ENDPOINTS))
    async with publishing(made) as publisher:
        # The first message opens the connection and loads the endpoint, for all of them at once.
        await publisher.at_rate(well, PER_SECOND)
        await arrived(made, len(well))
        if sick:
            await publisher.many([number % sick for number in range(QUEUED)])
            await counted(made, PENDING, QUEUED)
        # The side effects of this many new rows are not part of the measurement.
        await _settle(made)
        everybody = [number % ISOLATED_ENDPOINTS for number in range(PER_SECOND * SECONDS)]
        await publisher.at_rate(everybody, PER_SECOND)
    report = await arrived(made, sum(number >= sick for number in everybody))
    return {"p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"]}


async def _settle(made: Field) -> None:
    connection = await asyncpg.connect(made.env.database_url)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()


def claiming(env: Environment, rounds: int) -> dict[str, Any]:
    """Claim from a table of few deliveries, of many, and of many that are all due; each claim is rolled back."""
    few, many, due = (uvloop.run(_claim_from(env, *table, rounds)) for table in TABLES)
    return {
        name: summary([{"bare": bare, "ours": ours} for bare, ours in zip(few, measured, strict=True)], "claim_ms")
        for name, measured in (("claim, 1,000,000 deliveries", many), ("claim, 1,000,000 due", due))
    }


async def _claim_from(env: Environment, size: int, due: int, rounds: int) -> list[dict[str, float]]:
    """Fill the table once, and return the median of several claims for each round."""
    connection = await asyncpg.connect(env.database_url)
    await connection.execute("SET search_path TO webhooks")
    for statement, arguments in zip(_FILL, ((), (), (size // 100,), (size // 100,), (due,), ()), strict=True):
        await connection.execute(statement, *arguments)
    measured = [
        {"claim_ms": statistics.median([await _claim_once(connection) for _ in range(CLAIMS)])} for _ in range(rounds)
    ]
    await connection.execute(_FILL[0])
    await connection.close()
    return measured


async def _claim_once(connection: Any) -> float:
    transaction = connection.transaction()
    await transaction.start()
    now = datetime.now(UTC)
    started = time.perf_counter()
    claimed = await claims.claim(
        connection,
        now=now,
        limit=100,
        limit_bytes=MOST_BYTES,
        leased_until=now + timedelta(seconds=45),
        token=1,
        start=uuid.uuid4(),
        rooms=[],
        room=20,
        ahead=10,
        asked=0.0,
        begin_within=0.1,
    )
    milliseconds = (time.perf_counter() - started) * 1000
    await transaction.rollback()
    if len(claimed) != 100:
        raise SystemExit(f"{len(claimed)} deliveries were claimed instead of 100.")
    return milliseconds


PARTS: dict[str, Callable[[Environment, int], dict[str, Any]]] = {
    "one-hangs": partial(isolation, hang=1),
    "half-hang": partial(isolation, hang=ISOLATED_ENDPOINTS // 2),
    "throughput": throughput,
    "ordered": ordered.run,
    "claim": claiming,
}


def run(env: Environment, rounds: int, parts: Sequence[str]) -> dict[str, Any]:
    """Measure the requested parts and return medians, ratios and the raw rounds by shape, each with its time."""
    result: dict[str, Any] = {}
    for part in parts:
        measured = PARTS[part](env, rounds)
        measured_at = datetime.now(UTC).isoformat()
        result |= {shape: {"measured_at": measured_at, **summary} for shape, summary in measured.items()}
    return result
