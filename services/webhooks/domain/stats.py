"""What became of an endpoint's deliveries, summed up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# So many deliveries cost a few tens of milliseconds to sum up, however many more there are.
LOOKED_AT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Stats:
    """Deliveries that were made from `since` to `until`, by status, and their attempts by the kind of answer.

    `is_whole` is false where there may be more deliveries than are looked at; `since` is then when the oldest of those
    was made. Durations are in milliseconds, at the given percentiles, of the attempts that were answered.
    """

    since: datetime
    until: datetime
    is_whole: bool
    deliveries: Mapping[str, int]
    attempts: Mapping[str, int]
    durations: Mapping[int, float]

    @property
    def success_rate(self) -> float | None:
        """Which part of the deliveries that have come to an end has arrived; None if none has."""
        ended = sum(self.deliveries.get(status, 0) for status in ("succeeded", "failed", "dead"))
        return self.deliveries.get("succeeded", 0) / ended if ended else None
