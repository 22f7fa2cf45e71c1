"""Which codes go together as properties: no order keeps two that exclude each other, however it asks for them."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.books import Books, Budget, Count, HeldCode, quarter
from services.redemption.domain.combination import fault_of_combination
from services.redemption.domain.decision import Redeemed, decide
from services.redemption.domain.judgement import Refused, appraise
from services.redemption.domain.limits import hold
from services.redemption.domain.purchase import Buyer
from services.redemption.domain.reasons import Reason
from services.redemption.domain.terms import UNRESTRICTED, CodeTerms, Restrictions
from shared.reasons import SkipReason
from tests.services.redemption.test_decision import NOW, PROGRAM, books, nth_code, purchase

COUPONS = st.lists(
    st.tuples(st.sampled_from(("any", "other_coupons", "none")), st.integers(0, 10_000)), min_size=3, max_size=3
)
# Which coupon each code is of.
CODES = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def stock(coupons: list[tuple[str, int]], codes: list[int], most: int = 10) -> list[CodeTerms]:
    return [
        nth_code(
            n,
            coupon_id=uuid.UUID(int=100 + coupon),
            combination=coupons[coupon][0],
            percent_hundredths=coupons[coupon][1],
            max_codes_per_order=most,
        )
        for n, coupon in enumerate(codes)
    ]


def excludes(one: CodeTerms, other: CodeTerms) -> bool:
    if "none" in (one.combination, other.combination):
        return True
    return one.coupon_id == other.coupon_id and "other_coupons" in (one.combination, other.combination)


@given(COUPONS, CODES, st.integers(1, 4), st.integers(0, 1_000))
def test_a_finished_purchase_keeps_what_goes_together_and_drops_the_rest_alone(
    coupons: list[tuple[str, int]], codes: list[int], most: int, subtotal: int
) -> None:
    terms = stock(coupons, codes, most)
    ledger = books(*terms)
    outcome = decide(purchase(*(f"A{n}" for n in range(len(codes))), subtotal=subtotal), ledger)
    assert isinstance(outcome, Redeemed)
    kept = [use.terms for use in outcome.uses]
    assert kept[0] is terms[0]
    assert not any(excludes(one, other) for n, one in enumerate(kept) for other in kept[:n])
    assert len(kept) <= most
    for use in outcome.uses[1:]:
        # A code for nothing at all is used for the commission that goes with it.
        assert use.redemption.discount_minor or not use.terms.percent_hundredths
    dropped = {skipped.code: skipped for skipped in outcome.skipped}
    assert len(kept) + len(dropped) == len(codes)
    assert sum(count.uses for count in ledger.code_counts.values()) == len(kept)
    for skipped in dropped.values():
        assert skipped.reason in ("not_combinable", "too_many_codes", "no_effect")
        assert skipped.blocked_by not in dropped


@given(COUPONS, CODES, st.integers(1, 4), st.integers(1, 1_000))
def test_who_asks_is_refused_where_a_finished_purchase_would_drop_a_code(
    coupons: list[tuple[str, int]], codes: list[int], most: int, subtotal: int
) -> None:
    terms = stock(coupons, codes, most)
    order = purchase(*(f"A{n}" for n in range(len(codes))), subtotal=subtotal)
    reported = decide(order, books(*terms))
    asked = decide(order, books(*terms), is_reported=False)
    faults = [each.fault for each in appraise(order, books(*terms)) if each.fault is not None]
    assert isinstance(reported, Redeemed)
    first_is_idle = bool(terms[0].percent_hundredths) and reported.uses[0].redemption.discount_minor == 0
    assert isinstance(asked, Refused) == bool(reported.skipped or first_is_idle) == bool(faults)
    if isinstance(asked, Refused):
        assert asked.reason == faults[0].reason


@given(COUPONS, st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_it_does_not_matter_which_comes_first_nor_in_which_request(
    coupons: list[tuple[str, int]], one: int, other: int, is_one_request: bool
) -> None:
    terms = stock([(combination, 100) for combination, _ in coupons], [one, other])
    for order in (("A0", "A1"), ("A1", "A0")):
        ledger = books(*terms)
        requests = [order] if is_one_request else [(code,) for code in order]
        outcomes = [decide(purchase(*codes, subtotal=1_000), ledger) for codes in requests]
        skipped = [code for outcome in outcomes if isinstance(outcome, Redeemed) for code in outcome.skipped]
        assert bool(skipped) == excludes(*terms)
        if skipped:
            first = order[0] if is_one_request else terms[int(order[0][1])].code
            assert (skipped[0].code, skipped[0].blocked_by) == (order[1], first)


def test_a_code_that_nothing_stands_beside_is_free_to_join() -> None:
    assert fault_of_combination(replace(nth_code(0), combination="none"), ()) is None


def test_a_limit_of_its_own_refuses_the_whole_order_even_if_the_order_is_in_its_way_too() -> None:
    """It is not the order's other codes alone that stand in its way, so nothing of the order counts."""
    terms = [nth_code(0), nth_code(1, combination="none", code_limit=1)]
    ledger = books(*terms)
    ledger.code_counts[terms[1].code_id].uses = 1
    outcome = decide(purchase("A0", "A1", subtotal=1_000), ledger)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.reason) == ("A1", "code_used")


LIMITS = {
    "coupon": (UNRESTRICTED, "coupon_exhausted"),
    "customer": (Restrictions(customer_limit=1), "customer_limit_reached"),
    "period": (Restrictions(daily_limit=1), "period_limit_reached"),
    "budget": (Restrictions(budget_minor=125, budget_currency="USD"), "budget_exhausted"),
}
DAY = timedelta(days=1)


def limited(restricted: str, combination: str = "any", limit: int = 1) -> Books:
    """Return books on two codes of 12.5 % of a coupon that has room for one of them, and on one of another coupon."""
    coupon, other = uuid.UUID(int=100), uuid.UUID(int=200)
    rules, _ = LIMITS[restricted]
    terms = [
        nth_code(
            n,
            coupon_id=coupon,
            combination=combination,
            coupon_limit=limit if restricted == "coupon" else 9,
            restrictions=rules,
            code_created_at=NOW - 3 * DAY,
        )
        for n in range(2)
    ]
    days = (NOW, NOW - DAY) if restricted == "period" else ()
    return replace(
        books(*terms, nth_code(2, coupon_id=other)),
        customer_counts={(coupon, key, None): Count(0, 0) for key in ("id:7", "id:8")},
        period_counts={(coupon, "day", day): Count(0, 0) for day in days},
        period_starts={(coupon, quarter(day)): {"day": day} for day in days},
        budgets={coupon: Budget("USD", 0, 0)} if restricted == "budget" else {},
    )


@pytest.mark.parametrize("earlier", [(), ("A0",)], ids=["one-request", "two-requests"])
@pytest.mark.parametrize("restricted", LIMITS)
@pytest.mark.parametrize("combination", ["any", "other_coupons"])
def test_a_limit_that_only_the_orders_own_codes_reach_drops_a_code_alone(
    earlier: tuple[str, ...], restricted: str, combination: str
) -> None:
    """The order itself had used the coupon up, so the rest of what was paid with was lost."""
    ledger = limited(restricted, combination)
    reason = LIMITS[restricted][1] if combination == "any" else "not_combinable"
    paid = replace(purchase("A0", "A1", "A2", subtotal=1_000), buyer=Buyer("7"))
    if earlier:
        decide(replace(purchase(*earlier, subtotal=1_000), buyer=Buyer("7")), ledger)
    outcome = decide(paid, ledger)
    assert isinstance(outcome, Redeemed)
    assert [use.redemption.canonical for use in outcome.uses] == [code for code in ("A0", "A2") if code not in earlier]
    taker = ledger.candidates[PROGRAM, "A0"][0].code if earlier else "A0"
    assert [each[:1] + each[2:] for each in map(told, outcome.skipped)] == [("A1", reason, taker)]
    # Who asks is refused for the same reason, and a code is in the way; another order meets the limit as ever.
    asked = decide(replace(paid, codes=paid.codes[1:]), ledger, is_reported=False)
    assert isinstance(asked, Refused)
    assert told(asked)[::2] == ("A1", reason)
    assert asked.blocked_by == ledger.candidates[PROGRAM, "A0"][0].code
    refused = decide(replace(purchase("A1", order="order-2", subtotal=1_000), buyer=Buyer("7")), ledger)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.blocked_by) == (LIMITS[restricted][1], None)


@pytest.mark.parametrize("restricted", LIMITS)
def test_a_limit_that_others_have_reached_refuses_the_whole_order(restricted: str) -> None:
    """Even though the order has codes of the coupon too."""
    ledger = limited(restricted)
    [coupon] = {terms[0].coupon_id for key, terms in ledger.candidates.items() if key[1] != "A2"}
    assert isinstance(decide(replace(purchase("A0", subtotal=1_000), buyer=Buyer("7")), ledger), Redeemed)
    for count in (ledger.coupon_counts[coupon], *ledger.customer_counts.values(), *ledger.period_counts.values()):
        count.move()
    if restricted == "budget":
        ledger.budgets[coupon].spend(1)
    outcome = decide(replace(purchase("A1", "A2", subtotal=1_000), buyer=Buyer("7")), ledger)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.reason, outcome.blocked_by) == ("A1", LIMITS[restricted][1], None)


def test_what_the_order_did_elsewhere_is_not_in_the_way() -> None:
    """Its use of yesterday leaves today's cap full, and what another customer bought says nothing about this one."""
    ledger = limited("period")
    assert isinstance(decide(purchase("A0", at=NOW - DAY, subtotal=1_000), ledger), Redeemed)
    ledger.period_counts[uuid.UUID(int=100), "day", NOW].move()
    outcome = decide(purchase("A1", subtotal=1_000), ledger)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "period_limit_reached"
    ledger = limited("customer")
    assert isinstance(decide(replace(purchase("A0", subtotal=1_000), buyer=Buyer("8")), ledger), Redeemed)
    ledger.customer_counts[uuid.UUID(int=100), "id:7", None].move()
    outcome = decide(replace(purchase("A1", subtotal=1_000), buyer=Buyer("7")), ledger)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "customer_limit_reached"


def test_what_others_hold_beside_the_orders_own_use_drops_a_code_alone() -> None:
    ledger = limited("coupon", limit=2)
    held = HeldCode("A9", "A9", uuid.UUID(int=9), uuid.UUID(int=100), None, 0, "USD")
    hold([held], ledger)
    outcome = decide(purchase("A0", "A1", subtotal=1_000), ledger)
    assert isinstance(outcome, Redeemed)
    assert [(skipped.code, skipped.reason) for skipped in outcome.skipped] == [("A1", "coupon_held")]
    hold([held], ledger)
    assert isinstance(decide(purchase("A1", order="order-2", subtotal=1_000), ledger), Refused)


@pytest.mark.parametrize("restricted", LIMITS)
def test_every_reason_for_which_a_code_may_drop_out_is_in_the_event(restricted: str) -> None:
    assert LIMITS[restricted][1] in get_args(SkipReason)
    assert set(get_args(SkipReason)) < set(get_args(Reason))


def told(refused: Refused) -> tuple[str, str, str, str | None]:
    return refused.code, refused.detail, refused.reason, refused.blocked_by
