"""Filters by event type, as patterns of SQL's LIKE."""

from collections.abc import Iterable
from typing import Final

_LITERAL: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


def like_pattern(chosen: str | None) -> str | None:
    """Return the pattern for a type, or for a group such as `code.*`; None is no filter."""
    if chosen is None:
        return None
    pattern = chosen.translate(_LITERAL)
    return pattern.removesuffix("*") + "%" if chosen.endswith(".*") else pattern


def like_any(chosen: Iterable[str] | None) -> list[str] | None:
    """Return the patterns for several of them."""
    return None if chosen is None else [pattern for each in chosen if (pattern := like_pattern(each)) is not None]
