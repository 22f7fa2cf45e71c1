"""Work at a fixed rate, and the figures that describe how it went."""

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
# One piece of work: does it and returns what was wrong with it, or None.
Work = Callable[[], Awaitable[str | None]]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values are not above; not a number if there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


@dataclass
class Seen:
    """What came of work: seconds from the moment that each was due, and the failures by their reason."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)
    """By how many seconds this program itself began the work late; where that is much, it measures itself."""

    def summary(self) -> dict[str, Any]:
        """Return counts, and percentiles in milliseconds; None where nothing succeeded."""
        found = {name: percentile(self.latencies, percent) for name, percent in _PERCENTS.items()}
        return {
            "count": len(self.latencies) + self.failures.total(),
            "failed": self.failures.total(),
            **{name: None if math.isnan(value) else round(value * 1000, 2) for name, value in found.items()},
            "began_late_p99_ms": round(percentile(self.late, 99) * 1000, 2),
            "failures": dict(self.failures),
        }


async def at_rate(work: Work, per_second: float, seconds: float, *, patience_seconds: float = PATIENCE_SECONDS) -> Seen:
    """Begin the work at fixed moments, whether or not earlier work is done.

    A latency counts from the moment that the work was due: all that would have begun in a stall have waited through it.
    """
    seen = Seen()
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(per_second * seconds)):
            due = began + number / per_second
            # Also where it is late, or the answers to what was begun before would wait for all that is still to begin.
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
