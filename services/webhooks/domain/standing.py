"""The standing of an endpoint after a group of attempts: when it is sent to next, whether it is warned or disabled."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.webhooks.domain.deliveries import Settlement
from services.webhooks.domain.endpoints import DisabledReason
from services.webhooks.domain.health import Health, after_failure, after_success

FAILING: Final = "failing"


@dataclass(frozen=True, slots=True)
class Standing:
    """The part of an endpoint that the responses of its receiver may change."""

    version: int
    is_disabled: bool
    resume_at: datetime | None
    breaker_trips: int
    health: Health
    disabled_reason: DisabledReason | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The new standing, and the events to emit, each with the attempt that caused it."""

    standing: Standing
    warning: tuple[int, Settlement] | None = None
    recovery: tuple[datetime | None, Settlement] | None = None
    disabling: tuple[DisabledReason, Settlement] | None = None


def judge(standing: Standing, settlements: Iterable[Settlement]) -> Judgement:
    """Judge the attempts of one endpoint, in the order in which they started.

    Attempts at an older version of the endpoint do not count for this one.
    """
    judged = Judgement(standing)
    for settled in sorted(settlements, key=lambda s: s.answer.started_at):
        if settled.target.endpoint.version == standing.version and not judged.standing.is_disabled:
            judged = _judge_one(judged, settled)
    return judged


def _judge_one(judged: Judgement, settled: Settlement) -> Judgement:
    standing = judged.standing
    if settled.breaker_trips is not None:
        standing = replace(standing, breaker_trips=settled.breaker_trips)
    if settled.resume_at is not None and (standing.resume_at is None or standing.resume_at < settled.resume_at):
        standing = replace(standing, resume_at=settled.resume_at)
    judged = replace(judged, standing=standing)
    if settled.is_news:
        judged = _look_after(judged, settled)
    if settled.decision.disabled_reason is not None:
        judged = _disabled(judged, settled.decision.disabled_reason, settled)
    return judged


def _look_after(judged: Judgement, settled: Settlement) -> Judgement:
    has_succeeded = settled.decision.status == "succeeded"
    health = judged.standing.health
    found = (after_success if has_succeeded else after_failure)(health, settled.answer.started_at)
    judged = replace(judged, standing=replace(judged.standing, health=found.health))
    if found.is_to_be_disabled:
        return _disabled(judged, FAILING, settled)
    if found.warning:
        return replace(judged, warning=(found.warning, settled), recovery=None)
    if found.has_recovered:
        return replace(judged, recovery=(health.failing_since, settled), warning=None)
    return judged


def _disabled(judged: Judgement, reason: DisabledReason, settled: Settlement) -> Judgement:
    standing = replace(judged.standing, is_disabled=True, disabled_reason=reason, resume_at=None)
    return replace(judged, standing=standing, disabling=(reason, settled))
