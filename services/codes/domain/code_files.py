"""Files of promotion codes, CSV and NDJSON: how a code is written, and how lines are split and read.

An export can be imported again. A line that cannot be read reports why and affects no other.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.codes.domain.code_columns import (
    ALL_COLUMNS,
    COLUMNS,
    MAX_LINE_BYTES,
    MAX_TEXT,
    Value,
    check_thousands,
    json_value,
)
from shared.cells import kept_text
from shared.csv_lines import is_guarded
from shared.export_lines import CSV_TRAILER, TRAILER, FileFormat

BOM: Final = b"\xef\xbb\xbf"

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BETWEEN_WORDS: Final = re.compile(r"[\s_-]+")


class LineRefused(Exception):
    """A line is refused; `reason` is a stable code."""

    def __init__(self, reason: str, detail: str, code: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.code = code


@dataclass(frozen=True, slots=True)
class Record:
    """A record with its end as in the file, and its number of lines."""

    raw: bytes
    lines: int


@dataclass(frozen=True, slots=True)
class Split:
    """The records at the beginning of some bytes; `is_skipping` inside a line that is too long."""

    records: Sequence[Record]
    consumed: int
    is_skipping: bool


@dataclass(frozen=True, slots=True)
class Names:
    """Names of columns: ours in any case, with blanks or dashes for `_`, or mapped names.

    With `ignores_unknown`, an unknown column is ignored instead of refused.
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    ignores_unknown: bool = False

    def known(self, name: str) -> str | None:
        """Return our name of a column; None if it is unknown."""
        folded = _folded(name)
        return self.mapped.get(folded) or _BY_FOLDED_NAME.get(folded)


OUR_NAMES: Final = Names()


def checked_names(pairs: str, *, ignores_unknown: bool) -> Names:
    """Read pairs such as `Coupon code=code,Ende=expires_at`; raises ValueError if ours is not a column."""
    mapped: dict[str, str] = {}
    for pair in pairs.split(",") if pairs else ():
        theirs, equals, ours = pair.rpartition("=")
        column = _BY_FOLDED_NAME.get(_folded(ours), "")
        if not equals or not theirs.strip() or column not in COLUMNS:
            raise ValueError(f"must be pairs yours=ours, comma-separated, with ours one of {', '.join(COLUMNS)}")
        mapped[_folded(theirs)] = column
    return Names(mapped, ignores_unknown)


def _folded(name: str) -> str:
    return _BETWEEN_WORDS.sub("", name).casefold()


_BY_FOLDED_NAME: Final = {_folded(name): name for name in ALL_COLUMNS}


def split_records(
    data: bytes, kind: FileFormat, *, is_end: bool, is_skipping: bool, most: int, delimiter: str = ","
) -> Split:
    """Split off up to `most` records; one that may continue beyond the bytes is left, except at the end of the file.

    An unclosed quote costs its own line, not the rest of the file, nor the lines before the next quote.
    """
    records: list[Record] = []
    place = 0
    if is_skipping:
        found = next_line(data, 0, is_end=is_end)
        # A return at the very end may be the first half of a line end.
        place = (len(data) - data.endswith(b"\r")) if found is None else found
        is_skipping = found is None
    while place < len(data) and len(records) < most:
        end = _record_end(data, place, kind, delimiter, is_end=is_end)
        if end is None:
            if len(data) - place <= MAX_LINE_BYTES:
                break
            # Long enough to be refused; its end is searched for in the next bytes.
            records.append(Record(data[place : place + MAX_LINE_BYTES + 1], 1))
            place, is_skipping = len(data) - data.endswith(b"\r"), True
            break
        raw = data[place:end]
        records.append(Record(raw, len(_LINE_END.findall(raw)) or 1))
        place = end
    return Split(records, place, is_skipping)


def _record_end(data: bytes, start: int, kind: FileFormat, delimiter: str, *, is_end: bool) -> int | None:
    """Return the end of the record that begins at `start`; None if it is not among the bytes."""
    first = end = next_line(data, start, is_end=is_end)
    if kind == "ndjson" or first is None:
        return first
    counted, quotes = start, 0
    while end is not None:
        # Only the added part is checked: otherwise a record of many short lines is counted again for each.
        quotes += data.count(b'"', counted, end)
        if quotes % 2 == 0:
            return end if end == first or _is_csv(data[start:end], delimiter) else first
        if end - start > MAX_LINE_BYTES or (end == len(data) and is_end):
            return first
        counted, end = end, next_line(data, end, is_end=is_end)
    # After more than a line's maximum length, an open quote will not be closed.
    return first if len(data) - start > MAX_LINE_BYTES else None


def _is_csv(raw: bytes, delimiter: str) -> bool:
    """Whether several lines are one record: a quote that opens a cell on a later line closes none on the first."""
    try:
        _cells(raw.decode("utf-8", "replace"), delimiter)
    except LineRefused:
        return False
    return True


def next_line(data: bytes, start: int, *, is_end: bool) -> int | None:
    """Return the start of the line after the one at `start`; None if these bytes do not tell.

    Accepts any line end: concatenated files have mixed ones.
    """
    found = _LINE_END.search(data, start)
    if found and (is_end or found.end() < len(data) or found[0] != b"\r"):
        return found.end()
    return len(data) if is_end else None


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and is_guarded(cell[1:]) else kept_text(cell)


def checked_header(record: bytes, delimiter: str = ",", names: Names = OUR_NAMES) -> tuple[str | None, ...]:
    """Return the columns that a CSV file begins with, None for ignored ones; raises LineRefused."""
    written = [name.strip() for name in _cells(decoded(record), delimiter)]
    columns = tuple(names.known(name) for name in written)
    unknown = [name for name, column in zip(written, columns, strict=True) if name and column is None]
    if unknown and not names.ignores_unknown:
        raise LineRefused("unknown_column", f"These columns are unknown: {_listed(unknown)}.")
    # A typing error would drop the column it stands for, such as the expiry of all codes.
    if absent := sorted(names.mapped.keys() - {_folded(name) for name in written}):
        raise LineRefused("missing_column", f"The file lacks these columns of map: {_listed(absent)}.")
    known = [column for column in columns if column is not None]
    if repeated := sorted({column for column in known if known.count(column) > 1}):
        raise LineRefused("repeated_column", f"A column must not appear twice: {_listed(repeated)}.")
    if "code" not in known:
        raise LineRefused("missing_column", "The column code is missing.")
    return columns


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:50]) for name in names[:10])


def decoded(record: bytes) -> str:
    """Return the text of a line without its end; raises LineRefused."""
    if len(record) > MAX_LINE_BYTES:
        raise LineRefused("line_too_long", f"A line has at most {MAX_LINE_BYTES} bytes.")
    if b"\x00" in record:
        raise LineRefused("nul_character", "A line must not contain NUL characters.")
    try:
        return record.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise LineRefused("invalid_utf8", "A line must be UTF-8.") from None


def read_csv_line(record: bytes, header: Sequence[str | None], delimiter: str = ",") -> dict[str, Value] | None:
    """Return the cells of a record without empty ones; raises LineRefused.

    None for a trailer, an empty line and a row of empty cells.
    """
    text = decoded(record)
    if not text.strip() or CSV_TRAILER.fullmatch(text.rstrip(",;\t|")):
        return None
    cells = _cells(text, delimiter)
    if not any(cell.strip() for cell in cells):
        return None
    if len(cells) != len(header) and (len(cells) < len(header) or any(cells[len(header) :])):
        raise LineRefused("wrong_column_count", f"The line has {len(cells)} cells, the header {len(header)}.")
    given = {name: _unguarded(cell) for name, cell in zip(header, cells, strict=False) if name and cell.strip()}
    return _values(given)


def read_ndjson_line(record: bytes, names: Names = OUR_NAMES) -> dict[str, Value] | None:
    """Return the members of an object without nulls and blank texts; raises LineRefused.

    None for a trailer or an empty line.
    """
    text = decoded(record)
    if not text.strip():
        return None
    try:
        members = json_value(text)
    except ValueError as error:
        raise LineRefused("invalid_json", f"A line {error}.") from None
    if not isinstance(members, dict):
        raise LineRefused("invalid_json", "A line must be a JSON object.")
    if members.keys() == {TRAILER}:
        return None
    known = [(names.known(name), value) for name, value in members.items()]
    given = {name: value for name, value in known if name is not None and not _says_nothing(value)}
    unknown = sorted(name for name in members if names.known(name) is None)
    if unknown and not names.ignores_unknown:
        raise LineRefused("unknown_column", f"These members are unknown: {_listed(unknown)}.", _code_in(given))
    if len({name for name, _ in known if name}) != sum(name is not None for name, _ in known):
        raise LineRefused("repeated_column", "The line has a member twice.", _code_in(given))
    return _values(given)


def _says_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _values(given: Mapping[str, Any]) -> dict[str, Value]:
    code = _code_in(given)
    if "code" not in given:
        raise LineRefused("missing_code", "The code is missing.")
    values = {}
    for name, value in given.items():
        if (read := COLUMNS.get(name)) is not None:
            try:
                values[name] = read(value)
            except ValueError as error:
                raise LineRefused("invalid_value", f"{name} {error}.", code) from None
    try:
        check_thousands(values)
    except ValueError as error:
        raise LineRefused("invalid_value", f"minimum_order_value {error}.", code) from None
    return values


def _code_in(members: Mapping[str, Any]) -> str | None:
    code = members.get("code")
    return code[:MAX_TEXT] if isinstance(code, str) else None


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        records = list(csv.reader([text], strict=True, delimiter=delimiter))
    except csv.Error as error:
        raise LineRefused("invalid_csv", f"The line cannot be read as CSV: {error}.") from None
    return records[0] if records else []
