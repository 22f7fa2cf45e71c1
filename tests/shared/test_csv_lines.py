"""Cells of CSV files: none is a formula to a spreadsheet, and an ordinary one is written as it is."""

import csv
import sys
import unicodedata
from io import StringIO

import pytest

from shared.csv_lines import csv_line


@pytest.mark.parametrize(
    "cell",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "|calc", "%0A", "'=1", "''", "\tx", "\rx", "\nx"),
        *(" =1", "\u3000=1", "\u200b=1", "\ufeff=1", "\u202e=1", "\uff1d1", "\uff0b1", "\uff0d1"),
        *("\uff20x", "\ufe661", "\u22121", "\u207c1"),
    ],
)
def test_no_cell_is_a_formula(cell: str) -> None:
    assert written_cell(cell) == "'" + cell


def test_no_character_that_reads_as_a_formula_s_first_or_cannot_be_seen_begins_a_cell() -> None:
    """A list of characters forgets some; this goes through all of them."""
    for number in (*range(0xD800), *range(0xE000, sys.maxunicode + 1)):
        first = chr(number)
        is_unseen = first.isspace() or unicodedata.category(first) in ("Cc", "Cf")
        if is_unseen or unicodedata.normalize("NFKC", first).lstrip()[:1] in tuple("=+-@|%"):
            assert written_cell(first + "x") == f"'{first}x", hex(number)


@pytest.mark.parametrize("cell", ["Ana", "#1", "ünï", "5 %", "(x)", "“quoted”", "日本", "A=1", "…"])
def test_an_ordinary_cell_is_written_as_it_is(cell: str) -> None:
    assert written_cell(cell) == cell


def written_cell(cell: str) -> str:
    [written] = next(csv.reader(StringIO(csv_line([cell]), newline=""), strict=True))
    return written
