"""Statistics of the deliveries of an endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Counting this many deliveries takes a few tens of milliseconds, however many more there are.
LOOKED_AT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Stats:
    """Deliveries created from `since` to `until` by status, and their attempts by class of response.

    `is_whole` is false if there were too many deliveries to count all; `since` is then the creation time of the oldest
    one counted. Durations are in milliseconds, at the given percentiles, of the attempts that got a response.
    """

    since: datetime
    until: datetime
    is_whole: bool
    deliveries: Mapping[str, int]
    attempts: Mapping[str, int]
    durations: Mapping[int, float]

    @property
    def success_rate(self) -> float | None:
        """The share of completed deliveries that succeeded; None if none has completed."""
        ended = sum(self.deliveries.get(status, 0) for status in ("succeeded", "failed", "dead"))
        return self.deliveries.get("succeeded", 0) / ended if ended else None
