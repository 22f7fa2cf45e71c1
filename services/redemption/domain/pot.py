"""The pot from which an order's codes take their discounts: its subtotal and its lines.

Nothing here knows codes or counts: amounts in, amounts out, exact in integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.redemption.domain.lines import Earlier, Taken, locate, shares
from services.redemption.domain.purchase import Line
from services.redemption.domain.terms import CodeTerms, percentage

# The rest of each line, and the part of the subtotal outside all lines, as the position after the last.
Places = tuple[int, ...]


@dataclass(slots=True)
class Pot:
    """What is left for the next code. `left_minor` is None if the subtotal is unknown.

    After a code with an unknown discount the rest is unknown: `is_known` is False from then on.
    """

    lines: tuple[Line, ...] | None
    subtotal_minor: int | None
    left_minor: int | None
    left: list[int]
    is_known: bool = True

    @classmethod
    def of(cls, lines: tuple[Line, ...] | None, subtotal_minor: int | None, earlier: Sequence[Earlier]) -> "Pot":
        """Open the pot of an order, less its codes' earlier discounts, on lines that may be listed differently now."""
        if not earlier:
            return cls(lines, subtotal_minor, subtotal_minor, [line.amount_minor or 0 for line in lines or ()])
        by_line = locate(earlier, lines or ()).by_line
        left = [(line.amount_minor or 0) - taken for line, taken in zip(lines or (), by_line, strict=True)]
        pot = cls(lines, subtotal_minor, subtotal_minor, left)
        if pot.left_minor is not None:
            of_lines = sum(each.taken.amount_minor or 0 for each in earlier if each.taken.lines is not None)
            pot.left_minor = max(0, pot.left_minor - of_lines)
        for taken, _ in earlier:
            if taken.lines is None:
                most = sum(pot.left) if pot.left_minor is None else pot.left_minor
                pot.take(min(taken.amount_minor or 0, most), None)
        return pot

    def price_minor(self, eligible: Places | None) -> int | None:
        """Return the price of the eligible lines before any code, at most the subtotal; None for the whole order."""
        if eligible is None or self.lines is None:
            return self.subtotal_minor
        price = sum(self.lines[place].amount_minor or 0 for place in eligible)
        return price if self.subtotal_minor is None else min(price, self.subtotal_minor)

    def left_of(self, eligible: Places | None) -> int | None:
        """Return what is left of the eligible lines, or of the whole order; None if that is unknown."""
        if not self.is_known or (eligible is None and self.left_minor is None):
            return None
        if eligible is None:
            return self.left_minor
        left = sum(self.left[place] for place in eligible)
        return left if self.left_minor is None else min(left, self.left_minor)

    def has_left(self, taken: Taken) -> bool:
        """Whether the discount of a code on these lines is left: in total and per line, if that is known."""
        if self.left_minor is not None and (taken.amount_minor or 0) > self.left_minor:
            return False
        if self.lines is None or taken.lines is None:
            return True
        return all(minor <= self.left[line] for line, _, minor in taken.lines)

    def take(self, amount_minor: int | None, eligible: Places | None) -> Taken:
        """Take an amount off the eligible lines or off all, pro rata over what is left; it must be left."""
        if amount_minor is None:
            self.is_known = False
            return Taken(None)
        if self.lines is None:
            self.left_minor = None if self.left_minor is None else self.left_minor - amount_minor
            return Taken(amount_minor)
        places = tuple(range(len(self.left))) if eligible is None else eligible
        weights = [self.left[place] for place in places]
        if eligible is None and self.left_minor is not None:
            weights.append(max(0, self.left_minor - sum(weights)))
        parts = shares(amount_minor, weights)
        for place, part in zip(places, parts, strict=False):
            self.left[place] -= part
        if self.left_minor is not None:
            self.left_minor -= amount_minor
        taken = ((place, self.lines[place].product_id, part) for place, part in zip(places, parts, strict=False))
        return Taken(amount_minor, tuple(each for each in taken if each[2]))


def discount_minor(
    terms: CodeTerms, price_minor: int | None, currency: str | None, left_minor: int | None
) -> int | None:
    """Return the discount of the terms, in minor units of the order's currency; None if it is unknown.

    A percentage applies to the price before other codes, rounded half up, and never more than what is left.
    """
    if price_minor is None or left_minor is None:
        return None
    if terms.percent_hundredths is not None:
        amount = percentage(price_minor, terms.percent_hundredths)
        most = terms.restrictions.max_discount_minor
        return min(amount, left_minor) if most is None else min(amount, left_minor, most)
    static = terms.static_amount(currency)
    return None if static is None else min(static, price_minor, left_minor)
