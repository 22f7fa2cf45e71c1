"""Runs the benchmarks: `python -m bench [SCENARIO...] [--rounds N] [--seconds S]`; results go to bench/results/.

The mixed day runs once, whatever the number of rounds.

Single shapes of redemption and single parts of webhooks can be measured; the file keeps the others as they were, and
with `--append` also earlier rounds of redemption.
"""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import chain, checkout, mint, mixed, redeem, stats, webhooks
from bench.environment import environment

RESULTS = Path(__file__).parent / "results"
SCENARIOS = ("mint", "checkout", "chain", "redeem", "webhooks", "mixed", "stats")
_HTTP_SECONDS = 3.0


def main() -> None:
    """Run the requested scenarios, write a JSON file for each, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="the scenarios to run; by default, all")
    parser.add_argument("--rounds", type=int, default=5, help="alternations of bare and ours (default 5)")
    parser.add_argument(
        "--seconds", type=float, help="length of one load over HTTP (default 3), and of the mixed day (default 300)"
    )
    parser.add_argument("--backlog", type=int, default=redeem.BACKLOG, help="number of prepared checkout events")
    parser.add_argument(
        "--shape", action="append", choices=redeem.SHAPES, help="the shapes of redemption; by default, all"
    )
    parser.add_argument("--rows", type=int, default=stats.ROWS, help="number of rows in each service for stats")
    parser.add_argument("--stats-parts", nargs="+", choices=stats.PARTS, default=[*stats.PARTS], help="of stats")
    parser.add_argument("--append", action="store_true", help="redemption: keep earlier rounds")
    parser.add_argument("--parts", nargs="+", choices=webhooks.PARTS, default=[*webhooks.PARTS], help="of webhooks")
    wanted = parser.parse_args()
    with environment() as env:
        for scenario in wanted.scenarios or SCENARIOS:
            if scenario == "mint":
                result = mint.run(env, wanted.rounds, wanted.seconds or _HTTP_SECONDS)
            elif scenario == "checkout":
                result = checkout.run(env, wanted.rounds, wanted.seconds or _HTTP_SECONDS)
            elif scenario == "chain":
                result = chain.run(env, wanted.rounds)
            elif scenario == "mixed":
                result = mixed.run(env, wanted.seconds or mixed.SECONDS)
            elif scenario == "stats":
                result = stats.run(env, wanted.rounds, wanted.seconds or _HTTP_SECONDS, wanted.rows, wanted.stats_parts)
            elif scenario == "webhooks":
                result = {**_earlier("webhooks"), **webhooks.run(env, wanted.rounds, wanted.parts)}
            else:
                earlier = _earlier("redeem") if wanted.append else {}
                measured = redeem.run(env, wanted.rounds, wanted.backlog, wanted.shape or redeem.SHAPES, earlier)
                result = {**earlier, **measured}
            if scenario == "mixed":
                _write(scenario, result, _facts(1))
                mixed.show(result)
                continue
            if scenario == "stats":
                _write(scenario, result, _facts(wanted.rounds))
                stats.show(result)
                continue
            # Parts of webhooks are measured at different times; each records its own.
            _write(scenario, result, {} if scenario == "webhooks" else _facts(wanted.rounds))
            _print(scenario, result)


def _facts(rounds: int) -> dict[str, Any]:
    return {"measured_at": datetime.now(UTC).isoformat(), "rounds": rounds}


def _write(scenario: str, result: dict[str, Any], facts: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    document = {**facts, "machine": machine, "result": result}
    (RESULTS / f"{scenario}.json").write_text(json.dumps(document, indent=1) + "\n")


def _earlier(scenario: str) -> dict[str, Any]:
    """Return earlier results."""
    path = RESULTS / f"{scenario}.json"
    return json.loads(path.read_text())["result"] if path.exists() else {}


def _print(scenario: str, result: dict[str, Any]) -> None:
    print(f"\n{scenario:<28}{'measure':>9}{'bare':>11}{'ours':>11}{'ours/bare':>11}")
    for shape, summary in result.items():
        for measure in ("per_s", "p50_ms", "p99_ms", "claim_ms"):
            if measure in summary:
                m = summary[measure]
                columns = "".join(
                    f"{m[name]:>11.2f}" if name in m else f"{'-':>11}" for name in ("bare", "ours", "ratio")
                )
                print(f"{shape:<28}{measure:>9}{columns}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
