"""The one pot that an order's codes take from: its subtotal and its lines, and what each code takes of which line.

Nothing here knows codes by name or counts: amounts in, amounts out, exact in integers.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.redemption.domain.purchase import Line
from services.redemption.domain.terms import CodeTerms, percentage

# What is left of one line, and the part of the subtotal that no line tells of, as the place behind the last.
Places = tuple[int, ...]


class Taken(NamedTuple):
    """What a code takes: in all, and by line as (line, product, minor units); None where that is unknown."""

    amount_minor: int | None
    lines: tuple[tuple[int, str | None, int], ...] | None = None

    @property
    def as_text(self) -> str | None:
        """The lines as they are kept."""
        return None if self.lines is None else json.dumps(self.lines, separators=(",", ":"))


def taken_of(amount_minor: int | None, text: str | None) -> Taken:
    """Return what a code took, as it was kept."""
    if text is None:
        return Taken(amount_minor)
    return Taken(amount_minor, tuple((line, product, minor) for line, product, minor in json.loads(text)))


def prices_text(lines: tuple[Line, ...] | None) -> str | None:
    """Return what the lines of an order cost, as it is kept."""
    if lines is None:
        return None
    return json.dumps([(line.product_id, line.amount_minor) for line in lines], separators=(",", ":"))


def lines_of(text: str | None) -> tuple[Line, ...] | None:
    """Return the lines of an order whose prices were kept."""
    return None if text is None else tuple(Line(product, minor) for product, minor in json.loads(text))


@dataclass(slots=True)
class Pot:
    """What is left for the next code. `left_minor` is None where the subtotal is unknown.

    A code that took nobody knows how much leaves it unknown what is left: `is_known` is False from then on.
    """

    lines: tuple[Line, ...] | None
    subtotal_minor: int | None
    left_minor: int | None
    left: list[int]
    is_known: bool = True

    @classmethod
    def of(cls, lines: tuple[Line, ...] | None, subtotal_minor: int | None, earlier: Iterable[Taken]) -> "Pot":
        """Open the pot of an order, without what its codes took before."""
        pot = cls(lines, subtotal_minor, subtotal_minor, [line.amount_minor or 0 for line in lines or ()])
        for taken in earlier:
            pot._take_again(taken)
        return pot

    def price_minor(self, eligible: Places | None) -> int | None:
        """Return what the eligible lines cost before any code, and never more than the subtotal; None for the order."""
        if eligible is None or self.lines is None:
            return self.subtotal_minor
        price = sum(self.lines[place].amount_minor or 0 for place in eligible)
        return price if self.subtotal_minor is None else min(price, self.subtotal_minor)

    def left_of(self, eligible: Places | None) -> int | None:
        """Return what is left of the eligible lines, or of the whole order; None where that is unknown."""
        if not self.is_known or (eligible is None and self.left_minor is None):
            return None
        if eligible is None:
            return self.left_minor
        left = sum(self.left[place] for place in eligible)
        return left if self.left_minor is None else min(left, self.left_minor)

    def has_left(self, taken: Taken) -> bool:
        """Whether what a code took of these lines is left: in all and of each line, as far as that is known."""
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

    def _take_again(self, taken: Taken) -> None:
        """Take what an earlier request of the order took, from lines that may come in another order now."""
        amount = taken.amount_minor or 0
        if taken.lines is None:
            self.take(min(amount, sum(self.left) if self.left_minor is None else self.left_minor), None)
            return
        for line, product, minor in taken.lines:
            self._take_from_product(line, product, minor)
        if self.left_minor is not None:
            self.left_minor = max(0, self.left_minor - amount)

    def _take_from_product(self, line: int, product_id: str | None, minor: int) -> None:
        places = [place for place, each in enumerate(self.lines or ()) if each.product_id == product_id]
        for place in sorted(places, key=lambda place: (place != line, place)):
            part = min(minor, self.left[place])
            self.left[place] -= part
            minor -= part


def shares(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount pro rata: whole parts that sum up to it, the largest remainders first, ties by place.

    No part is larger than its weight as long as the amount is not larger than their sum.
    """
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    parts = [amount * weight // total for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda place: (-(amount * weights[place] % total), place))
    for place in remainders[: amount - sum(parts)]:
        parts[place] += 1
    return parts


def discount_minor(
    terms: CodeTerms, price_minor: int | None, currency: str | None, left_minor: int | None
) -> int | None:
    """Return what the terms take off, in minor units of the order's currency; None when unknowable.

    A percentage is of the price before other codes, rounded half up, and never more than what is left.
    """
    if price_minor is None or left_minor is None:
        return None
    if terms.percent_hundredths is not None:
        amount = percentage(price_minor, terms.percent_hundredths)
        most = terms.restrictions.max_discount_minor
        return min(amount, left_minor) if most is None else min(amount, left_minor, most)
    static = terms.static_amount(currency)
    return None if static is None else min(static, price_minor, left_minor)
