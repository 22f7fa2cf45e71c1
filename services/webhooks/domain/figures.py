"""Statistics of messages, deliveries and attempts: their groups, their figures, and histograms of durations."""

import math
import uuid
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final, Literal

from shared.steps import Counted, StatsFilter

GroupBy = Literal["endpoint_id", "partner_id", "event_type", "reason"]

# As the database makes them (`migrations/0340_stats.sql`).
_DIGITS: Final = 12
_GROWTH: Final = 1.1
_PERCENTILES: Final = (50, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatsFilter(StatsFilter):
    """A filter of figures; `event_type` may be a group such as `code.*`, `reason` is why attempts failed."""

    endpoint_id: uuid.UUID | None = None
    event_type: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Counted):
    """What a step counts of a group.

    Deliveries are those created in the step, by their status now; attempts are those that started in it, by the class
    of the response. `durations` is the histogram of the attempts that got a response, as text.
    """

    messages: int
    deliveries: int
    succeeded: int
    failed: int
    dead: int
    canceled: int
    answers_2xx: int
    answers_3xx: int
    answers_4xx: int
    answers_5xx: int
    unanswered: int
    first_tries: int
    first_successes: int
    durations: str

    @property
    def pending(self) -> int:
        """The deliveries that have not ended."""
        return self.deliveries - self.succeeded - self.failed - self.dead - self.canceled

    @property
    def attempts_failed(self) -> int:
        """The attempts that got no response, or another one than 2xx."""
        return self.answers_3xx + self.answers_4xx + self.answers_5xx + self.unanswered

    @property
    def attempts(self) -> int:
        """All attempts."""
        return self.answers_2xx + self.attempts_failed

    @property
    def first_try_rate(self) -> float | None:
        """The share of first attempts that succeeded; None if there were none."""
        return self.first_successes / self.first_tries if self.first_tries else None

    @property
    def duration_ms(self) -> Mapping[int, float] | None:
        """The durations at the percentiles, within 5 %; None if no attempt got a response."""
        ends = range(len(self.durations), 0, -_DIGITS)
        reached = [*accumulate(int(self.durations[max(0, end - _DIGITS) : end]) for end in ends)]
        if not reached[-1]:
            return None
        ranks = [math.ceil(reached[-1] * percent / 100) for percent in _PERCENTILES]
        durations = [round(_GROWTH ** (bisect_left(reached, rank) + 0.5), 1) for rank in ranks]
        return dict(zip(_PERCENTILES, durations, strict=True))


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """Figures, the largest group first, and as of when they are exact; None while an upgrade still counts."""

    figures: Sequence[Figure]
    as_of: datetime | None
