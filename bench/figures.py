"""Runs work at a fixed rate, and summarises the results."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from shared.faults import TransientFault

PATIENCE_SECONDS = 5.0
_PERCENTS = {"p50_ms": 50.0, "p99_ms": 99.0, "p999_ms": 99.9}
# One piece of work; returns what went wrong, or None.
Work = Callable[[], Awaitable[str | None]]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least this percentage of the values do not exceed; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


@dataclass
class Seen:
    """The results: seconds from the time that each piece was due, and the failures by reason."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    """How many seconds late this program started the work; if that is much, it measures itself."""

    def summary(self) -> dict[str, Any]:
        """Return counts, and percentiles in milliseconds; None if nothing succeeded."""
        found = {name: percentile(self.latencies, percent) for name, percent in _PERCENTS.items()}
        return {
            "count": len(self.latencies) + self.failures.total(),
            "failed": self.failures.total(),
            **{name: None if math.isnan(value) else round(value * 1000, 2) for name, value in found.items()},
            "began_late_p99_ms": round(percentile(self.late, 99) * 1000, 2),
            "failures": dict(self.failures),
        }


async def at_rate(work: Work, per_second: float, seconds: float, *, patience_seconds: float = PATIENCE_SECONDS) -> Seen:
    """Start work at fixed times, whether or not earlier work is done.

    Latency counts from the time that the work was due, so work due during a stall includes the stall.
    """
    seen = Seen()
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(per_second * seconds)):
            due = began + number / per_second
            # Even if it is late, or the responses to earlier work would wait until all work has started.
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(_timed(work, due, seen, patience_seconds))
    return seen


async def _timed(work: Work, due: float, seen: Seen, patience_seconds: float) -> None:
    seen.late.append(time.monotonic() - due)
    try:
        async with asyncio.timeout(patience_seconds):
            fault = await work()
    except TimeoutError:
        fault = f"no answer within {patience_seconds:g} s"
    except (aiohttp.ClientError, TransientFault) as error:
        fault = type(error).__name__
    if fault is None:
        seen.latencies.append(time.monotonic() - due)
    else:
        seen.failures[fault] += 1
