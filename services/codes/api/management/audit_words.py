"""The audit log's changes in the terms of `/v1`: its names, percentages and amounts."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from services.codes.api.management.jobs import asked_of
from services.codes.api.management.words import CODE_MEMBERS, COUPON_MEMBERS, PROGRAM_MEMBERS
from services.codes.domain.money import major_units, percent
from shared.times import format_microseconds

_SIDES: Final = ("from", "to")
_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "program": PROGRAM_MEMBERS,
    "coupon": COUPON_MEMBERS,
    "promotion_code": CODE_MEMBERS,
}
# The member with the currency of each amount, for entries that do not contain it.
_CURRENCIES: Final = {
    "amount_minor": "currency",
    "max_discount_minor": "currency",
    "minimum_minor": "minimum_currency",
    "budget_minor": "budget_currency",
}
# Members for internal comparison, and those that the entry has elsewhere.
_HIDDEN: Final = frozenset({"canonical", "program_id"})
# Members of a key that are part of other members of ours.
_NESTED: Final = frozenset({"terms", "owner"})

_CUSTOMERS: Final = frozenset({"customer", "customer_id", "customer_name"})
_OF_CUSTOMERS: Final = "coupon_specific_customers"


def api_changes(object_type: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's changes with the API's names for the members of that object.

    An amount whose currency is no longer known keeps our name, which says that it is in minor units.
    """
    words = _WORDS.get(object_type, {})
    shown: dict[str, Any] = {}
    for member, change in _flat(changes):
        if member in _HIDDEN:
            continue
        name = words.get(member, member)
        sides = {side: change[side] for side in _SIDES if side in change}
        if member in _CURRENCIES:
            currencies = _currencies(change, changes.get(_CURRENCIES[member], {}))
            if any(sides[side] is not None and currencies.get(side) is None for side in sides):
                shown[member] = sides
                continue
            made = {side: _amount(value, currencies.get(side)) for side, value in sides.items()}
        else:
            made = {side: _value(member, value) for side, value in sides.items()}
        shown[name] = _merged(shown.get(name), made)
    return shown


def without_customers(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes in the API's terms without those that name customers."""
    return {
        name: without_customers(value) if isinstance(value, dict) else value
        for name, value in changes.items()
        if name not in _CUSTOMERS and not name.startswith(_OF_CUSTOMERS)
    }


def _flat(changes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for member, change in changes.items():
        if member == "spec" and isinstance(spec := change.get("to"), dict):
            for name, value in asked_of(spec).items():
                yield name, {"to": value}
        elif member in _NESTED:
            nested = {side: change[side] or {} for side in _SIDES if side in change}
            for name in dict.fromkeys(name for values in nested.values() for name in values):
                sides = {side: values.get(name) for side, values in nested.items()}
                if len({str(value) for value in sides.values()}) > 1 or sides.get("to") not in (None, []):
                    yield name, sides
        else:
            yield member, change


def _currencies(change: Mapping[str, Any], beside: Mapping[str, Any]) -> Mapping[str, Any]:
    said: Mapping[str, Any] | None = change.get("currencies")
    return beside if said is None else said


def _amount(minor: int | None, currency: str | None) -> int | float | None:
    return None if minor is None or currency is None else major_units(minor, currency)


def _value(member: str, value: Any) -> Any:
    if value is None:
        return None
    if member.endswith("_hundredths"):
        return percent(value)
    if member == "amounts_by_currency":
        return {currency: major_units(minor, currency) for currency, minor in value.items()}
    if member.endswith("_at") and isinstance(value, str):
        return format_microseconds(datetime.fromisoformat(value))
    return value


def _merged(known: Mapping[str, Any] | None, made: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two members of the same name: a percentage that became an amount has both."""
    if known is None:
        return dict(made)
    return {side: made.get(side) if made.get(side) is not None else known.get(side) for side in {**known, **made}}
