"""The result of one order's events: which purchases stand and what was paid for them, by the times of the events.

A function of the facts alone: the same facts have the same result, in whatever order the events arrive.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cmp_to_key

from services.redemption.domain.moments import Moment, is_later, is_newer
from services.redemption.domain.terms import ReleasePolicy


@dataclass(frozen=True, slots=True)
class Bought:
    """A purchase of one code. `voided_alone` is when only this redemption was voided."""

    canonical: str
    discount_minor: int | None
    subtotal_minor: int | None
    happened: Moment
    voided_alone: Moment | None = None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A cancellation or, with an amount, a partial refund. It applies to the purchases before it.

    `releases` is False if uses must stay taken; None if that is no longer known.
    """

    happened: Moment
    amount_minor: int | None = None
    releases: bool | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What took back each purchase; None for those that stand."""

    bought: Sequence[Bought]
    ended_by: Sequence[TakenBack | None]

    def stands(self, place: int) -> bool:
        """Whether nothing has taken a purchase back."""
        return self.ended_by[place] is None and self.bought[place].voided_alone is None

    def codes(self) -> "Codes":
        """Return the discounts of all codes, bought before or after a purchase."""
        return Codes.of(self.bought, self.ended_by, range(len(self.bought)), None)


def frees(back: TakenBack, policy: ReleasePolicy, until: datetime | None) -> bool:
    """Whether a cancellation or refund releases the use, by its own time, however late it arrives."""
    return back.releases is not False and may_release(policy, until, back.happened.known_at)


def may_release(policy: ReleasePolicy, until: datetime | None, moment: datetime) -> bool:
    """Whether the terms release a use at that time."""
    match policy:
        case "always":
            return True
        case "until_expiry":
            return until is None or moment < until
        case "never":
            return False


def backs_text(backs: Iterable[TakenBack]) -> str:
    """Return cancellations in stored form."""
    kept = [
        (each.happened.claimed_at.isoformat(), each.happened.known_at.isoformat(), each.happened.clock, each.releases)
        for each in backs
    ]
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


def backs_of(text: str) -> tuple[TakenBack, ...]:
    """Return cancellations from their stored form; old ones do not tell whether uses stay taken."""
    return tuple(
        TakenBack(
            Moment(datetime.fromisoformat(claimed), datetime.fromisoformat(known), clock),
            releases=further[0] if further else None,
        )
        for claimed, known, clock, *further in json.loads(text)
    )


def settle(bought: Sequence[Bought], taken_back: Sequence[TakenBack]) -> Settlement:
    """Apply cancellations and refunds in the order of their times, and end the purchases that are fully refunded.

    A refund applies to the purchases before it. The payment is the subtotal without the discounts of the codes
    bought up to the refund; a code that was taken back before a purchase is not part of that purchase. If nothing
    was paid, a refund concerns something else, such as shipping; only a refund of zero applies to the purchase then.
    """
    ended_by: list[TakenBack | None] = [None] * len(bought)
    refunded = [0] * len(bought)
    for back in by_time(taken_back):
        meant = [place for place, each in enumerate(bought) if not is_later(each.happened, back.happened)]
        ended = [place for place in meant if ended_by[place] is None]
        if back.amount_minor is not None:
            for place in ended:
                refunded[place] += back.amount_minor
            ended = _paid_back(back, bought, ended_by, refunded, meant, ended)
        for place in ended:
            ended_by[place] = back
    return Settlement(bought, ended_by)


def _paid_back(
    back: TakenBack,
    bought: Sequence[Bought],
    ended_by: Sequence[TakenBack | None],
    refunded: Sequence[int],
    meant: Sequence[int],
    still_standing: Iterable[int],
) -> list[int]:
    """Return the purchases that a refund completes."""
    codes = Codes.of(bought, ended_by, meant, back.happened)
    ended = []
    for place in still_standing:
        each = bought[place]
        if each.subtotal_minor is None:
            continue
        paid = each.subtotal_minor - codes.least
        # Earlier cancellations are read only if they may decide.
        if paid > 0 and refunded[place] >= paid - (codes.most - codes.least):
            paid = each.subtotal_minor - codes.taken_off(each.happened)
        if refunded[place] >= paid if paid > 0 else back.amount_minor == 0:
            ended.append(place)
    return ended


@dataclass(slots=True)
class Codes:
    """The discounts of codes, each counted once: those that stand, and those that no longer do, by what ended them.

    One that was voided alone counts until then; one with an unknown discount counts as zero.
    """

    least: int
    gone: dict[Moment, dict[str, int]]
    most: int = 0
    known: dict[Moment, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        bought: Sequence[Bought],
        ended_by: Sequence[TakenBack | None],
        places: Iterable[int],
        until: Moment | None,
    ) -> "Codes":
        """Collect the purchases at some positions in their state at a time, or now."""
        standing: dict[str, int] = {}
        gone: dict[Moment, dict[str, int]] = {}
        for place in places:
            each, end = bought[place], ended_by[place]
            if each.voided_alone is not None and (until is None or is_newer(until, each.voided_alone)):
                continue
            codes = standing if end is None else gone.setdefault(end.happened, {})
            codes[each.canonical] = each.discount_minor or 0
        for codes in gone.values():
            for canonical in standing.keys() & codes.keys():
                del codes[canonical]
        least = sum(standing.values())
        return cls(least, gone, least + sum(sum(codes.values()) for codes in gone.values()))

    def taken_off(self, since: Moment) -> int:
        """Return the discounts of the codes that stood at some time since a purchase."""
        if since not in self.known:
            found: dict[str, int] = {}
            for ended_at, codes in self.gone.items():
                if not is_later(since, ended_at):
                    found |= codes
            self.known[since] = self.least + sum(found.values())
        return self.known[since]


def by_time(taken_back: Sequence[TakenBack]) -> list[TakenBack]:
    """Return cancellations and refunds in the order of their times."""
    if len(taken_back) < 2:
        return list(taken_back)
    # Times of several clocks need not have a total order; the same initial order gives the same result.
    backs = sorted(
        taken_back,
        key=lambda back: (
            *by_claim(back.happened),
            back.amount_minor is None,
            back.amount_minor or 0,
            back.releases is False,
        ),
    )
    return sorted(backs, key=cmp_to_key(_compare))


def by_claim(moment: Moment) -> tuple[object, ...]:
    """Return a key that sorts moments the same way in any order of arrival."""
    return moment.claimed_at, moment.known_at, moment.clock or ""


def _compare(one: TakenBack, other: TakenBack) -> int:
    return int(is_newer(one.happened, other.happened)) - int(is_newer(other.happened, one.happened))
