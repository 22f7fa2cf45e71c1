"""Ordering: the speed of an ordered endpoint beside a bare program that sends one at a time, and the cost to others.

For `key` and for endpoints beside a strict one, `bare` is the same service with unordered endpoints.
"""

import random
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from bench.environment import Environment, Program, free_port
from bench.field import ATTEMPTS, PENDING, Field, arrived, counted, field, summary, wait_in_table
from shared.ids import new_id

ENDPOINTS = 20
DELIVERIES = 15_000
# Enough for several runs of a strict endpoint.
ORDERED = 2_000
WAITING = 10_000


def run(env: Environment, rounds: int) -> dict[str, Any]:
    """Measure a strict endpoint, endpoints ordered by key, and those without order beside a strict one."""
    ports, strict_port = [free_port() for _ in range(ENDPOINTS)], free_port()
    strict, by_key, beside = "strict, one by one", "key beside none", f"none beside {WAITING:,} strict"
    rows: dict[str, list[dict[str, Any]]] = {strict: [], by_key: [], beside: []}
    with (
        field(env, ENDPOINTS + 1, ports) as made,
        env.bare("bench.receiver", str(strict_port)) as receiver,
        env.bare("bench.bare.ordered", env.database_url, str(ORDERED), str(strict_port)) as bare,
    ):
        # A first, smaller lot opens connections and prepares plans.
        _spread(made, ports, "none", 1_000)
        for _ in range(rounds):
            rows[strict].append({"bare": bare.report(), "ours": _one_by_one(made, receiver, strict_port)})
            none = _spread(made, ports, "none", DELIVERIES)
            rows[by_key].append({"bare": none, "ours": _spread(made, ports, "key", DELIVERIES)})
            made.subscribe(ENDPOINTS, strict_port, ordering="strict")
            rows[beside].append({"bare": none, "ours": _spread(made, ports, "none", DELIVERIES, WAITING)})
    return {shape: summary(measured, "per_s") for shape, measured in rows.items()}


def _spread(made: Field, ports: Sequence[int], ordering: str, count: int, strict: int = 0) -> dict[str, Any]:
    """Return how fast this many arrive at endpoints with this ordering, while others wait for the strict one."""
    numbers = [number % ENDPOINTS for number in range(count)] + [ENDPOINTS] * strict
    random.Random(0).shuffle(numbers)  # noqa: S311 - the same order in each run

    async def measure() -> dict[str, Any]:
        await wait_in_table(made, numbers)
        report = await arrived(made, count)
        await counted(made, PENDING, 0)
        return {"per_s": (count - 1) / (report["last"] - report["first"])}

    for number, port in enumerate(ports):
        made.subscribe(number, port, ordering=ordering)
    try:
        return uvloop.run(measure())
    finally:
        made.unsubscribe()


def _one_by_one(made: Field, receiver: Program, port: int) -> dict[str, Any]:
    """Return how fast a strict endpoint gets its waiting deliveries, until the last attempt is written."""

    async def measure() -> dict[str, Any]:
        first = new_id()
        receiver.forget()
        await wait_in_table(made, [ENDPOINTS] * ORDERED)
        await counted(made, ATTEMPTS, ORDERED, first)
        finished = time.monotonic()
        report = receiver.report()
        if not report["count"] == report["distinct"] == ORDERED:
            raise SystemExit(f"{report['count']} POSTs, {report['distinct']} distinct, for {ORDERED} deliveries.")
        return {"per_s": (ORDERED - 1) / (finished - report["first"])}

    made.subscribe(ENDPOINTS, port, ordering="strict")
    try:
        return uvloop.run(measure())
    finally:
        made.unsubscribe()
