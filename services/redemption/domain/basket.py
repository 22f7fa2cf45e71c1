"""An order's codes so far: those of its earlier requests, and those of this one with their discounts, code by code."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from services.redemption.domain.books import HeldCode, OrderBook, Redemption
from services.redemption.domain.lines import Earlier, Taken, lines_of, taken_of
from services.redemption.domain.pot import Places, Pot
from services.redemption.domain.purchase import Line
from services.redemption.domain.terms import CodeTerms, Combination

# Including voided ones: every decision about an order reads all of them.
MOST_REDEMPTIONS: Final = 1_000


class OrderCode(NamedTuple):
    """One code of an order, as typed or redeemed; `redemption` is its redemption in the counts."""

    text: str
    coupon_id: uuid.UUID
    combination: Combination
    taken: Taken
    currency: str | None = None
    lines: tuple[Line, ...] | None = None
    redemption: Redemption | None = None

    @classmethod
    def of(cls, redemption: Redemption) -> "OrderCode":
        """Return a code that the order has redeemed."""
        return cls(
            text=redemption.code,
            coupon_id=redemption.coupon_id,
            combination=redemption.combination,
            taken=taken_of(redemption.discount_minor, redemption.lines),
            currency=redemption.currency,
            lines=lines_of(redemption.prices),
            redemption=redemption if redemption.is_counted else None,
        )

    @property
    def before(self) -> Earlier:
        """Its discount, for later requests of its order."""
        return Earlier(self.taken, self.lines)


@dataclass(slots=True)
class Basket:
    """`own` are the books of the order and of the reservation that it names.

    `passed_over` are redemptions of the order in the counts that must not be counted. `redeemed` is the number of the
    order's redemptions, including voided ones.
    """

    pot: Pot
    own: tuple[OrderBook, ...]
    earlier: tuple[OrderCode, ...] = ()
    added: list[OrderCode] = field(default_factory=list)
    passed_over: tuple[Redemption, ...] = ()
    redeemed: int = 0

    def take(self, text: str, terms: CodeTerms, amount_minor: int | None, eligible: Places | None) -> Taken:
        """Add one code, and take its discount from the pot."""
        taken = self.pot.take(amount_minor, eligible)
        self.added.append(OrderCode(text, terms.coupon_id, terms.combination, taken))
        return taken

    @property
    def codes(self) -> tuple[OrderCode, ...]:
        """All codes of the order so far."""
        return *self.earlier, *self.added

    @property
    def is_full(self) -> bool:
        """Whether the order cannot have another code."""
        return self.redeemed + len(self.added) >= MOST_REDEMPTIONS

    def without_codes(self) -> "Basket":
        """Return a copy without the order's codes, those of this request and, in the counts, of earlier ones."""
        pot = Pot.of(self.pot.lines, self.pot.subtotal_minor, ())
        counted = tuple(code.redemption for code in self.earlier if code.redemption is not None)
        return replace(self, pot=pot, earlier=(), added=[], passed_over=counted)

    def added_of(self, coupon_id: uuid.UUID) -> Sequence[OrderCode]:
        """Return the codes of one coupon that are not in the counts yet."""
        return [code for code in self.added if code.coupon_id == coupon_id]

    def passed_over_of(self, coupon_id: uuid.UUID) -> Sequence[Redemption]:
        """Return the redemptions of one coupon that are in the counts and must not be counted."""
        return [redemption for redemption in self.passed_over if redemption.coupon_id == coupon_id]

    def holds(self) -> Iterator[HeldCode]:
        """Yield the order's own present holds."""
        for book in self.own:
            if book.is_holding:
                yield from book.held
