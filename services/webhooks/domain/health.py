"""How an endpoint fares over days: when its owner is warned, and when it is switched off.

Time decides, not a number of failures: what has succeeded nowhere within five days is off. A lone failure of long ago
does not count for that; the clock runs once two failures lie half a day apart.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

DISABLE_AFTER: Final = timedelta(days=5)
APART: Final = timedelta(hours=12)
# In percent of the time after which it is switched off.
WARNING_LEVELS: Final = (50, 90)
# How often the times of the last success and the last failure are written at most.
GRAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of an endpoint's past; `failing_since` is the first failure since its last success."""

    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    warned_level: int = 0

    @property
    def disables_at(self) -> datetime | None:
        """When it will be switched off if nothing succeeds until then."""
        return None if self.failing_since is None else self.failing_since + DISABLE_AFTER


@dataclass(frozen=True, slots=True)
class Finding:
    """What follows from an outcome: the health from now on, and what has to be said or done about it."""

    health: Health
    warning: int = 0
    is_to_be_disabled: bool = False
    has_recovered: bool = False


def after_success(health: Health, at: datetime) -> Finding:
    """Return what follows from a success at a time; the same health means that nothing has to be written."""
    if health.last_failure_at is not None and health.failing_since is not None and at < health.failing_since:
        # An old success that was written late says nothing about the failures since.
        return Finding(health)
    is_news = health.failing_since is not None or _is_old(health.last_success_at, at)
    if not is_news:
        return Finding(health)
    healthy = replace(health, failing_since=None, last_success_at=at, warned_level=0)
    return Finding(healthy, has_recovered=health.warned_level > 0)


def after_failure(health: Health, at: datetime) -> Finding:
    """Return what follows from a failure at a time; the same health means that nothing has to be written."""
    since = health.failing_since
    if since is None:
        return Finding(replace(health, failing_since=at, last_failure_at=at))
    noted = replace(health, last_failure_at=at) if _is_old(health.last_failure_at, at) else health
    is_persistent = health.last_failure_at is not None and health.last_failure_at - since >= APART
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
