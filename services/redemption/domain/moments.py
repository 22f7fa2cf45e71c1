"""When things happened, and which of two is later: by their own times, whenever they are heard of."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# How far two clocks may be apart.
CLOCK_ALLOWANCE: Final = timedelta(seconds=60)
# The clock of this service, by which reservations are made and by which HTTP says when, unless a request does.
OWN_CLOCK: Final = "/mintwire/redemption/http"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as the clock of its sender shows it, and the latest that it can be by ours: when it was first heard of.

    `clock` is the source of an event. None is a clock that is not known any more, and like no other.
    """

    claimed_at: datetime
    known_at: datetime
    clock: str | None


def moment(claimed_at: datetime | None, effective_at: datetime, clock: str | None) -> Moment:
    """Return the moment of what is taken to have happened at `effective_at`, within the day before we heard of it."""
    if claimed_at is None:
        return Moment(effective_at, effective_at, clock)
    return Moment(claimed_at, min(claimed_at, effective_at), clock)


def is_later(purchase: Moment, taken_back: Moment) -> bool:
    """Whether a purchase was made after a cancellation or refund, which then means an earlier one.

    Times of one clock are compared exactly. Those of two clocks have to be further apart than clocks may be.
    """
    if purchase.clock is not None and purchase.clock == taken_back.clock:
        return purchase.claimed_at > taken_back.claimed_at
    return purchase.known_at > taken_back.known_at + CLOCK_ALLOWANCE


def is_newer(one: Moment, other: Moment) -> bool:
    """Whether one of two events of a kind is the newer one."""
    if one.clock is not None and one.clock == other.clock:
        return one.claimed_at > other.claimed_at
    return one.known_at > other.known_at


def text_of(moments: Iterable[Moment]) -> str:
    """Return moments as they are kept together."""
    kept = [(each.claimed_at.isoformat(), each.known_at.isoformat(), each.clock) for each in moments]
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


def moments_of(text: str) -> tuple[Moment, ...]:
    """Return moments that were kept."""
    return tuple(
        Moment(datetime.fromisoformat(claimed), datetime.fromisoformat(known), clock)
        for claimed, known, clock in json.loads(text)
    )
