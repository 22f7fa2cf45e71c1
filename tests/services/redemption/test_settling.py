"""Codes bought by separate requests, refunds of parts and cancellations: one outcome for every order of arrival."""

import copy
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.redemption.domain.books import Books
from services.redemption.domain.decision import Redeemed, RedeemedLate, decide
from services.redemption.domain.judgement import Refused, appraise
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import Cancellation, HoldRequest, Line, Purchase, WantedCode, effective_time
from services.redemption.domain.reserving import Reserved, reserve
from services.redemption.domain.settling import Changes
from services.redemption.domain.terms import ReleasePolicy
from services.redemption.domain.uses import Use, Voided
from services.redemption.domain.voiding import Cancelled, cancel
from tests.services.redemption.test_decision import NOW, PROGRAM, books, nth_code

SUBTOTAL = 10_000
EXAMPLES_RUN = 150
# Together they are less than the subtotal, so each discount is the same whichever arrives first.
PERCENTS = (1_000, 1_000, 2_500, 4_000)
CLOCKS = ("/shop", "/warehouse", OWN_CLOCK)


class Event(NamedTuple):
    """A purchase of codes (by number), a refund of an amount or a cancellation, at a second by a clock.

    `release` says of what takes back whether uses become free.
    """

    codes: tuple[int, ...] = ()
    refund: int | None = None
    second: int = 0
    clock: str = CLOCKS[0]
    release: bool | None = None


def bought(*codes: int, at: int, clock: str = CLOCKS[0]) -> Event:
    return Event(codes, None, at, clock)


def refunded(amount: int, at: int, clock: str = CLOCKS[0]) -> Event:
    return Event((), amount, at, clock)


def cancelled(at: int, clock: str = CLOCKS[0], release: bool | None = None) -> Event:
    return Event((), None, at, clock, release)


class State(NamedTuple):
    """What an order came to: commissions of the codes that stand, uses, and what events announced of each, netted."""

    earned: dict[str, int | None]
    uses: dict[str, int]
    announced: dict[str, int]


@dataclass
class Teller:
    """Lets the events of one order arrive; the codes have these release policies, in turn."""

    story: Sequence[Event]
    policies: Sequence[ReleasePolicy] = ("always",)
    expires_at: datetime | None = None
    limit: int | None = None
    began_at: datetime = NOW - timedelta(days=20)
    lines: tuple[Line, ...] | None = None
    announced: Counter[str] = field(default_factory=Counter)
    commissions: dict[uuid.UUID, int | None] = field(default_factory=dict)
    told: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger: Books = books(
            *(
                nth_code(
                    number,
                    code_limit=self.limit,
                    code_expires_at=self.expires_at,
                    release_policy=self.policies[number % len(self.policies)],
                    coupon_id=uuid.UUID(int=100 + number),
                    percent_hundredths=percent,
                    commission_hundredths=1_000 * (number + 1),
                    commission_cap_hundredths=5_000,
                    code_created_at=NOW - timedelta(days=99),
                )
                for number, percent in enumerate(PERCENTS)
            )
        )

    def tell(self, place: int, delay: int) -> None:
        event = self.story[place]
        claimed = self.began_at + timedelta(seconds=event.second)
        at = effective_time(claimed, NOW + timedelta(minutes=delay))
        if event.codes:
            wanted = tuple(WantedCode(f"A{code}", f"A{code}") for code in event.codes)
            purchase = Purchase(
                *(PROGRAM, event.clock, str(place), "1", wanted, at, SUBTOTAL, "USD"),
                lines=self.lines,
                claimed_at=claimed,
                clock=event.clock,
            )
            outcome = decide(purchase, self.ledger)
            if isinstance(outcome, Refused):
                assert outcome.reason in ("code_expired", "code_used")
                return
            assert isinstance(outcome, Redeemed | RedeemedLate)
            for use in outcome.uses:
                self._tell(use)
                if isinstance(outcome, Redeemed):
                    self._redeemed(use.redemption)
            self._change(outcome.changes)
            return
        ask = Cancellation(
            *(uuid.uuid4(), PROGRAM, "1", at),
            amount_minor=event.refund,
            release=event.release,
            claimed_at=claimed,
            clock=event.clock,
        )
        taken_back = cancel(ask, self.ledger)
        assert isinstance(taken_back, Cancelled)
        self._change(taken_back.changes)

    def _change(self, changes: Changes) -> None:
        told: list[Use | Voided] = [*changes.voids, *changes.restated, *changes.late, *changes.revived]
        for each in told:
            self._tell(each)
        for void in changes.voids:
            self.announced[void.redemption.canonical] -= 1
            del self.commissions[void.redemption.id]
        for use in changes.revived:
            self._redeemed(use.redemption)
        for earning in changes.earnings:
            assert self.commissions[earning.redemption.id] == earning.before_minor
            self.commissions[earning.redemption.id] = earning.amount_minor

    def _tell(self, told: Use | Voided) -> None:
        """The count of the newest version holds."""
        canonical = told.redemption.canonical
        newest = max(self.told.get(canonical, (0, 0)), (told.version, told.times_redeemed))
        self.told[canonical] = newest

    def _redeemed(self, redemption: Any) -> None:
        self.announced[redemption.canonical] += 1
        self.commissions[redemption.id] = redemption.commission_minor

    def state(self) -> State:
        order = self.ledger.orders[PROGRAM, "1"]
        standing = [redemption for redemption in order.redemptions if redemption.voided_at is None]
        assert len({each.canonical for each in standing}) == len(standing)
        assert {each.id: each.commission_minor for each in standing} == self.commissions
        counts = {terms[0].canonical: self.ledger.code_counts[terms[0].code_id].uses for terms in self._terms()}
        counted = Counter(each.canonical for each in order.redemptions if each.is_counted)
        assert counts == {code: counted[code] for code in counts}
        assert counts == {code: self.told.get(code, (0, 0))[1] for code in counts}
        assert all(each.is_counted for each in standing)
        return State(
            {each.canonical: each.commission_minor for each in standing},
            {code: uses for code, uses in counts.items() if uses},
            {code: net for code, net in self.announced.items() if net},
        )

    def _terms(self) -> Any:
        return self.ledger.candidates.values()


def outcome(
    story: Sequence[Event], arrivals: Sequence[int], delays: Sequence[int] | None = None, **rules: Any
) -> State:
    teller = Teller(story, **rules)
    for place in arrivals:
        teller.tell(place, delays[place] if delays else 0)
    state = teller.state()
    assert state.announced == dict.fromkeys(state.earned, 1)
    if teller.policies == ("always",) and all(event.release is not False for event in story):
        assert state.uses == state.announced
    return state


AMOUNTS = (0, 1_500, 2_500, 4_000, 5_000, 7_500, 8_000, 9_000, 10_000)
Codes = st.lists(st.integers(0, len(PERCENTS) - 1), min_size=1, max_size=3, unique=True).map(tuple)
Releases = st.sampled_from((None, None, True, False, False))
Policies = st.lists(st.sampled_from(("always", "never")), min_size=1, max_size=len(PERCENTS)).map(tuple)
Refunds = st.builds(lambda amount, release: Event(refund=amount, release=release), st.sampled_from(AMOUNTS), Releases)
Purchases = Codes.map(lambda codes: Event(codes=codes))
Cancellations = Releases.map(lambda release: Event(release=release))
Events = st.one_of(Purchases, Purchases, Refunds, Refunds, Cancellations)


@st.composite
def stories(draw: st.DrawFn, apart: int, clocks: Sequence[str]) -> list[Event]:
    """Draw events whose times are at least this many seconds apart."""
    events = draw(st.lists(Events, min_size=2, max_size=7))
    clock = st.sampled_from(clocks)
    return [event._replace(second=apart * place, clock=draw(clock)) for place, event in enumerate(events)]


@settings(max_examples=EXAMPLES_RUN, deadline=None)
@given(stories(3_600, CLOCKS), Policies, st.data())
def test_any_order_of_arrival_and_any_delay_end_as_the_order_of_the_times(
    story: list[Event], policies: tuple[ReleasePolicy, ...], data: st.DataObject
) -> None:
    places = range(len(story))
    arrivals = data.draw(st.permutations(places))
    delays = data.draw(st.lists(st.integers(0, 14 * 24 * 60), min_size=len(story), max_size=len(story)))
    assert outcome(story, arrivals, delays, policies=policies) == outcome(story, places, policies=policies)


def reports_after(story: Sequence[Event], second: int) -> bool:
    """Whether a code is bought again after its end: a repeat of what stands, and refused where nothing does."""
    early = {code for event in story for code in event.codes if event.second < second}
    return any(code in early for event in story for code in event.codes if event.second >= second)


@settings(max_examples=EXAMPLES_RUN, deadline=None)
@given(stories(3_600, CLOCKS[:1]), st.integers(0, 7), st.data())
def test_nor_does_it_matter_where_uses_become_free_until_the_codes_expire(
    story: list[Event], hours: int, data: st.DataObject
) -> None:
    assume(not reports_after(story, 3_600 * hours + 1_800))
    places = range(len(story))
    rules: dict[str, Any] = {
        "policies": ("until_expiry",),
        "began_at": NOW - timedelta(hours=9),
        "expires_at": NOW - timedelta(hours=9) + timedelta(hours=hours, minutes=30),
    }
    arrivals = data.draw(st.permutations(places))
    delays = data.draw(st.lists(st.integers(0, 12 * 60), min_size=len(story), max_size=len(story)))
    assert outcome(story, arrivals, delays, **rules) == outcome(story, places, **rules)


@settings(max_examples=EXAMPLES_RUN, deadline=None)
@given(stories(1, CLOCKS[:1]), Policies, st.data())
def test_nor_does_it_matter_within_seconds_of_one_clock(
    story: list[Event], policies: tuple[ReleasePolicy, ...], data: st.DataObject
) -> None:
    places = range(len(story))
    arrivals = data.draw(st.permutations(places))
    assert outcome(story, arrivals, policies=policies) == outcome(story, places, policies=policies)


@settings(max_examples=EXAMPLES_RUN, deadline=None)
@given(stories(25, CLOCKS), Policies, st.data())
def test_nor_where_several_clocks_are_too_close_to_say_which_was_first(
    story: list[Event], policies: tuple[ReleasePolicy, ...], data: st.DataObject
) -> None:
    places = range(len(story))
    arrivals = data.draw(st.permutations(places))
    assert outcome(story, arrivals, policies=policies) == outcome(story, places, policies=policies)


# Each with the codes that stand in the end.
EXAMPLES: list[tuple[list[Event], set[str]]] = [
    # All that was paid went back; the second code's discount counts, whichever arrives first.
    ([bought(0, at=1), bought(1, at=2), refunded(8_000, at=3)], set()),
    # The second code was bought after the refund: it took nothing off what was paid until then.
    ([bought(0, at=1), refunded(8_000, at=2), bought(1, at=3)], {"A0", "A1"}),
    ([bought(0, at=1), refunded(9_000, at=2), bought(1, at=3)], {"A1"}),
    # What was bought later is paid for in full again, by an order of which the first code is no part any more.
    ([bought(0, at=1), refunded(9_000, at=2), bought(1, at=3), refunded(8_000, at=4)], {"A1"}),
    ([bought(0, at=1), refunded(9_000, at=2), bought(1, at=3), refunded(9_000, at=4)], set()),
    ([bought(0, at=1), cancelled(at=2), bought(1, at=3), refunded(8_000, at=4)], {"A1"}),
    # What went back before a code was bought is no part of what went back of it.
    ([bought(0, at=1), refunded(1_000, at=2), bought(1, at=3), refunded(7_500, at=4)], {"A1"}),
    # The first code is voided by then, and still its discount was given when the second was paid.
    ([bought(0, at=1), refunded(1_000, at=2), bought(1, at=3), refunded(7_500, at=4), refunded(500, at=5)], set()),
    # Paid for again.
    ([bought(0, 1, at=1), refunded(8_000, at=2), bought(0, at=3)], {"A0"}),
]


@pytest.mark.parametrize(("story", "stand"), EXAMPLES)
def test_every_permutation(story: list[Event], stand: set[str]) -> None:
    outcomes = [outcome(story, arrivals) for arrivals in itertools.permutations(range(len(story)))]
    assert [set(each.earned) for each in outcomes] == [stand] * len(outcomes)
    assert all(each == outcomes[0] for each in outcomes)


def test_what_was_voided_too_early_takes_no_more_than_others_have_left() -> None:
    """A code of 40 % and one of 100 %, which was bought in between, took 14000 off 10000."""
    teller = Teller([bought(3, at=1), refunded(9_000, at=10, clock="/other"), bought(0, at=40)])
    [terms] = teller.ledger.candidates[PROGRAM, "A0"]
    teller.ledger.candidates[PROGRAM, "A0"] = [replace(terms, percent_hundredths=10_000)]  # type: ignore[index]
    for place in range(3):
        teller.tell(place, 0)
    assert set(teller.state().earned) == {"A0"}


def test_what_was_voided_too_early_does_not_join_a_code_that_excludes_it() -> None:
    teller = Teller([bought(0, at=1), bought(1, at=3), refunded(8_000, at=4), bought(2, at=5), cancelled(at=2)])
    [terms] = teller.ledger.candidates[PROGRAM, "A2"]
    teller.ledger.candidates[PROGRAM, "A2"] = [replace(terms, combination="none")]  # type: ignore[index]
    for place in range(5):
        teller.tell(place, 0)
    assert set(teller.state().earned) == {"A2"}


# Lines of two products, one of them twice, and a part of the subtotal outside all lines.
LINES = (Line("X", 3_000), Line("Y", 2_000), Line("X", 1_000), Line(None, 500))
ITEM_CODES = ((10_000, ("X",)), (5_000, ("X",)), (10_000, ()), (6_000, ("Y",)))


def item_teller(story: Sequence[Event]) -> Teller:
    """Return one whose codes are for some products or for the whole order, and together for more than there is."""
    teller = Teller(story, lines=LINES)
    for number, (percent, products) in enumerate(ITEM_CODES):
        [terms] = teller.ledger.candidates[PROGRAM, f"A{number}"]
        rules = replace(terms.restrictions, product_ids=products) if products else terms.restrictions
        changed = replace(terms, percent_hundredths=percent, restrictions=rules)
        teller.ledger.candidates[PROGRAM, f"A{number}"] = [changed]  # type: ignore[index]
    return teller


def check_lines(teller: Teller) -> None:
    order = teller.ledger.orders.get((PROGRAM, "1"))
    standing = [each for each in order.redemptions if each.voided_at is None] if order else []
    assert sum(each.discount_minor or 0 for each in standing) <= SUBTOTAL
    taken = Counter[int]()
    for each in standing:
        for line, _, minor in json.loads(each.lines or "[]"):
            taken[line] += minor
    assert all(taken[place] <= (line.amount_minor or 0) for place, line in enumerate(LINES))


@st.composite
def refunds_too_small(draw: st.DrawFn) -> list[Event]:
    """Draw a refund of all that is paid unless the first codes were cancelled before it, and what is bought around."""
    first, second, last = draw(Codes), draw(Codes), draw(Codes)
    clock = st.sampled_from(CLOCKS)
    paid = item_teller([bought(*first, at=1), bought(*second, at=2)])
    for place in range(2):
        paid.tell(place, 0)
    taken = sum(each.discount_minor or 0 for each in paid.ledger.orders[PROGRAM, "1"].redemptions)
    events = (
        bought(*first, at=0),
        cancelled(0),
        bought(*second, at=0),
        refunded(SUBTOTAL - taken, 0),
        bought(*last, at=0),
    )
    return [event._replace(second=3_600 * place, clock=draw(clock)) for place, event in enumerate(events)]


@settings(max_examples=EXAMPLES_RUN, deadline=None)
@given(
    st.one_of(
        st.tuples(stories(25, CLOCKS), st.none()),
        # The cancellation is heard last.
        st.tuples(refunds_too_small(), st.permutations((0, 2, 3, 4)).map(lambda places: [*places, 1])),
    ),
    st.data(),
)
def test_no_line_is_taken_off_more_than_it_costs(
    told: tuple[list[Event], list[int] | None], data: st.DataObject
) -> None:
    """Anything that arrives late and has a code redeemed again beside those that came since."""
    story, arrivals = told
    teller = item_teller(story)
    for place in arrivals or data.draw(st.permutations(range(len(story)))):
        teller.tell(place, 0)
        check_lines(teller)


VOIDED_TOO_EARLY = [bought(3, at=1), bought(1, at=3), refunded(6_800, at=4), bought(0, at=5), cancelled(at=2)]


def test_what_was_voided_too_early_takes_no_more_of_a_line_than_others_have_left() -> None:
    """Half of X and all of X, which was bought in between, took 6000 off lines of 4000; the subtotal is above that."""
    teller = item_teller(VOIDED_TOO_EARLY)
    for place in range(5):
        teller.tell(place, 0)
    check_lines(teller)
    assert set(teller.state().earned) == {"A0"}


def test_what_was_voided_too_early_comes_back_where_its_lines_are_left() -> None:
    """Beside a code for other lines; of one whose prices are not known the subtotal alone is looked at, as before."""
    for story, stand in (([*VOIDED_TOO_EARLY[:3], bought(3, at=5), cancelled(at=2)], {"A1", "A3"}),):
        teller = item_teller(story)
        for place in range(5):
            teller.tell(place, 0)
        check_lines(teller)
        assert set(teller.state().earned) == stand
    teller = item_teller(VOIDED_TOO_EARLY)
    for place in range(4):
        teller.tell(place, 0)
    for redemption in teller.ledger.orders[PROGRAM, "1"].redemptions:
        redemption.prices = None
    teller.tell(4, 0)
    assert set(teller.state().earned) == {"A0", "A1"}


@settings(max_examples=EXAMPLES_RUN, deadline=None)
@given(stories(25, CLOCKS), Codes, st.integers(-60, 240), st.sampled_from(CLOCKS))
def test_who_asks_hears_beforehand_of_a_purchase_that_would_be_taken_back(
    story: list[Event], codes: tuple[int, ...], second: int, clock: str
) -> None:
    """A code was said to be valid, and held, for an order whose purchase was then recorded as cancelled."""
    teller = Teller(story)
    for place in range(len(story)):
        teller.tell(place, 0)
    at = NOW - timedelta(days=20) + timedelta(seconds=second)
    wanted = tuple(WantedCode(f"A{code}", f"A{code}") for code in codes)
    at_hand = effective_time(at, NOW)
    purchase = Purchase(*(PROGRAM, clock, "asked", "1", wanted, at_hand, SUBTOTAL, "USD"), claimed_at=at, clock=clock)
    appraised, held_by, redeemed_by = (copy.deepcopy(teller.ledger) for _ in range(3))
    faults = {fault.reason if (fault := each.fault) else None for each in appraise(purchase, appraised)}
    held = reserve(HoldRequest(purchase, uuid.uuid4(), NOW + timedelta(hours=1)), held_by)
    outcome = decide(purchase, redeemed_by, is_reported=False)
    is_refused = isinstance(outcome, RedeemedLate) or (
        isinstance(outcome, Refused) and outcome.reason == "order_cancelled"
    )
    assert is_refused == ("order_cancelled" in faults)
    # A code that the order has redeemed is held for nobody.
    if isinstance(held, Reserved) or held.reason != "code_used":
        assert is_refused == isinstance(held, Refused)
