"""CPU time by process: microseconds per mint and per redeemed order, for the bare programs and ours.

usage: python -m bench.cpu; writes bench/results/cpu.json. Run nothing else on the machine meanwhile.
"""

import asyncio
import json
import statistics
import time
from typing import Any

import uvloop

from bench import chain, mint
from bench.__main__ import RESULTS
from bench.environment import Environment, environment
from bench.meter import Meter

_ROUNDS = 3
_SECONDS = 3.0


def mints(env: Environment) -> dict[str, Any]:
    """Measure minting by one client and by 32."""
    bare_keys = asyncio.run(mint.prepare_bare(env))
    rows: dict[str, list[dict[str, int]]] = {}
    with mint.servers(env) as (ports, programs):
        keys = {"ours": mint.product_keys(env), "one": bare_keys, "group": bare_keys}
        for _ in range(_ROUNDS):
            for shape, connections, partners, way in mint.SHAPES[:3]:
                for side in (way, "ours"):
                    meter = Meter(env, {"server": programs[side]})
                    load = mint.run_one(ports[side], keys[side][:partners], connections=connections, seconds=_SECONDS)
                    used = meter.microseconds_per(load.statuses[200])
                    rows.setdefault(f"{shape}, {'ours' if side == 'ours' else 'bare'}", []).append(used)
    return {name: _median(measured) for name, measured in rows.items()}


def orders(env: Environment) -> dict[str, Any]:
    """Measure the chain at 50 orders a second, where each is a batch of its own, and at saturation."""
    rows: dict[str, list[dict[str, int]]] = {}
    for _ in range(_ROUNDS):
        for name, make in (("bare", chain.bare_side), ("ours", chain.our_side)):
            with make(env) as side:
                meter = Meter(env, side.programs)
                uvloop.run(chain.at_rate(side, 50))
                rows.setdefault(f"at 50/s, {name}", []).append(meter.microseconds_per(50 * chain.SECONDS_AT_RATE + 100))
                time.sleep(1)
                meter = Meter(env, side.programs)
                uvloop.run(chain.saturate(side))
                rows.setdefault(f"at saturation, {name}", []).append(meter.microseconds_per(chain.BACKLOG))
    return {name: _median(measured) for name, measured in rows.items()}


def _median(rows: list[dict[str, int]]) -> dict[str, int]:
    return {name: round(statistics.median(row[name] for row in rows)) for name in rows[0]}


def main() -> None:
    """Measure, write the file, print a table."""
    with environment() as env:
        result = {"mint": mints(env), "chain": orders(env)}
    (RESULTS / "cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    for scenario, rows in result.items():
        print(f"\n{scenario}: microseconds of CPU per {'mint' if scenario == 'mint' else 'order'}")
        for name, used in rows.items():
            print(f"  {name:<32}" + "  ".join(f"{part} {us}" for part, us in used.items()))


if __name__ == "__main__":
    main()
