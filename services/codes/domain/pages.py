"""A page of a list that is sorted by id, the newest first."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The items found, and the id to continue after; None at the end. A page can be short or empty before that."""

    items: Sequence[T]
    next_after: uuid.UUID | None
