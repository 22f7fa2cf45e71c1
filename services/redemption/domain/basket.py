"""What an order has so far: the codes of its earlier requests, and what the codes of this one take, code by code."""

import uuid
from collections.abc import Iterator
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
    """`own` are the books of the order and of the reservation that it names."""

    pot: Pot
    own: tuple[OrderBook, ...]
    earlier: tuple[OrderCode, ...] = ()
    added: list[OrderCode] = field(default_factory=list)

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

    def before_this(self) -> "Basket":
        """Return it as it was before the codes of this request."""
        return replace(self, added=[])

    def uses_of(self, coupon_id: uuid.UUID) -> int:
        """Return how many of this request's codes are of one coupon."""
        return sum(code.coupon_id == coupon_id for code in self.added)

    def money_of(self, coupon_id: uuid.UUID) -> int:
        """Return what this request's codes of one coupon take off."""
        return sum(code.taken.amount_minor or 0 for code in self.added if code.coupon_id == coupon_id)

    def holds(self) -> Iterator[HeldCode]:
        """Yield what the order itself holds now."""
        for book in self.own:
            if book.is_holding:
                yield from book.held
