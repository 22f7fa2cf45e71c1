"""Files of promotion codes, CSV and NDJSON: their columns, how a code is written, how a line is read.

What is written can be read again. A line that cannot be read says why and harms no other.
"""

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from services.codes.domain.money import MAX_MINOR
from shared.canonical import checked_code
from shared.times import parse_time

FileFormat = Literal["csv", "ndjson"]

# A line is a record: in CSV one with line ends inside quotes is one line.
MAX_LINE_BYTES: Final = 16 * 1024
# The member of the last NDJSON line of an export, and the last line of a CSV export.
TRAILER: Final = "export"
CSV_TRAILER: Final = re.compile(r"# count=[0-9]+ sha256=[0-9a-f]{64}", re.ASCII)
BOM: Final = b"\xef\xbb\xbf"

_MAX_TEXT: Final = 255
_MAX_INT: Final = 2**31 - 1
_MAX_MEMBERS, _MAX_MEMBER_NAME, _MAX_MEMBER_TEXT = 50, 100, 500
_INTEGER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_TIME_FORM: Final = (
    "must be a date and time with an offset, such as 2026-03-18T23:29:28Z, or a date, such as 2026-03-18"
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_QUOTED: Final = re.compile(r'[",\r\n]')
_YEARS: Final = range(1970, 9999)
# A spreadsheet may run a cell that begins so as a formula, whatever the width of the character and whatever stands
# before it unseen; an apostrophe before it says that it is text.
_FORMULA: Final = frozenset("=+-@|%\N{MINUS SIGN}")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})

Value = str | bool | int | datetime | date | Decimal | Mapping[str, Any] | None


class LineRefused(Exception):
    """A line cannot be taken in; `reason` is a stable code."""

    def __init__(self, reason: str, detail: str, code: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.code = code


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read: how its text (CSV) and its value (NDJSON) become a value of ours."""

    name: str
    from_text: Callable[[str], Value]
    from_value: Callable[[Any], Value]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT:
        raise ValueError(f"must be a text of 1 to {_MAX_TEXT} characters")
    return value


def _code(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the text goes to whoever wrote the file
    return checked_code(value)


def _flag_text(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the text goes to whoever wrote the file
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_INT:
        raise ValueError(f"must be a whole number from 1 to {_MAX_INT}")
    return value


def _count_text(text: str) -> int:
    return _count(int(text) if _INTEGER.fullmatch(text) else None)


def _moment(value: Any) -> datetime | date:
    found = _moment_in(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(_TIME_FORM)
    if found.year not in _YEARS:
        raise ValueError("must lie between the years 1970 and 9998")
    return found


def _moment_in(text: str) -> datetime | date | None:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        return parse_time(text)
    except ValueError:
        return None


def _amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004 - the text goes to whoever wrote the file
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _amount_text(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not amount.is_finite():
        raise ValueError("must be a number")
    return amount


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the text goes to whoever wrote the file
    if len(value) > _MAX_MEMBERS or not all(1 <= len(name) <= _MAX_MEMBER_NAME for name in value):
        raise ValueError(f"must have at most {_MAX_MEMBERS} members with names of 1 to {_MAX_MEMBER_NAME} characters")
    if not all(_is_scalar(member) for member in value.values()):
        raise ValueError("must have members that are short strings, numbers, true, false or null")
    return {name: member for name, member in value.items() if member is not None}


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_MEMBER_TEXT
    if isinstance(value, int):
        return abs(value) <= MAX_MINOR
    return value is None or isinstance(value, float)


def _object_text(text: str) -> dict[str, Any]:
    return _object(_loads(text))


COLUMNS: Final[Mapping[str, Column]] = {
    column.name: column
    for column in (
        Column("code", _code, _code),
        Column("external_id", _text, _text),
        Column("active", _flag_text, _flag),
        Column("starts_at", _moment, _moment),
        Column("expires_at", _moment, _moment),
        Column("redemption_limit", _count_text, _count),
        Column("first_time_order", _flag_text, _flag),
        Column("minimum_order_value", _amount_text, _amount),
        Column("minimum_order_currency", _text, _text),
        Column("customer_id", _text, _text),
        Column("customer_name", _text, _text),
        Column("partner_id", _text, _text),
        Column("partner_only", _flag_text, _flag),
        Column("commission_percent", _amount_text, _amount),
        Column("metadata", _object_text, _object),
    )
}
# What an export has besides: for people and other programs, passed over when it is read.
SHOWN_COLUMNS: Final = ("id", "coupon", "url", "times_redeemed", "batch_id", "created_at", "updated_at")
ALL_COLUMNS: Final = (*COLUMNS, *SHOWN_COLUMNS)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands in the file, its end included, and how many lines it takes up."""

    raw: bytes
    lines: int


@dataclass(frozen=True, slots=True)
class Split:
    """The records at the beginning of some bytes; `is_skipping` while the rest of a line that is too long is left."""

    records: Sequence[Record]
    consumed: int
    is_skipping: bool


def split_records(data: bytes, kind: FileFormat, *, is_end: bool, is_skipping: bool, most: int) -> Split:
    """Cut records off, up to `most`; what may go on beyond the bytes is left unless they are the end of the file.

    A quote that is never closed costs the line that it stands in, not the rest of the file.
    """
    records: list[Record] = []
    place = 0
    if is_skipping:
        found = data.find(b"\n")
        place = len(data) if found < 0 else found + 1
        is_skipping = found < 0 and not is_end
    while place < len(data) and len(records) < most:
        end = _record_end(data, place, kind, is_end=is_end)
        if end is None:
            if len(data) - place <= MAX_LINE_BYTES:
                break
            # Enough to be refused by its length; its end is looked for in what comes.
            records.append(Record(data[place : place + MAX_LINE_BYTES + 1], 1))
            place, is_skipping = len(data), True
            break
        raw = data[place:end]
        records.append(Record(raw, raw.count(b"\n") or 1))
        place = end
    return Split(records, place, is_skipping)


def _record_end(data: bytes, start: int, kind: FileFormat, *, is_end: bool) -> int | None:
    """Return where the record that begins at `start` ends; None if its end is not among the bytes."""
    first = end = _line_end(data, start, is_end=is_end)
    if kind == "ndjson" or first is None:
        return first
    counted, quotes = start, 0
    while end is not None:
        # Only what has been added is looked at: a record of many short lines is else counted anew for each.
        quotes += data.count(b'"', counted, end)
        if quotes % 2 == 0:
            return end
        if end - start > MAX_LINE_BYTES or (end == len(data) and is_end):
            return first
        counted, end = end, _line_end(data, end, is_end=is_end)
    # With more than a line's length in hand and the quote still open, it is not going to be closed.
    return first if len(data) - start > MAX_LINE_BYTES else None


def _line_end(data: bytes, start: int, *, is_end: bool) -> int | None:
    found = data.find(b"\n", start)
    if found >= 0:
        return found + 1
    return len(data) if is_end else None


def csv_line(cells: Sequence[object]) -> str:
    """Write one record; no cell is a formula to a spreadsheet."""
    return ",".join([_cell(cell) for cell in cells]) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    text = "'" + value if _is_guarded(value) else value
    # The writer of the standard library leaves a lone carriage return unquoted, and its reader then refuses it.
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _is_guarded(text: str) -> bool:
    first = text[:1]
    # Nearly all cells, at the cost of one look.
    if not first or first.isalnum():
        return False
    # An apostrophe is guarded too, so that each cell comes back as it was.
    return first == "'" or unicodedata.normalize("NFKC", first)[0] in _FORMULA or unicodedata.category(first) in _UNSEEN


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _is_guarded(cell[1:]) else cell


def csv_trailer(count: int, sha256: str) -> str:
    """Write the last line of a CSV export, which is no record."""
    return f"# count={count} sha256={sha256}\n"


def ndjson_line(members: Mapping[str, object]) -> str:
    """Write one object."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")) + "\n"


def ndjson_trailer(count: int, sha256: str) -> str:
    """Write the last line of an NDJSON export."""
    return ndjson_line({TRAILER: {"count": count, "sha256": sha256}})


def checked_header(record: bytes) -> tuple[str, ...]:
    """Return the columns that a CSV file begins with; raises LineRefused."""
    names = tuple(name.strip() for name in _cells(decoded(record)))
    if unknown := [name for name in names if name not in ALL_COLUMNS]:
        listed = ", ".join(repr(name[:50]) for name in unknown[:10])
        raise LineRefused("unknown_column", f"These columns are not known: {listed}.")
    if len(set(names)) != len(names):
        raise LineRefused("repeated_column", "A column must not be named twice.")
    if "code" not in names:
        raise LineRefused("missing_column", "The column code is missing.")
    return names


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


def read_csv_line(record: bytes, header: Sequence[str]) -> dict[str, Value] | None:
    """Return what a record says, empty cells left out; None for a trailer or an empty line; raises LineRefused."""
    text = decoded(record)
    if not text.strip() or CSV_TRAILER.fullmatch(text):
        return None
    cells = _cells(text)
    if len(cells) != len(header):
        raise LineRefused("wrong_column_count", f"The line has {len(cells)} cells, the header {len(header)}.")
    given = {name: _unguarded(cell) for name, cell in zip(header, cells, strict=True) if cell != ""}
    return _values(given, lambda column, cell: column.from_text(cell))


def read_ndjson_line(record: bytes) -> dict[str, Value] | None:
    """Return what an object says, nulls left out; None for a trailer or an empty line; raises LineRefused."""
    text = decoded(record)
    if not text.strip():
        return None
    try:
        members = _loads(text)
    except ValueError as error:
        raise LineRefused("invalid_json", str(error)) from None
    if not isinstance(members, dict):
        raise LineRefused("invalid_json", "A line must be a JSON object.")
    if members.keys() == {TRAILER}:
        return None
    if unknown := sorted(members.keys() - set(ALL_COLUMNS)):
        listed = ", ".join(repr(name[:50]) for name in unknown[:10])
        raise LineRefused("unknown_column", f"These members are not known: {listed}.", _code_in(members))
    given = {name: value for name, value in members.items() if value is not None}
    return _values(given, lambda column, value: column.from_value(value))


def _values(given: Mapping[str, Any], read: Callable[[Column, Any], Value]) -> dict[str, Value]:
    code = _code_in(given)
    if "code" not in given:
        raise LineRefused("missing_code", "The code is missing.")
    values = {}
    for name, value in given.items():
        if (column := COLUMNS.get(name)) is not None:
            try:
                values[name] = read(column, value)
            except ValueError as error:
                raise LineRefused("invalid_value", f"{name} {error}.", code) from None
    return values


def _code_in(members: Mapping[str, Any]) -> str | None:
    code = members.get("code")
    return code[:_MAX_TEXT] if isinstance(code, str) else None


def _cells(text: str) -> list[str]:
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise LineRefused("invalid_csv", f"The line cannot be read as CSV: {error}.") from None
    return records[0] if records else []


def _loads(text: str) -> Any:
    if "\\u0000" in text:
        raise ValueError("must not contain NUL characters")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("must not be nested so deep") from None
    except json.JSONDecodeError:
        raise ValueError("must be JSON") from None
    if _SURROGATE.search(text):
        _refuse_surrogates(value)
    return value


def _refuse_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a character") from None


def _finite(text: str) -> float:
    number = float(text)
    if abs(number) == float("inf"):
        raise ValueError("must not contain a number that large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("must not name a member twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"must not contain {name}")
