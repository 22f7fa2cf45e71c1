"""Names of event types, and how endpoints choose them: by name, by group (`code.*`), or all at once."""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

from services.webhooks.domain.errors import InvalidField

EVERYTHING: Final = "*"
TEST: Final = "test"
OPERATIONAL_PREFIX: Final = "webhook."
# Events that programs publish themselves. Their names can never collide with ours, now or later, and a misspelt name of
# ours is never taken for one of theirs.
CUSTOM_PREFIX: Final = "custom."
CUSTOM_PATTERN: Final = r"^custom(\.[a-z0-9_-]{1,40}){1,5}$"
_GROUP: Final = ".*"
_CUSTOM: Final = re.compile(CUSTOM_PATTERN)


def is_operational(event_type: str) -> bool:
    """Return whether an event reports on the webhook service itself."""
    return event_type.startswith(OPERATIONAL_PREFIX)


def is_custom(event_type: str) -> bool:
    """Return whether events of this type are published by programs."""
    return event_type.startswith(CUSTOM_PREFIX)


@lru_cache(maxsize=4096)
def choices_with(event_type: str) -> frozenset[str]:
    """Return every choice that includes this type: its name, its groups, and `*` unless it is operational."""
    words = event_type.split(".")
    groups = (".".join(words[:count]) + _GROUP for count in range(1, len(words)))
    return frozenset((event_type, *groups, *(() if is_operational(event_type) else (EVERYTHING,))))


def subscribes(chosen: Collection[str], event_type: str) -> bool:
    """Return whether a choice of types includes this one."""
    return not choices_with(event_type).isdisjoint(chosen)


def check_event_types(chosen: Sequence[str], allowed: Collection[str]) -> tuple[str, ...]:
    """Return the choice in order without duplicates; raises `InvalidField` for a name that matches no possible type."""
    for name in chosen:
        if not _is_choice(name, allowed):
            listed = ", ".join(sorted(allowed))
            text = f"must be *, a group such as code.*, a type of your own such as custom.sent, or any of: {listed}"
            raise InvalidField("event_types", text)
    return tuple(dict.fromkeys(chosen))


def _is_choice(name: str, allowed: Collection[str]) -> bool:
    if name == EVERYTHING or name in allowed:
        return True
    if not name.endswith(_GROUP):
        return _CUSTOM.fullmatch(name) is not None
    group = name.removesuffix("*")
    if any(each.startswith(group) for each in allowed):
        return True
    return group == CUSTOM_PREFIX or _CUSTOM.fullmatch(name.removesuffix(_GROUP)) is not None
