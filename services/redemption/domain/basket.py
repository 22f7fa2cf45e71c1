"""What an order has so far: the codes of its earlier requests, and what the codes of this one take, code by code."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from services.redemption.domain.books import HeldCode, OrderBook
from services.redemption.domain.pot import Places, Pot, Taken
from services.redemption.domain.terms import CodeTerms, Combination


class OrderCode(NamedTuple):
    """One code of an order, as it was typed or redeemed."""

    text: str
    coupon_id: uuid.UUID
    combination: Combination
    taken: Taken


@dataclass(slots=True)
class Basket:
    """`own` are the books of the order and of the reservation that it names.

    `passed_over` are codes of the order that the counts have, and that are not to be counted.
    """

    pot: Pot
    own: tuple[OrderBook, ...]
    earlier: tuple[OrderCode, ...] = ()
    added: list[OrderCode] = field(default_factory=list)
    passed_over: tuple[OrderCode, ...] = ()

    def take(self, text: str, terms: CodeTerms, amount_minor: int | None, eligible: Places | None) -> Taken:
        """Add one code, and take what it takes from the pot."""
        taken = self.pot.take(amount_minor, eligible)
        self.added.append(OrderCode(text, terms.coupon_id, terms.combination, taken))
        return taken

    @property
    def codes(self) -> tuple[OrderCode, ...]:
        """All codes of the order so far."""
        return *self.earlier, *self.added

    @property
    def paid_minor(self) -> int | None:
        """What is left to pay; None where nobody knows."""
        return self.pot.left_minor if self.pot.is_known else None

    def without_codes(self) -> "Basket":
        """Return it as if the order had no codes yet, neither of this request nor, in the counts, of earlier ones."""
        return replace(self, earlier=(), added=[], passed_over=self.earlier)

    def uses_of(self, coupon_id: uuid.UUID) -> int:
        """Return how many of the codes that are not in the counts yet are of one coupon."""
        return _uses(self.added, coupon_id) - _uses(self.passed_over, coupon_id)

    def money_of(self, coupon_id: uuid.UUID) -> int:
        """Return what these codes of one coupon take off."""
        return _money(self.added, coupon_id) - _money(self.passed_over, coupon_id)

    def holds(self) -> Iterator[HeldCode]:
        """Yield what the order itself holds now."""
        for book in self.own:
            if book.is_holding:
                yield from book.held


def _uses(codes: Iterable[OrderCode], coupon_id: uuid.UUID) -> int:
    return sum(code.coupon_id == coupon_id for code in codes)


def _money(codes: Iterable[OrderCode], coupon_id: uuid.UUID) -> int:
    return sum(code.taken.amount_minor or 0 for code in codes if code.coupon_id == coupon_id)
