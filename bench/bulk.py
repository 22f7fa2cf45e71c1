"""Codes in bulk: a batch's job beside bare loads of finished rows into the same table, and an import with bad lines.

usage: python -m bench.bulk [batch] [import] [--rows N] [--rounds N]; writes bench/results/bulk.json, each scenario its
own part. Run nothing else on the machine meanwhile.
"""

import argparse
import json
import os
import platform
import statistics
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil
import uvloop

from bench.__main__ import RESULTS
from bench.environment import BENCH_PROGRAM, OPERATOR_TOKEN, Environment, Program, call, environment
from services.codes.domain.code_patterns import CodePattern
from shared.ids import new_id

SCENARIOS: Final = ("batch", "import")
_CHUNK: Final = 10_000
_STATEMENT: Final = 1_000
_BAD_EVERY: Final = 100
_COLUMNS: Final = (
    *("id", "program_id", "coupon_id", "code", "canonical", "is_auto_generated", "batch_id", "created_by_key_id"),
    *("created_at", "updated_at"),
)
UNNEST = """
INSERT INTO codes.promotion_codes (id, program_id, coupon_id, code, canonical, is_auto_generated, batch_id,
                                   created_by_key_id, created_at, updated_at)
SELECT u.id, $4, $5, u.code, u.canonical, true, $6, $7, $8, $8
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (id, code, canonical)
"""


class Peak:
    """The peak memory of a process during the block, in MB."""

    def __init__(self, program: Program) -> None:
        self._process = psutil.Process(program.process.pid)
        self._stop = threading.Event()
        self.megabytes = 0.0

    def __enter__(self) -> "Peak":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.megabytes = max(self.megabytes, self._process.memory_info().rss / 1e6)


class Merchant:
    """A program with a coupon and a key."""

    def __init__(self, env: Environment) -> None:
        self.base = env.urls["codes"]
        self.program_id = call("POST", f"{self.base}/v1/programs", OPERATOR_TOKEN, BENCH_PROGRAM)["data"]["id"]
        key = call("POST", f"{self.base}/v1/programs/{self.program_id}/keys", OPERATOR_TOKEN, {})["data"]
        self.key, self.key_id = key["key"], key["id"]
        coupon = {"coupon_discount_type": "percent", "coupon_discount_amount": 25, "coupon_duration_type": "once"}
        made = call("POST", f"{self.base}/v1/coupons", self.key, {"uuid_code": "bench", **coupon})
        self.coupon_id = made["data"]["id"]

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait until a job has finished and return it."""
        while True:
            job: dict[str, Any] = call("GET", f"{self.base}/v1/jobs/{job_id}", self.key)["data"]
            if job["state"] in ("done", "failed", "cancelled"):
                return job
            time.sleep(0.1)


async def bare_load(url: str, merchant: Merchant, count: int, way: str) -> float:
    """Load finished rows, ten thousand per transaction, and return the seconds that the database took."""
    connection = await asyncpg.connect(url)
    pattern, now, batch_id = CodePattern(), datetime.now(UTC), new_id()
    fixed = [uuid.UUID(each) for each in (merchant.program_id, merchant.coupon_id, merchant.key_id)]
    seconds = 0.0
    for _ in range(0, count, _CHUNK):
        spelled = pattern.spell(os.urandom(pattern.bytes_for(_CHUNK)))
        codes, canonicals = spelled.codes[:_CHUNK], spelled.canonicals[:_CHUNK]
        ids = [new_id() for _ in codes]
        program_id, coupon_id, key_id = fixed
        records = [
            (each, program_id, coupon_id, code, canonical, True, batch_id, key_id, now, now)
            for each, code, canonical in zip(ids, codes, canonicals, strict=True)
        ]
        started = time.perf_counter()
        async with connection.transaction():
            if way == "copy":
                await connection.copy_records_to_table(
                    "promotion_codes", schema_name="codes", records=records, columns=_COLUMNS
                )
            else:
                for at in range(0, _CHUNK, _STATEMENT):
                    part = slice(at, at + _STATEMENT)
                    await connection.execute(
                        UNNEST, ids[part], codes[part], canonicals[part], program_id, coupon_id, batch_id, key_id, now
                    )
        seconds += time.perf_counter() - started
    await connection.close()
    return seconds


async def empty(url: str) -> None:
    """Remove all codes, so that every load finds the same table."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE codes.promotion_codes")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def counted(url: str) -> int:
    """Return how many codes there are."""
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval("SELECT count(*) FROM codes.promotion_codes")
    await connection.close()
    return count


def batches(env: Environment, rounds: int, count: int) -> dict[str, Any]:
    """Alternate the bare loads and the job, each into the emptied table."""
    rows = []
    with env.service("codes") as program:
        merchant = Merchant(env)
        for _ in range(rounds):
            row: dict[str, Any] = {}
            for way in ("copy", "unnest"):
                uvloop.run(empty(env.database_url))
                row[way] = count / uvloop.run(bare_load(env.database_url, merchant, count, way))
            uvloop.run(empty(env.database_url))
            with Peak(program) as peak:
                started = time.perf_counter()
                url = f"{merchant.base}/v1/coupons/bench/promotion-codes/batch"
                made = call("POST", url, merchant.key, {"count": count})["data"]["job"]
                job = merchant.finished(made["id"])
                row["ours"] = count / (time.perf_counter() - started)
            row["peak_mb"] = peak.megabytes
            if job["created"] != count or uvloop.run(counted(env.database_url)) != count:
                raise SystemExit(f"not the count asked for: {job}")
            row["ratio"] = row["ours"] / max(row["copy"], row["unnest"])
            rows.append(row)
    return {"count": count, "rounds": rows, **_medians(rows, ("copy", "unnest", "ours", "ratio", "peak_mb"))}


def write_file(path: Path, count: int) -> int:
    """Write a CSV file with one invalid line in a hundred, and return their number."""
    bad = 0
    with path.open("w") as file:
        file.write("code,expires_at,customer_id\n")
        for number in range(count):
            if number % _BAD_EVERY == 0:
                bad += 1
                file.write(f"B-{number:08},never,\n")
            else:
                file.write(f"I-{number:08},2027-01-01T00:00:00Z,Customer {number}\n")
    return bad


def imports(env: Environment, rounds: int, count: int) -> dict[str, Any]:
    """Import a file with invalid lines, into the emptied table."""
    path = env.logs / "import.csv"
    bad = write_file(path, count)
    rows = []
    with env.service("codes") as program:
        merchant = Merchant(env)
        for _ in range(rounds):
            uvloop.run(empty(env.database_url))
            with Peak(program) as peak:
                started = time.perf_counter()
                job = _upload(merchant, path)
                uploaded = time.perf_counter()
                job = merchant.finished(job["id"])
                ended = time.perf_counter()
            if (job["created"], job["refused"]) != (count - bad, bad):
                raise SystemExit(f"not every line is accounted for: {job}")
            rows.append(
                {"upload_s": uploaded - started, "lines_per_s": count / (ended - started), "peak_mb": peak.megabytes}
            )
    return {"count": count, "bad": bad, "rounds": rows, **_medians(rows, ("upload_s", "lines_per_s", "peak_mb"))}


def _upload(merchant: Merchant, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{merchant.base}/v1/coupons/bench/promotion-codes/import",
            data=file,
            headers={
                "Authorization": f"Bearer {merchant.key}",
                "Content-Type": "text/csv",
                "Content-Length": str(path.stat().st_size),
            },
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - our own loopback address
            data: dict[str, Any] = json.load(answer)["data"]
            return data


def _medians(rows: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in names}


def _write(scenario: str, result: dict[str, Any]) -> None:
    path = RESULTS / "bulk.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    document[scenario] = {"measured_at": datetime.now(UTC).isoformat(), "machine": machine, "result": result}
    path.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    """Run the requested scenarios, write the file, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.bulk", description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="the scenarios to run; by default, both")
    parser.add_argument("--rows", type=int, default=1_000_000, help="codes or lines (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=1, help="how often (default once)")
    wanted = parser.parse_args()
    runs: dict[str, Callable[[Environment, int, int], dict[str, Any]]] = {"batch": batches, "import": imports}
    with environment() as env:
        for scenario in wanted.scenarios or SCENARIOS:
            result = runs[scenario](env, wanted.rounds, wanted.rows)
            _write(scenario, result)
            print(f"\n{scenario} of {wanted.rows:,}, median of {wanted.rounds}")
            for name, value in result.items():
                if isinstance(value, float):
                    print(f"  {name:<12}{value:>12,.2f}")


if __name__ == "__main__":
    main()
