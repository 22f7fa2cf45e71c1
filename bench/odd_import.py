"""An import with lines as merchants write them: 2 % of each oddity, every line accounted for, in bounded memory.

usage: python -m bench.odd_import [--rows N]; writes bench/results/odd_import.json.
"""

import argparse
import json
import os
import platform
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from bench.__main__ import RESULTS
from bench.bulk import Merchant, Peak
from bench.environment import Environment, call, environment

MOST_MEGABYTES: Final = 150
# As in a file that was put together from several.
_ENDS: Final = ("\r\n", "\n", "\r")
_PASSED_OVER: Final = "passed over"
HEADER: Final = (
    "Coupon Code;ACTIVE;Redemption limit;Ends;;Notes;opening uses;minimum order value;Minimum-Order-Currency"
)
NAMES: Final = "map=Coupon%20Code=code,Ends=expires_at&ignore_unknown_columns=true"
# Lines by their oddity, and the expected result: `created`, `passed over`, or the reason of a refusal.
ODDITIES: Final[dict[str, tuple[Callable[[int], str], str]]] = {
    "begins with #": (lambda n: f"#{n} OFF;yes;5;2031-06-30;;;;;", "created"),
    "empty row": (lambda _: ";;;;;;;;", _PASSED_OVER),
    "empty line": (lambda _: "", _PASSED_OVER),
    "yes and no": (lambda n: f"Y-{n};No;;;;;;;", "created"),
    "a whole number as 5.0": (lambda n: f"N-{n};1;5.0;;;;3.00;;", "created"),
    "a decimal comma": (lambda n: f"D-{n};;;;;;;12,50;EUR", "created"),
    "a time without an offset": (lambda n: f"T-{n};;;2031-06-30 23:59;;;;;", "created"),
    "Shopify's time": (lambda n: f"S-{n};;;2031-06-30 23:59:59 -0500;;;;;", "created"),
    "Stripe's time": (lambda n: f"U-{n};;;1940000000;;;;;", "created"),
    "blanks and marks": (lambda n: f'"{n} % & Café";;;;;said Ana;;;', "created"),
    "another script": (lambda n: f"АКЦИЯ-{n};;;;;;;;", "created"),
    "cells behind the header's": (lambda n: f"X-{n};;;;;;;;;;;", "created"),
    "a cell with a line end": (lambda n: f'L-{n};;;;;"two\nlines";;;', "created"),
    "no code": (lambda _: ";yes;;;;;;;", "missing_code"),
    "a bad flag": (lambda n: f"B-{n};maybe;;;;;;;", "invalid_value"),
    "a bad time": (lambda n: f"V-{n};;;06/30/2031;;;;;", "invalid_value"),
    "a bad code": (lambda n: f"€{n};;;;;;;;", "invalid_value"),
    "too few cells": (lambda n: f"F-{n};yes", "wrong_column_count"),
    "a quote that is not closed": (lambda n: f'"Q-{n};;;', "invalid_csv"),
    "a code twice": (lambda _: "TWICE;;;;;;;;", "duplicate_in_file"),
}


def write_file(path: Path, count: int) -> Counter[str]:
    """Write `count` lines with ends of all kinds, each oddity once in fifty; return the expected counts by result."""
    kinds = list(ODDITIES.values())
    expected: Counter[str] = Counter({"created": 1})
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"sep=;\r\n;;;\r\n{HEADER}\r\nTWICE;;;;;;;;\r\n")
        for n in range(count - 1):
            place = n % 50
            made, outcome = kinds[place] if place < len(kinds) else ((lambda n: f"P-{n:07};true;3;;;;;;"), "created")
            file.write(made(n) + _ENDS[n % len(_ENDS)])
            expected[outcome] += 1
    return expected


def measure(env: Environment, count: int) -> dict[str, float]:
    """Import the file; exits with a message if a line is not accounted for or memory exceeds the bound."""
    path = env.logs / "odd.csv"
    expected = write_file(path, count)
    with env.service("codes") as program:
        merchant = Merchant(env)
        with Peak(program) as peak:
            started = time.perf_counter()
            job = _finished(merchant, _upload(merchant, path))
            seconds = time.perf_counter() - started
    reasons = uvloop.run(_reasons(env.database_url, job["id"]))
    reasons["created"] = job["created"]
    expected.pop(_PASSED_OVER)
    if reasons != expected or job["processed"] != sum(expected.values()):
        raise SystemExit(f"not every line is accounted for: {reasons}, expected {expected}")
    if peak.megabytes > MOST_MEGABYTES:
        raise SystemExit(f"{peak.megabytes:.0f} MB are more than {MOST_MEGABYTES}")
    return {"lines": count, "lines_per_s": count / seconds, "peak_mb": peak.megabytes, **dict(expected)}


def _finished(merchant: Merchant, job_id: str) -> dict[str, Any]:
    """Wait until the job has finished and return it; on a busy machine the service may refuse a request."""
    url = f"{merchant.base}/v1/jobs/{job_id}"
    while True:
        time.sleep(1)
        with suppress(SystemExit):
            job: dict[str, Any] = call("GET", url, merchant.key)["data"]
            if job["state"] in ("done", "failed", "cancelled"):
                return job


async def _reasons(url: str, job_id: str) -> Counter[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT reason FROM codes.job_errors WHERE job_id = $1", job_id)
    finally:
        await connection.close()
    return Counter(row["reason"] for row in rows)


def _upload(merchant: Merchant, path: Path) -> str:
    headers = {"Authorization": f"Bearer {merchant.key}", "Content-Type": "text/csv"}
    headers["Content-Length"] = str(path.stat().st_size)
    url = f"{merchant.base}/v1/coupons/bench/promotion-codes/import?{NAMES}"
    with path.open("rb") as file:
        request = urllib.request.Request(url, data=file, headers=headers)  # noqa: S310 - our own loopback address
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - our own loopback address
            return str(json.load(answer)["data"]["id"])


def main() -> None:
    """Measure, write the file, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.odd_import", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000, help="lines (default 500,000)")
    with environment() as env:
        result = measure(env, parser.parse_args().rows)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    document = {"measured_at": datetime.now(UTC).isoformat(), "machine": machine, "result": result}
    (RESULTS / "odd_import.json").write_text(json.dumps(document, indent=1) + "\n")
    for name, value in result.items():
        print(f"  {name:<22}{value:>12,.2f}")


if __name__ == "__main__":
    main()
