"""Details of an order that decide nothing: what of them is kept, so that no paid order fails by one."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_ATTRIBUTES: Final = 50
_MAX_NAME, _MAX_TEXT = 100, 500
# Whole numbers that every reader of our events keeps exactly.
_LEAST, _GREATEST = -(2**63), 2**64 - 1

Attribute = str | int | float | bool | None


class Attributes(NamedTuple):
    """What is passed on, and the names of what is left out, as far as names can be kept."""

    kept: Mapping[str, Attribute]
    left_out: tuple[str, ...] = ()


NO_ATTRIBUTES: Final = Attributes({})


def keep_attributes(given: object) -> Attributes:
    """Keep the attributes that can be passed on, up to 50 in the order given.

    A list or object as value, a number out of range, a text above 500 characters and a name above 100 cannot. What is
    no object at all is left out as a whole, but for nothing and for the empty list, which some senders write for an
    empty object.
    """
    if given is None or given == []:
        return NO_ATTRIBUTES
    if not isinstance(given, Mapping):
        return Attributes({}, ("attributes",))
    kept: dict[str, Attribute] = {}
    left_out = []
    for name, value in given.items():
        if len(kept) < MAX_ATTRIBUTES and 1 <= len(name) <= _MAX_NAME and _can_keep(value):
            kept[name] = value
        else:
            left_out.append(name[:_MAX_NAME])
    return Attributes(kept, tuple(left_out[:MAX_ATTRIBUTES]))


def _can_keep(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    if isinstance(value, int):
        return _LEAST <= value <= _GREATEST
    return value is None or (isinstance(value, float) and math.isfinite(value))
