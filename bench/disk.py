"""The database's use of the disk, and the speed of the disk by itself."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.figures import percentile

_LOOP_SECONDS = 2.0
_PAGE = b"\0" * 8192
_COUNTS = """
SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits,
       (SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal')::bigint AS wal_fsyncs,
       (SELECT sum(fsyncs) FROM pg_stat_io WHERE object <> 'wal')::bigint AS other_fsyncs,
       (SELECT wal_bytes FROM pg_stat_wal)::bigint AS wal_bytes
"""


@dataclass(frozen=True)
class Counts:
    """The database's statistics at one moment; each server process reports its own a second late."""

    taken_at: float
    values: dict[str, int]

    @classmethod
    async def read(cls, database_url: str) -> "Counts":
        """Read them."""
        connection = await asyncpg.connect(database_url)
        try:
            row = await connection.fetchrow(_COUNTS)
        finally:
            await connection.close()
        assert row is not None
        return cls(time.monotonic(), {name: value or 0 for name, value in row.items()})

    def per_second_since(self, before: "Counts") -> dict[str, float]:
        """Return the rate of each between two moments."""
        seconds = self.taken_at - before.taken_at
        return {name: round((value - before.values[name]) / seconds, 1) for name, value in self.values.items()}


def fsync_loop(folder: Path, seconds: float = _LOOP_SECONDS) -> dict[str, float]:
    """Append and sync pages in a loop, with no other load; latencies are in milliseconds."""
    path = folder / "fsync-loop"
    latencies = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        began = time.perf_counter()
        while (started := time.perf_counter()) < began + seconds:
            os.write(descriptor, _PAGE)
            os.fdatasync(descriptor)
            latencies.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return {
        "per_s": round(len(latencies) / seconds, 1),
        "p50_ms": round(percentile(latencies, 50) * 1000, 3),
        "p99_ms": round(percentile(latencies, 99) * 1000, 3),
    }
