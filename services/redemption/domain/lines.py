"""The discounts of codes on an order's lines, and the matching of lines between requests of the same order.

Requests may list the lines in another order, or split them: a line is identified by its product and its price.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from services.redemption.domain.purchase import Line

# `json.dumps` makes an encoder for each call that asks for other separators.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Taken(NamedTuple):
    """The discount of a code: in total, and per line as (line, product, minor units); None if that is unknown."""

    amount_minor: int | None
    lines: tuple[tuple[int, str | None, int], ...] | None = None

    @property
    def as_text(self) -> str | None:
        """The lines in stored form."""
        return None if self.lines is None else _encode(self.lines)


class Earlier(NamedTuple):
    """The discount of a code in an earlier request, and the lines that it listed; None if they were not stored."""

    taken: Taken
    lines: tuple[Line, ...] | None = None


class Located(NamedTuple):
    """The discount of each line, and of products for which no line has room any more."""

    by_line: list[int]
    elsewhere: dict[str | None, int]


def taken_of(amount_minor: int | None, text: str | None) -> Taken:
    """Return the discount of a code from its stored form."""
    if text is None:
        return Taken(amount_minor)
    return Taken(amount_minor, tuple((line, product, minor) for line, product, minor in json.loads(text)))


def prices_text(lines: tuple[Line, ...] | None) -> str | None:
    """Return the prices of an order's lines in stored form."""
    if lines is None:
        return None
    return _encode([(line.product_id, line.amount_minor) for line in lines])


# Read once for all codes of an order, which are usually the same.
@lru_cache(64)
def lines_of(text: str | None) -> tuple[Line, ...] | None:
    """Return the lines of an order whose prices were stored."""
    return None if text is None else tuple(Line(product, minor) for product, minor in json.loads(text))


def places_now(earlier: Sequence[Line], now: Sequence[Line]) -> list[int | None]:
    """Return the present position of each line of an earlier request: equal lines match in order.

    None if the order no longer has such a line.
    """
    places: dict[Line, list[int]] = {}
    for place in reversed(range(len(now))):
        places.setdefault(now[place], []).append(place)
    return [found.pop() if (found := places.get(line)) else None for line in earlier]


def locate(earlier: Iterable[Earlier], now: Sequence[Line]) -> Located:
    """Return the discounts of earlier requests' codes on the present lines.

    The discount of a line that is gone is shared by the other lines of its product: first by new ones, as after a
    split. No line gives more than it costs.
    """
    left = [line.amount_minor or 0 for line in now]
    # Most requests of an order list the same lines; what has moved is shared once per list.
    places: dict[tuple[Line, ...], Sequence[int | None]] = {}
    moved: dict[tuple[tuple[Line, ...], str | None], int] = {}
    for taken, listed in earlier:
        lines = listed or ()
        if lines not in places:
            places[lines] = places_now(lines, now)
        for line, product, minor in taken.lines or ():
            place = places[lines][line] if line < len(lines) else None
            if rest := minor if place is None else minor - _take(minor, (place,), left):
                moved[lines, product] = moved.get((lines, product), 0) + rest
    known = {lines: frozenset(found) for lines, found in places.items()}
    elsewhere: dict[str | None, int] = {}
    for (lines, product), minor in moved.items():
        mine = [place for place, line in enumerate(now) if line.product_id == product]
        rest = minor - _take(minor, [place for place in mine if place not in known[lines]], left)
        rest -= _take(rest, mine, left)
        if rest:
            elsewhere[product] = elsewhere.get(product, 0) + rest
    return Located([(line.amount_minor or 0) - rest for line, rest in zip(now, left, strict=True)], elsewhere)


def _take(amount: int, places: Sequence[int], left: list[int]) -> int:
    """Take an amount of some lines, pro rata over what is left of them, and return how much of it was left."""
    weights = [left[place] for place in places]
    amount = min(amount, sum(weights))
    for place, part in zip(places, shares(amount, weights), strict=True):
        left[place] -= part
    return amount


def shares(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount pro rata: whole parts that sum up to it, the largest remainders first, ties by position.

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
