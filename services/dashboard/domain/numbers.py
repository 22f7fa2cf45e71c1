"""Numbers, money and shares as pages write them."""

from decimal import Decimal
from typing import Final

from shared.currencies import PLACES

_MILLION: Final = 1_000_000
# A share of fewer says nothing: the counts stand alone.
_FEWEST_FOR_SHARE: Final = 20


def number(value: float) -> str:
    """Return a number with separators, from a million on shortened."""
    if abs(value) < _MILLION:
        return f"{value:,}".replace("-", "\u2212")
    return f"{value / _MILLION:,.1f} million".replace("-", "\u2212")


def signed(value: int) -> str:
    """Return a change with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def money(minor: int, currency: str) -> str:
    """Return an amount of minor units with its currency before it."""
    places = PLACES.get(currency, 2)
    return f"{currency} {Decimal(minor).scaleb(-places):,.{places}f}".replace("-", "\u2212")


def share(part: int, whole: int) -> str:
    """Return what share `part` is of `whole`, or the two counts if they are too few for one."""
    if whole < _FEWEST_FOR_SHARE:
        return f"{number(part)} of {number(whole)}"
    return f"{100 * part / whole:.1f} %"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"
