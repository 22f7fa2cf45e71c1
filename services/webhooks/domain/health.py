"""The health of an endpoint over days: when its owner is warned, and when it is disabled.

Time decides, not the number of failures: an endpoint without a success in five days is disabled. A single old failure
does not count; the clock runs once two failures are half a day apart.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

DISABLE_AFTER: Final = timedelta(days=5)
MIN_FAILING: Final = timedelta(hours=12)
# In percent of the time after which the endpoint is disabled.
WARNING_LEVELS: Final = (50, 90)
# The minimum time between two writes of the last success and the last failure.
GRAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Health:
    """The recorded health of an endpoint; `failing_since` is the first failure since its last success."""

    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    warned_level: int = 0

    @property
    def disables_at(self) -> datetime | None:
        """When it will be disabled unless an attempt succeeds."""
        return None if self.failing_since is None else self.failing_since + DISABLE_AFTER


@dataclass(frozen=True, slots=True)
class Finding:
    """What follows from an outcome: the new health, and what has to be emitted or done."""

    health: Health
    warning: int = 0
    is_to_be_disabled: bool = False
    has_recovered: bool = False


def after_success(health: Health, at: datetime) -> Finding:
    """Return what follows from a success at a time; an unchanged health does not have to be written."""
    if health.last_failure_at is not None and health.failing_since is not None and at < health.failing_since:
        # An old success that was written late does not end the failures since.
        return Finding(health)
    is_news = health.failing_since is not None or _is_old(health.last_success_at, at)
    if not is_news:
        return Finding(health)
    healthy = replace(health, failing_since=None, last_success_at=at, warned_level=0)
    return Finding(healthy, has_recovered=health.warned_level > 0)


def after_failure(health: Health, at: datetime) -> Finding:
    """Return what follows from a failure at a time; an unchanged health does not have to be written."""
    since = health.failing_since
    if since is None:
        return Finding(replace(health, failing_since=at, last_failure_at=at))
    noted = replace(health, last_failure_at=at) if _is_old(health.last_failure_at, at) else health
    is_persistent = health.last_failure_at is not None and health.last_failure_at - since >= MIN_FAILING
    if not is_persistent:
        return Finding(noted)
    if at - since >= DISABLE_AFTER:
        return Finding(replace(noted, last_failure_at=at), is_to_be_disabled=True)
    passed = [level for level in WARNING_LEVELS if (at - since) * 100 >= DISABLE_AFTER * level]
    if passed and passed[-1] > health.warned_level:
        return Finding(replace(noted, warned_level=passed[-1]), warning=passed[-1])
    return Finding(noted)


def _is_old(noted_at: datetime | None, at: datetime) -> bool:
    return noted_at is None or at - noted_at >= GRAIN
