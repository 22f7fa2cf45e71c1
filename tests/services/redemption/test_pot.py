"""The order's pot as properties: whatever codes take, in however many requests, nothing is taken twice."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.lines import Earlier, Taken, lines_of, locate, prices_text, shares, taken_of
from services.redemption.domain.pot import Pot, discount_minor
from services.redemption.domain.purchase import Line
from services.redemption.domain.restrictions import eligible_lines
from services.redemption.domain.terms import CodeTerms, Restrictions
from tests.services.redemption.test_decision import TERMS

PRODUCTS = ("X", "Y", "Z")
NAMED = (*PRODUCTS, None)
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
    read = [Earlier(taken_of(each.amount_minor, each.as_text), lines_of(prices_text(lines))) for each in kept]
    assert read == [Earlier(each, lines) for each in kept]
    second = Pot.of(lines, subtotal, read)
    assert [*kept, *(take(second, terms) for terms in codes[cut:])] == together


@given(Lines, st.integers(0, 20_000), st.lists(st.tuples(Codes, st.randoms(use_true_random=False)), max_size=5))
def test_lines_may_come_in_another_order_with_every_request(
    lines: tuple[Line, ...], subtotal: int, requests: list[tuple[CodeTerms, Random]]
) -> None:
    """Two lines of one product at two prices, listed the other way round, gave one of them away twice."""
    off = dict.fromkeys(items(lines), 0)
    earlier: list[Earlier] = []
    for terms, random in requests:
        listed = tuple(random.sample(lines, len(lines)))
        pot = Pot.of(listed, subtotal, earlier)
        assert pot.left == [item[1] - off[item] for item in items(listed)]
        taken = take(pot, terms)
        for place, product, minor in taken.lines or ():
            assert listed[place].product_id == product
            off[items(listed)[place]] += minor
        earlier.append(Earlier(taken, listed))
        assert all(0 <= taken_off <= item[1] for item, taken_off in off.items())
        assert sum(each.taken.amount_minor or 0 for each in earlier) == subtotal - (pot.left_minor or 0) <= subtotal
        assert locate(earlier, lines) == ([off[item] for item in items(lines)], {})


def items(lines: tuple[Line, ...]) -> list[tuple[str | None, int, int]]:
    """Return each line as (product, price, the place among those that are equal)."""
    return [(line.product_id, line.amount_minor or 0, lines[:place].count(line)) for place, line in enumerate(lines)]


@given(Lines, st.integers(0, 20_000), st.lists(st.tuples(Codes, st.randoms(use_true_random=False)), max_size=5))
def test_lines_may_be_split_or_put_together_by_every_request(
    lines: tuple[Line, ...], subtotal: int, requests: list[tuple[CodeTerms, Random]]
) -> None:
    """What was taken of a product is taken of it, however its lines are listed now."""
    prices = {product: sum(line.amount_minor or 0 for line in lines if line.product_id == product) for product in NAMED}
    off = dict.fromkeys(NAMED, 0)
    earlier: list[Earlier] = []
    for terms, random in requests:
        listed = split(lines, random)
        pot = Pot.of(listed, subtotal, earlier)
        taken = take(pot, terms)
        earlier.append(Earlier(taken, listed))
        assert all(left >= 0 for left in pot.left)
        for _, product, minor in taken.lines or ():
            off[product] += minor
        for product in NAMED:
            left = sum(left for line, left in zip(listed, pot.left, strict=True) if line.product_id == product)
            assert left == prices[product] - off[product] >= 0
        assert sum(each.taken.amount_minor or 0 for each in earlier) <= subtotal


def split(lines: tuple[Line, ...], random: Random) -> tuple[Line, ...]:
    """Return the same goods as other lines in another order."""
    parts: list[Line] = []
    for line in lines:
        cut = random.randint(0, line.amount_minor) if line.amount_minor else 0
        pieces = (
            [line] if not cut else [Line(line.product_id, cut), Line(line.product_id, (line.amount_minor or 0) - cut)]
        )
        parts += pieces if random.random() < 0.7 else [line]
    return tuple(random.sample(parts, len(parts)))


def test_what_a_split_line_took_is_shared_by_its_parts_and_by_no_other() -> None:
    """Or the line that is as before would be left with less than is left of it, and the parts with more."""
    before = Line("X", 1_000), Line("X", 2_000)
    now = Line("X", 500), Line("X", 1_000), Line("X", 1_500)
    assert locate([Earlier(Taken(2_400, ((0, "X", 800), (1, "X", 1_600))), before)], now) == ([400, 800, 1_200], {})


def test_what_was_taken_of_goods_that_are_there_no_more_is_not_lost() -> None:
    earlier = [Earlier(Taken(300, ((0, "X", 300),)), (Line("X", 1_000),)), Earlier(Taken(50, ((0, "Y", 50),)))]
    assert locate(earlier, (Line("X", 200), Line("Y", 60))) == ([200, 50], {"X": 100})


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
    assert Pot.of((Line("X", 400), Line("Y", 600)), 1_000, [Earlier(Taken(500))]).left == [200, 300]
