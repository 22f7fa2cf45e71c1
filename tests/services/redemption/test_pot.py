"""The order's pot as properties: whatever codes take, in however many requests, nothing is taken twice."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.pot import Pot, Taken, discount_minor, shares, taken_of
from services.redemption.domain.purchase import Line
from services.redemption.domain.restrictions import eligible_lines
from services.redemption.domain.terms import CodeTerms, Restrictions
from tests.services.redemption.test_decision import TERMS

PRODUCTS = ("X", "Y", "Z")
Amounts = st.one_of(st.none(), st.integers(0, 5_000))
Lines = st.lists(st.builds(Line, st.sampled_from((*PRODUCTS, None)), Amounts), max_size=5).map(tuple)
Products = st.lists(st.sampled_from(PRODUCTS), max_size=2, unique=True)
Codes = st.builds(
    lambda percent, amount, listed, excluded: replace(
        TERMS,
        percent_hundredths=percent,
        amount_minor=amount,
        currency="USD",
        restrictions=Restrictions(product_ids=listed, excluded_product_ids=excluded),
    ),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.integers(0, 5_000),
    Products,
    Products,
)


def take(pot: Pot, terms: CodeTerms) -> Taken:
    eligible = eligible_lines(terms.restrictions, pot.lines)
    amount = discount_minor(terms, pot.price_minor(eligible), "USD", pot.left_of(eligible))
    return pot.take(amount, eligible)


def price(lines: tuple[Line, ...], place: int) -> int:
    return lines[place].amount_minor or 0


@given(Lines, st.integers(0, 20_000), st.lists(Codes, max_size=6))
def test_no_line_gives_more_than_its_price_nor_the_order_more_than_its_subtotal(
    lines: tuple[Line, ...], subtotal: int, codes: list[CodeTerms]
) -> None:
    pot = Pot.of(lines, subtotal, ())
    taken = [take(pot, terms) for terms in codes]
    amounts = [each.amount_minor for each in taken if each.amount_minor is not None]
    assert len(amounts) == len(taken)
    assert all(amount >= 0 for amount in amounts)
    assert sum(amounts) == subtotal - (pot.left_minor or 0) <= subtotal
    for place in range(len(lines)):
        off = sum(minor for each in taken for line, _, minor in each.lines or () if line == place)
        assert off == price(lines, place) - pot.left[place] <= price(lines, place)


@given(Lines, st.one_of(st.none(), st.integers(0, 20_000)), Codes)
def test_a_code_takes_what_is_eligible_and_of_nothing_else(
    lines: tuple[Line, ...], subtotal: int | None, terms: CodeTerms
) -> None:
    pot = Pot.of(lines, subtotal, ())
    eligible = eligible_lines(terms.restrictions, lines)
    taken = take(pot, terms)
    if eligible is not None:
        assert {line for line, _, _ in taken.lines or ()} <= set(eligible)
        assert taken.amount_minor == sum(minor for _, _, minor in taken.lines or ())
        assert (taken.amount_minor or 0) <= sum(price(lines, place) for place in eligible)


@given(Lines, st.integers(0, 20_000), st.lists(Codes, max_size=6), st.integers(0, 6))
def test_several_requests_take_what_one_would(
    lines: tuple[Line, ...], subtotal: int, codes: list[CodeTerms], cut: int
) -> None:
    """What each code took of each line goes from request to request as it is kept: nothing is lost on the way."""
    at_once = Pot.of(lines, subtotal, ())
    together = [take(at_once, terms) for terms in codes]
    first = Pot.of(lines, subtotal, ())
    kept = [take(first, terms) for terms in codes[:cut]]
    read = [taken_of(each.amount_minor, each.as_text) for each in kept]
    assert read == kept
    second = Pot.of(lines, subtotal, read)
    assert [*kept, *(take(second, terms) for terms in codes[cut:])] == together


@given(Lines, st.integers(0, 20_000), st.lists(Codes, max_size=4), st.randoms(use_true_random=False))
def test_lines_may_come_in_another_order_later(
    lines: tuple[Line, ...], subtotal: int, codes: list[CodeTerms], random: "object"
) -> None:
    """What was taken of a product is taken of it, wherever its line stands now; no line is taken below nothing."""
    pot = Pot.of(lines, subtotal, ())
    taken = [take(pot, terms) for terms in codes]
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    again = Pot.of(tuple(shuffled), subtotal, taken)
    assert again.left_minor == pot.left_minor
    assert all(left >= 0 for left in again.left)
    for product in (*PRODUCTS, None):
        left = sum(pot.left[place] for place, line in enumerate(lines) if line.product_id == product)
        assert sum(again.left[n] for n, line in enumerate(shuffled) if line.product_id == product) == left


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8), st.data())
def test_shares_sum_up_and_are_as_equal_as_whole_units_can_be(weights: list[int], data: st.DataObject) -> None:
    total = sum(weights)
    amount = data.draw(st.integers(0, total))
    parts = shares(amount, weights)
    assert sum(parts) == amount
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))
    assert all(abs(part * total - amount * weight) < total for part, weight in zip(parts, weights, strict=True)) or (
        total == 0
    )


def test_the_largest_remainders_get_the_rest_and_ties_go_by_place() -> None:
    assert shares(100, [1, 1, 1]) == [34, 33, 33]
    assert shares(5, [3, 3, 4]) == [2, 1, 2]
    assert shares(0, [0, 0]) == [0, 0]


def test_a_part_of_the_subtotal_that_no_line_tells_of_bears_its_share() -> None:
    pot = Pot.of((Line("X", 500), Line("Y", None)), 1_000, ())
    assert pot.take(500, None) == Taken(500, ((0, "X", 250),))
    assert (pot.left, pot.left_minor) == ([250, 0], 500)


def test_what_was_taken_before_lines_were_told_is_spread_over_them() -> None:
    assert Pot.of((Line("X", 400), Line("Y", 600)), 1_000, (Taken(500),)).left == [200, 300]
