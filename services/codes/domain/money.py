"""Money and percentages: decimals in major units outside, integers in minor units and hundredths of a percent inside.

A fault is a ValueError whose text follows the name of the field.
"""

from decimal import Decimal
from typing import Final

from shared.currencies import PLACES

# The largest number that JSON holds exactly in every language.
MAX_MINOR: Final = 2**53 - 1


def decimal_places(currency: str) -> int:
    """Return the decimal places of a currency; two if it is no longer on the list."""
    return PLACES.get(currency, 2)


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount in minor units; raises ValueError if that loses precision."""
    places = decimal_places(currency)
    limit = Decimal(MAX_MINOR).scaleb(-places)
    if amount < 0:
        raise ValueError("must be at least 0")
    if amount > limit:
        raise ValueError(f"must not be greater than {limit}")
    return _whole(amount, places, f" in {currency}")


def major_units(minor: int, currency: str) -> int | float:
    """Return an amount as a number in major units, whole ones without a fraction."""
    return as_number(Decimal(minor).scaleb(-decimal_places(currency)))


def in_major_units(minor: int | None, currency: str | None) -> Decimal | None:
    """Return an amount in major units, exactly; None without one."""
    return None if minor is None or currency is None else Decimal(minor).scaleb(-decimal_places(currency))


def hundredths(percent: Decimal) -> int:
    """Return a percentage of 0 to 100 in hundredths of a percent; raises ValueError if that loses precision."""
    if percent < 0:
        raise ValueError("must be at least 0")
    if percent > 100:
        raise ValueError("must not be greater than 100")
    return _whole(percent, 2, "")


def in_percent(in_hundredths: int | None) -> Decimal | None:
    """Return a percentage, exactly; None without one."""
    return None if in_hundredths is None else Decimal(in_hundredths).scaleb(-2)


def percent(in_hundredths: int) -> int | float:
    """Return a percentage as a number, whole ones without a fraction."""
    return as_number(Decimal(in_hundredths).scaleb(-2))


def _whole(amount: Decimal, places: int, where: str) -> int:
    scaled = amount.scaleb(places)
    if scaled != scaled.to_integral_value():
        allowed = f"more than {places} decimal places" if places else "decimal places"
        raise ValueError(f"must not have {allowed}{where}")
    return int(scaled)


def as_number(amount: Decimal) -> int | float:
    """Return a decimal as a number, a whole one without a fraction."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)
