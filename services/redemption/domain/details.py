"""Details of an order that decide nothing: which of them are stored, so that no paid order fails because of one.

Amounts and the order's identity are left as they came: they are read strictly, and an error has its reason.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

MAX_ATTRIBUTES: Final = 50
_MAX_NAME, _MAX_TEXT = 100, 500
_LONGEST_ID, _LONGEST_EMAIL = 255, 320
_MOST_ITEMS: Final = 500
# The maximum number of omitted details that are named.
_MOST_NAMES: Final = 50
# Whole numbers that every reader of our events can hold exactly.
_LEAST, _GREATEST = -(2**63), 2**64 - 1
# The pattern of an address, for documents: something around an @, or nothing, as shops write for guests.
ADDRESS: Final = r"^\s*$|\S[\s\S]*@[\s\S]*\S"
_FLAGS: Final = {"true": True, "false": False}

Attribute = str | int | float | bool | None


class Attributes(NamedTuple):
    """What is passed on, and the names of what is left out, if they can be stored."""

    kept: Mapping[str, Attribute]
    left_out: tuple[str, ...] = ()


class Details(NamedTuple):
    """A checkout's data without details that cannot be stored, and the names of these."""

    kept: dict[str, object]
    left_out: tuple[str, ...]


NO_ATTRIBUTES: Final = Attributes({})
# Nothing is stored of a value that is not an object.
NONE_OF_THEM: Final = Attributes({}, ("attributes",))


def keep_attributes(given: object) -> Attributes:
    """Keep the attributes that can be passed on, up to 50 in the order given.

    A list or object as value, a number out of range, a text above 500 characters and a name above 100 cannot. A value
    that is not an object is left out as a whole, except null and the empty list, which some senders write for an
    empty object.
    """
    if given is None or given == []:
        return NO_ATTRIBUTES
    if not isinstance(given, Mapping):
        return NONE_OF_THEM
    kept: dict[str, Attribute] = {}
    left_out = []
    for name, value in given.items():
        if len(kept) < MAX_ATTRIBUTES and 1 <= len(name) <= _MAX_NAME and _can_keep(value):
            kept[name] = value
        else:
            left_out.append(name[:_MAX_NAME])
    return Attributes(kept, tuple(left_out[:MAX_ATTRIBUTES]))


def names_left_out(details: Sequence[str], attributes: Attributes) -> list[str]:
    """Return the names of all details that could not be stored, as one list."""
    names = attributes.left_out
    return [*details, *(names if attributes == NONE_OF_THEM else (f"attributes.{name}" for name in names))]


def keep_details(data: Mapping[str, object]) -> Details:
    """Leave out what cannot be stored of a purchase's customer, items, and other details.

    An empty text counts as absent. An item that cannot be read keeps its position, without a product and an amount: if
    a code needs these, it is refused for that.
    """
    kept, left_out = dict(data), list[str]()
    if "customer" in kept:
        kept["customer"] = _customer(kept["customer"], left_out)
    if kept.get("order") == []:
        # Some senders write an empty object like this.
        kept["order"] = None
    if isinstance(order := kept.get("order"), Mapping) and (items := order.get("items")) is not None:
        kept["order"] = {**order, "items": _items(items, left_out)}
    if not is_text(reservation := kept.get("reservation_id")):
        del kept["reservation_id"]
        if not is_blank(reservation):
            left_out.append("reservation_id")
    return Details(kept, tuple(left_out[:_MOST_NAMES]))


def keep_reason(data: Mapping[str, object]) -> dict[str, object]:
    """Shorten or omit a reason that cannot be stored; the order is voided all the same."""
    kept = {**data, "reason": data.get("reason"), "release": flag(data.get("release"))}
    reason = kept["reason"]
    kept["reason"] = reason[:_LONGEST_ID] or None if isinstance(reason, str) else None
    return kept


def is_blank(value: object) -> bool:
    """Whether a value is a text without visible characters."""
    return isinstance(value, str) and not value.strip()


def is_text(value: object) -> bool:
    """Whether a value is a text of 1 to 255 characters, or nothing."""
    return value is None or (isinstance(value, str) and 1 <= len(value) <= _LONGEST_ID)


def is_id(value: object) -> bool:
    """Whether a value is such a text, or a whole number."""
    return is_text(value) or is_whole(value)


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, as shops number their orders and customers."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) < 2**53
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10 ** (_LONGEST_ID - 1)


def is_address(value: object) -> bool:
    """Whether a value is an e-mail address, or an empty one."""
    if not isinstance(value, str) or len(value) > _LONGEST_EMAIL:
        return False
    stripped = value.strip()
    return not stripped or "@" in stripped[1:-1]


def flag(value: object) -> object:
    """Return true and false that are sent as text, and anything else unchanged."""
    return _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _customer(given: object, left_out: list[str]) -> object:
    if given is None or given == []:
        return None
    if not isinstance(given, Mapping):
        left_out.append("customer")
        return None
    kept = {"id": given.get("id"), "email": given.get("email"), "is_first_order": flag(given.get("is_first_order"))}
    if is_blank(kept["id"]):
        kept["id"] = None
    for name, is_kept in (
        ("id", is_id(kept["id"])),
        ("email", kept["email"] is None or is_address(kept["email"])),
        ("is_first_order", isinstance(kept["is_first_order"], bool | None)),
    ):
        if not is_kept:
            kept[name] = None
            left_out.append(f"customer.{name}")
    return kept


def _items(given: object, left_out: list[str]) -> list[Mapping[str, object]] | None:
    if not isinstance(given, list) or len(given) > _MOST_ITEMS:
        left_out.append("order.items")
        return None
    return [_item(item, f"order.items.{place}", left_out) for place, item in enumerate(given)]


def _item(given: object, path: str, left_out: list[str]) -> Mapping[str, object]:
    if not isinstance(given, Mapping):
        left_out.append(path)
        return {}
    # An amount is money: one that cannot be read is an error.
    bad = [name for name, value in given.items() if name != "amount" and not _can_pass_on(name, value)]
    left_out += (f"{path}.{name[:_MAX_NAME]}" for name in bad if not is_blank(given[name]))
    return {name: value for name, value in given.items() if name not in bad} if bad else given


def _can_pass_on(name: str, value: object) -> bool:
    return is_id(value) and not is_blank(value) if name == "product_id" else _is_readable(value)


def _is_readable(value: object) -> bool:
    """Whether the decoder could read all of a value."""
    if isinstance(value, str | int | float | None):
        return True
    return isinstance(value, dict | list) and all(map(_is_readable, _members(value)))


def _members(value: dict[str, object] | list[object]) -> Iterator[object]:
    return iter(value.values() if isinstance(value, dict) else value)


def _can_keep(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    if isinstance(value, int):
        return _LEAST <= value <= _GREATEST
    return value is None or (isinstance(value, float) and math.isfinite(value))
