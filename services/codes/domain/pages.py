"""A page of a list that is sorted by id, the newest first, perhaps with those that wait before all others."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
# Whether it waits, and its id: what waits comes first.
Place: TypeAlias = tuple[bool, uuid.UUID]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The items found, and the id to continue after; None at the end. A page can be short or empty before that."""

    items: Sequence[T]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Ranked(Generic[T]):
    """The items found, and the place to continue after; None at the end. It may be short as a `Page` may."""

    items: Sequence[T]
    next_after: Place | None
