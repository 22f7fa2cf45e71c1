"""A bounded count says whether it is all."""

import pytest

from shared.bounded_counts import BoundedCount, bounded_count
from shared.database.bounded_counts import count_of_rows


@pytest.mark.parametrize(
    ("matched", "is_whole", "expected"),
    [(0, True, (0, True)), (7, False, (7, False)), (10_000, True, (10_000, True)), (10_001, True, (10_000, False))],
)
def test_a_count_is_exact_up_to_its_limit(matched: int, is_whole: bool, expected: tuple[int, bool]) -> None:
    assert bounded_count(matched, is_whole=is_whole) == BoundedCount(*expected)


def test_a_mark_among_the_rows_says_that_more_may_match() -> None:
    rows = [{"id": 1, "is_mark": False}, {"id": 2, "is_mark": False}]
    assert count_of_rows(rows) == BoundedCount(2, is_exact=True)
    assert count_of_rows([*rows, {"id": 2, "is_mark": True}]) == BoundedCount(2, is_exact=False)
    assert count_of_rows([{"id": 1}]) == BoundedCount(1, is_exact=True)
