"""Counts of what a filter matches that stop at a limit, so that none looks at an unbounded number of rows. Pure."""

from dataclasses import dataclass
from typing import Final

MOST_COUNTED: Final = 10_000
# How many rows a count reads at most where a filter has no index of its own.
MOST_SCANNED: Final = 30_000


@dataclass(frozen=True, slots=True)
class BoundedCount:
    """The number of matches found; more may match unless it is exact."""

    count: int
    is_exact: bool


def bounded_count(matched: int, *, is_whole: bool) -> BoundedCount:
    """Return the count of matches among the rows that were read; `is_whole` says whether these are all."""
    return BoundedCount(min(matched, MOST_COUNTED), is_whole and matched <= MOST_COUNTED)
