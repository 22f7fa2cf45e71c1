"""When things happened, and which of two is later: by their own times, whenever they arrive."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

# How far two clocks may be apart.
CLOCK_ALLOWANCE: Final = timedelta(seconds=60)
# The clock of this service, used for reservations and for requests without a time.
OWN_CLOCK: Final = "/mintwire/redemption/http"


class Moment(NamedTuple):
    """A time by the clock of its sender, and its upper bound by ours: when it was first received.

    `clock` is the source of an event. None is an unknown clock, and equal to no other.
    """

    claimed_at: datetime
    known_at: datetime
    clock: str | None


def moment(claimed_at: datetime | None, effective_at: datetime, clock: str | None) -> Moment:
    """Return the moment of something that counts as of `effective_at`, within the day before it was received."""
    if claimed_at is None:
        return Moment(effective_at, effective_at, clock)
    return Moment(claimed_at, min(claimed_at, effective_at), clock)


def is_later(purchase: Moment, taken_back: Moment) -> bool:
    """Whether a purchase was made after a cancellation or refund, which then applies to an earlier one.

    Times of one clock are compared exactly. Those of two clocks must differ by more than clocks may.
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
    """Return moments in stored form."""
    kept = [(each.claimed_at.isoformat(), each.known_at.isoformat(), each.clock) for each in moments]
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


def moments_of(text: str) -> tuple[Moment, ...]:
    """Return moments from their stored form."""
    return tuple(
        Moment(datetime.fromisoformat(claimed), datetime.fromisoformat(known), clock)
        for claimed, known, clock in json.loads(text)
    )
