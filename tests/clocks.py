"""Where a step of statistics begins, reckoned from the clocks of a zone: apart from how the services reckon it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo


def step_of(at: datetime, data: Mapping[str, Any]) -> str | None:
    """Return the beginning of the step of an answer that a time lies in, as its text; None if it lies in none."""
    since, until = (datetime.fromisoformat(data[name]) for name in ("from", "to"))
    if not since <= at < until:
        return None
    clock = at.astimezone(ZoneInfo(data["zone"])).replace(second=0, microsecond=0)
    clock = clock.replace(minute=clock.minute // 15 * 15 if data["step"] == "15m" else 0)
    clock = clock.replace(hour=0, fold=0) if data["step"] == "1d" else clock
    return clock.astimezone(UTC).isoformat()[:19]
