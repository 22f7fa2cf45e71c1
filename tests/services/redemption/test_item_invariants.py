"""Coupons for some products on a real database: a model of lines says what each code takes off which of them."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from services.redemption.domain.decision import Redeemed
from services.redemption.domain.moments import OWN_CLOCK
from services.redemption.domain.purchase import Cancellation, HoldRequest, VoidRequest
from services.redemption.domain.reserving import Reserved
from services.redemption.usecases.purchases import CompletedCheckout, purchase_of
from shared.events.checkout import Order
from shared.ids import new_id
from tests.conftest import NewDatabase
from tests.services.redemption.test_invariants import OnDatabase, run_machine

STATE = """
SELECT (SELECT coalesce(sum(uses), 0) FROM redemption.code_counters) AS uses,
       (SELECT count(*) FROM redemption.events WHERE type = 'code.redeemed') AS redeemed,
       (SELECT count(*) FROM redemption.events WHERE type = 'code.redemption_voided') AS voided,
       (SELECT count(*) FROM redemption.events WHERE type = 'code.redemption_skipped') AS skipped
"""
STANDING = """
SELECT order_ref, code, discount_minor, lines::text FROM redemption.redemptions WHERE voided_at IS NULL
"""


class Terms(NamedTuple):
    """A code: a percentage or an amount, of some products or of the whole order."""

    percent: int | None = None
    amount: int | None = None
    products: tuple[str, ...] = ()


CODES = {
    "X50": Terms(percent=50, products=("X",)),
    "X80": Terms(percent=80, products=("X",)),
    "Y30": Terms(amount=30, products=("Y",)),
    "A10": Terms(percent=10),
    "A100": Terms(percent=100),
}
# Lines (product, amount) and the subtotal: twice of one product, a free line, more than the lines, no amount, no lines.
Line = tuple[str, int | None]
ORDERS: list[tuple[tuple[Line, ...] | None, int]] = [
    ((("X", 100), ("Y", 65), ("X", 7)), 172),
    ((("X", 0), ("Y", 25)), 25),
    ((("X", 33), ("Y", 10)), 90),
    ((("X", None), ("Y", 40)), 60),
    (None, 80),
]
OrderNumbers = st.integers(0, len(ORDERS) - 1)
Wanted = st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=4, unique=True)


def largest_remainders(amount: int, weights: list[int]) -> list[int]:
    total = sum(weights)
    parts = [amount * weight // total if total else 0 for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda place: -(amount * weights[place] % total if total else 0))
    for place in by_rest[: amount - sum(parts)]:
        parts[place] += 1
    return parts


@dataclass
class Cart:
    """One order: the discount of each standing code per line; the last is the part of the subtotal outside all lines.

    `listed` is the order in which the request lists the lines, by code that in which its own did.
    """

    lines: tuple[Line, ...] | None
    subtotal: int
    taken: dict[str, list[int]] = field(default_factory=dict)
    listed: list[int] = field(default_factory=list)
    listed_by: dict[str, list[int]] = field(default_factory=dict)

    def turn(self, by: int) -> None:
        """List the lines in another order from now on."""
        places = list(range(len(self.lines or ())))
        by %= max(1, len(places))
        self.listed = places[by:] + places[:by]

    @property
    def prices(self) -> list[int]:
        told = [amount or 0 for _, amount in self.lines or ()]
        return [*told, self.subtotal - sum(told)]

    def left(self, taken: dict[str, list[int]]) -> list[int]:
        return [price - sum(parts[n] for parts in taken.values()) for n, price in enumerate(self.prices)]

    def judge(self, code: str, taken: dict[str, list[int]]) -> list[int] | str:
        """Return what a code takes off each line, or why it cannot be used."""
        terms, places = CODES[code], [*self.listed, len(self.prices) - 1]
        if terms.products:
            if self.lines is None:
                return "order_items_required"
            places = [n for n in self.listed if self.lines[n][0] in terms.products]
            if not places:
                return "product_not_eligible"
            if any(self.lines[n][1] is None for n in places):
                return "order_items_required"
        left = self.left(taken)
        price, most = sum(self.prices[n] for n in places), sum(left[n] for n in places)
        wanted = terms.amount if terms.percent is None else (2 * price * terms.percent + 100) // 200
        amount = min(wanted or 0, price, most)
        parts = [0] * len(self.prices)
        for place, part in zip(places, largest_remainders(amount, [left[n] for n in places]), strict=True):
            parts[place] = part
        return parts

    def ask(self, codes: list[str], *, is_reported: bool) -> tuple[dict[str, list[int]], list[str]] | str:
        """Return what codes take that are new to the order, and those that drop out; or why it is refused."""
        new: dict[str, list[int]] = {}
        dropped: list[str] = []
        for code in codes:
            if code in self.taken:
                continue
            parts = self.judge(code, self.taken | new)
            if isinstance(parts, str):
                return parts
            if sum(parts) or (is_reported and code == codes[0]):
                new[code] = parts
            elif is_reported:
                dropped.append(code)
            else:
                return "no_effect"
        return new, dropped


class Filling(OnDatabase):
    """Buys, holds and takes back, one request after the other."""

    def __init__(self, new_database: NewDatabase) -> None:
        super().__init__(new_database)
        self.carts = [Cart(lines, subtotal) for lines, subtotal in ORDERS]
        self.redeemed = self.voided = self.skipped = 0

    @initialize()
    def stock(self) -> None:
        self.runner.run(self._stock())

    async def _stock(self) -> None:
        for code, terms in CODES.items():
            percent = None if terms.percent is None else terms.percent * 100
            currency = None if terms.amount is None else "USD"
            coupon = await self.merchant.coupon(self.program, percent=percent, amount=terms.amount, currency=currency)
            if terms.products:
                await self.merchant.restrict_coupon(coupon, product_ids=list(terms.products))
            await self.merchant.code(self.program, coupon, code, limit=None)

    @rule(number=OrderNumbers, codes=Wanted, is_reported=st.booleans(), turn=st.integers(0, 2))
    def redeem(self, number: int, codes: list[str], turn: int, *, is_reported: bool) -> None:
        cart = self.carts[number]
        cart.turn(turn)
        expected = cart.ask(codes, is_reported=is_reported)
        outcome = self._ask(CompletedCheckout(self._purchase(number, codes), None, None, is_answered=not is_reported))
        if isinstance(expected, str):
            assert outcome.reason == expected
            return
        assert isinstance(outcome, Redeemed)
        new, dropped = expected
        assert [use.redemption.code for use in outcome.uses] == list(new)
        assert [refused.code for refused in outcome.skipped] == dropped
        cart.taken |= new
        cart.listed_by |= dict.fromkeys(new, cart.listed)
        self.redeemed += len(new)
        self.skipped += len(dropped)

    @rule(number=OrderNumbers, codes=Wanted, turn=st.integers(0, 2))
    def hold(self, number: int, codes: list[str], turn: int) -> None:
        cart = self.carts[number]
        cart.turn(turn)
        codes = [code for code in codes if code not in cart.taken]
        if not codes:
            return
        expected = cart.ask(codes, is_reported=False)
        outcome = self._ask(HoldRequest(self._purchase(number, codes), new_id(), self.now + timedelta(minutes=1)))
        if isinstance(expected, str):
            assert outcome.reason == expected
            return
        assert isinstance(outcome, Reserved)
        held = {each.code: each.discount_minor for each in outcome.reservation.held}
        assert held == {code: sum(parts) for code, parts in expected[0].items()}

    @rule(number=OrderNumbers)
    def cancel(self, number: int) -> None:
        self._ask(Cancellation(new_id(), self.program, f"order-{number}", self._later(), clock=OWN_CLOCK))
        self.voided += len(self.carts[number].taken)
        self.carts[number].taken.clear()

    @rule(number=OrderNumbers, code=st.sampled_from(sorted(CODES)))
    def void(self, number: int, code: str) -> None:
        """What it took is left for the codes that come later."""
        found = self.runner.run(self._standing(f"order-{number}", code))
        assert (found is None) == (code not in self.carts[number].taken)
        if found is not None:
            self._ask(VoidRequest(self.program, f"order-{number}", found, self._later()))
            del self.carts[number].taken[code]
            self.voided += 1

    def _purchase(self, number: int, codes: list[str]) -> Any:
        lines, subtotal = ORDERS[number]
        items: Any = None
        if lines is not None:
            listed = [lines[place] for place in self.carts[number].listed]
            items = [
                {"product_id": p} if amount is None else {"product_id": p, "amount": amount} for p, amount in listed
            ]
        order = Order(currency="USD", subtotal=subtotal, items=items)
        ref, event_id = f"order-{number}", str(new_id())
        return purchase_of(
            self.program,
            "/shop",
            event_id=event_id,
            order_ref=ref,
            codes=codes,
            occurred_at=self._later(),
            customer=None,
            order=order,
            clock=OWN_CLOCK,
        )

    def _later(self) -> Any:
        self.now += timedelta(seconds=1)
        return self.now

    def _ask(self, ask: Any) -> Any:
        (outcome,) = self.runner.run(self._decide([ask]))
        return outcome

    @invariant()
    def every_line_is_accounted_for(self) -> None:
        rows = self.runner.run(self.admin.fetch(STANDING))
        found = {(row["order_ref"], row["code"]): (row["discount_minor"], row["lines"]) for row in rows}
        assert found.keys() == {(f"order-{n}", code) for n, cart in enumerate(self.carts) for code in cart.taken}
        for number, cart in enumerate(self.carts):
            assert all(left >= 0 for left in cart.left(cart.taken))
            for code, parts in cart.taken.items():
                discount, lines = found[f"order-{number}", code]
                assert discount == sum(parts)
                if cart.lines is not None:
                    told = {cart.listed_by[code][line]: minor for line, _, minor in json.loads(lines)}
                    assert told == {line: part for line, part in enumerate(parts[:-1]) if part}
        state: Any = self.runner.run(self.admin.fetchrow(STATE))
        assert dict(state) == {
            "uses": len(found),
            "redeemed": self.redeemed,
            "voided": self.voided,
            "skipped": self.skipped,
        }


def test_no_code_takes_what_is_not_there(new_migrated_database: NewDatabase) -> None:
    """Two codes for one item took more off it than it costs."""
    run_machine(Filling, new_migrated_database, 12)
