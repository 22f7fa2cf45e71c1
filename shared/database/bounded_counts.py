"""Counts by the statements of lists, when as many rows are asked for as are counted, and one more."""

from collections.abc import Iterable, Mapping
from typing import Any

from shared.bounded_counts import BoundedCount, bounded_count


def count_of_rows(rows: Iterable[Mapping[str, Any]]) -> BoundedCount:
    """Return the count of a list's rows, of which a mark says that there may be more."""
    marks = [bool(row.get("is_mark")) for row in rows]
    return bounded_count(marks.count(False), is_whole=not any(marks))
