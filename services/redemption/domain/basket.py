"""What an order has so far: the codes of its earlier requests, and what the codes of this one take, code by code."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from services.redemption.domain.books import HeldCode, OrderBook, Redemption
from services.redemption.domain.pot import Places, Pot, Taken
from services.redemption.domain.terms import CodeTerms, Combination


class OrderCode(NamedTuple):
    """One code of an order, as it was typed or redeemed; `redemption` is what the counts have of it."""

    text: str
    coupon_id: uuid.UUID
    combination: Combination
    taken: Taken
    redemption: Redemption | None = None


@dataclass(slots=True)
class Basket:
    """`own` are the books of the order and of the reservation that it names.

    `passed_over` are redemptions of the order that the counts have, and that are not to be counted.
    """

    pot: Pot
    own: tuple[OrderBook, ...]
    earlier: tuple[OrderCode, ...] = ()
    added: list[OrderCode] = field(default_factory=list)
    passed_over: tuple[Redemption, ...] = ()

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
        pot = Pot.of(self.pot.lines, self.pot.subtotal_minor, ())
        counted = tuple(code.redemption for code in self.earlier if code.redemption is not None)
        return replace(self, pot=pot, earlier=(), added=[], passed_over=counted)

    def added_of(self, coupon_id: uuid.UUID) -> Sequence[OrderCode]:
        """Return the codes of one coupon that are not in the counts yet."""
        return [code for code in self.added if code.coupon_id == coupon_id]

    def passed_over_of(self, coupon_id: uuid.UUID) -> Sequence[Redemption]:
        """Return the redemptions of one coupon that are in the counts, and that are not to be counted."""
        return [redemption for redemption in self.passed_over if redemption.coupon_id == coupon_id]

    def holds(self) -> Iterator[HeldCode]:
        """Yield what the order itself holds now."""
        for book in self.own:
            if book.is_holding:
                yield from book.held
