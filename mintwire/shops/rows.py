"""The rows of a shop's file: cells by the name of their column, ignoring case and separators between words."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import chain

from shared.cells import could_be_thousands, flag, kept_text, plain_number, plain_percentage

_NOT_IN_NAMES = re.compile(r"\(utc\)|[^a-z0-9]")
_BETWEEN_ITEMS = re.compile(r"[,|]")
_LIMIT = Decimal(10) ** 12
# How WordPress keeps a list: a:2:{i:0;i:12;i:1;s:2:"34";}
_SERIALIZED = re.compile(r'a:[0-9]+:\{((?:i:[0-9]+;(?:i:[0-9]+|s:[0-9]+:"[^"]*");)*)\}', re.ASCII)
_SERIALIZED_ITEM = re.compile(r'i:[0-9]+;(?:i:([0-9]+)|s:[0-9]+:"([^"]*)");', re.ASCII)
_PLAIN_ITEM = re.compile(r"[\w .#-]+")
# The line that tells Excel the separator of cells.
_SEPARATOR = re.compile(r'"?[Ss][Ee][Pp]=([,;\t|])"?[,;\t|\s]*', re.ASCII)
_EMPTY = ' \t\r\n,;|"'


class NotCarried(Exception):
    """A row cannot become a code here; the message says why."""


class NotAnExport(Exception):
    """A file is not an export of the shop; the message says what is missing."""


@dataclass(frozen=True)
class Row:
    """One row: its line in the file, its cells by the folded names of their columns, and the names as written."""

    line: int
    cells: Mapping[str, str]
    names: Mapping[str, str]

    def check(self) -> None:
        """Raise NotCarried for a row that could not be parsed."""
        if problem := self.cells.get(""):
            raise NotCarried(problem)

    def text(self, *columns: str) -> str:
        """Return the first non-empty cell of these columns."""
        return next((cell for column in columns if (cell := self.cells.get(column, "").strip())), "")

    def flag(self, *columns: str) -> bool:
        """Return whether a cell means yes; empty means no."""
        text = self.text(*columns)
        said = flag(text) if text else False
        if said is None:
            raise NotCarried(f"{self._named(columns)} must be yes or no, not {text[:30]!r}")
        return said

    def number(self, *columns: str) -> Decimal | None:
        """Return a number; None for an empty cell."""
        text = self.text(*columns)
        return self._number(columns, plain_number(text), text)

    def percentage(self, *columns: str) -> Decimal | None:
        """Return a number that may be written with its sign; None for an empty cell."""
        text = self.text(*columns)
        return self._number(columns, plain_percentage(text), text)

    def _number(self, columns: tuple[str, ...], plain: str, written: str) -> Decimal | None:
        try:
            number = Decimal(plain) if plain else None
        except InvalidOperation:
            number = Decimal("NaN")
        if number is not None and not (number.is_finite() and abs(number) < _LIMIT):
            raise NotCarried(f"{self._named(columns)} must be a number, not {written[:30]!r}")
        return number

    def count(self, *columns: str) -> int | None:
        """Return a whole number; None for an empty cell or 0, which shops write for no limit."""
        number = self.number(*columns)
        if could_be_thousands(self.text(*columns)):
            raise NotCarried(f"{self._named(columns)}, {self.text(*columns)[:30]}, could be thousands")
        if number is not None and (number < 0 or number != number.to_integral_value()):
            raise NotCarried(f"{self._named(columns)} must be a whole number")
        return int(number) if number else None

    def list(self, *columns: str) -> list[str]:
        """Return the items separated by commas or bars, or as JSON or PHP write a list."""
        text = self.text(*columns)
        items = _list_in(text)
        # What cannot be read would be the names of products that there are not.
        if not all(_PLAIN_ITEM.fullmatch(item) for item in items):
            raise NotCarried(f"{self._named(columns)} must be a list of ids, not {text[:30]!r}")
        return items

    def _named(self, columns: tuple[str, ...]) -> str:
        return next((self.names[column] for column in columns if column in self.names), columns[0])


def _list_in(text: str) -> list[str]:
    if found := _SERIALIZED.fullmatch(text):
        items = [number or name for number, name in _SERIALIZED_ITEM.findall(found[1])]
    else:
        unwrapped = text[1:-1].replace('"', "") if text.startswith("[") and text.endswith("]") else text
        items = _BETWEEN_ITEMS.split(unwrapped)
    return [each.strip() for each in items if each.strip()]


def folded(name: str) -> str:
    """Return the name of a column without case, blanks, marks and the `meta:` of WordPress."""
    return _NOT_IN_NAMES.sub("", name.strip().lower().removeprefix("meta:"))


def read_rows(lines: Iterable[str], required: Iterable[str] = ()) -> Iterator[Row]:
    """Read the rows of a file from its lines, including line ends; empty rows and Excel's `sep=` are skipped.

    Raises NotAnExport without a header or a required column. A row that is not valid text or has too many or too few
    cells has only the cell `""`, which says why: a truncated row has lost its limits.
    """
    lines = iter(lines)
    passed_over, first, delimiter = _header_of(lines)
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    written = [name.strip() for name in next(reader, [])]
    if not any(written):
        raise NotAnExport("the file has no header")
    names = {folded(name): name for name in reversed(written) if folded(name)}
    if missing := [column for column in required if column not in names]:
        raise NotAnExport(f"there is no column {', '.join(missing)}; the file has {', '.join(filter(None, written))}")
    line = passed_over + reader.line_num + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield _row(line, cells, written, names)
        line = passed_over + reader.line_num + 1


def _header_of(lines: Iterator[str]) -> tuple[int, str, str]:
    """Return the number of lines before the header, its first line, and the separator of cells."""
    delimiter = ""
    for passed_over, line in enumerate(lines):
        first = line.removeprefix("\ufeff")
        if not delimiter and (said := _SEPARATOR.fullmatch(first)):
            delimiter = said[1]
        elif first.strip(_EMPTY):
            return passed_over, first, delimiter or max(",;\t", key=first.count)
    return 0, "", ","


def _row(line: int, cells: list[str], written: list[str], names: Mapping[str, str]) -> Row:
    if any("\ud800" <= character <= "\udfff" for cell in cells for character in cell):
        return Row(line, {"": "the row is neither UTF-8 nor UTF-16"}, names)
    named = max(place for place, name in enumerate(written, 1) if name)
    if len(cells) < named or any(cell.strip() for cell in cells[len(written) :]):
        return Row(line, {"": f"the row has {len(cells)} cells, the header {len(written)}"}, names)
    found = zip(written, cells, strict=False)
    return Row(line, {folded(name): kept_text(cell) for name, cell in reversed(list(found)) if folded(name)}, names)
