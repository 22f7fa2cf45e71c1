"""AMQP field tables, written by any client in any language: read in one pass, repeated unchanged.

Nothing here raises: unreadable bytes end the reading, and what came before counts. If a name appears twice, the first
one counts, because that is the one that RabbitMQ replaces when it sets a header of its own.
"""

import struct
from collections.abc import Callable, ItemsView, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

# A sender's tables may nest as deep as a frame allows; deeper ones are returned as bytes.
_DEEPEST: Final = 16
_LENGTH: Final = struct.Struct(">I")
_DECIMAL: Final = struct.Struct(">Bi")
_NUMBERS: Final = {
    kind: struct.Struct(layout)
    for kind, layout in {
        ord("t"): ">?",
        ord("b"): ">b",
        ord("B"): ">B",
        ord("s"): ">h",
        ord("U"): ">h",
        ord("u"): ">H",
        ord("I"): ">i",
        ord("i"): ">I",
        ord("l"): ">q",
        ord("L"): ">q",
        ord("f"): ">f",
        ord("d"): ">d",
    }.items()
}
_SIZES: Final = {kind: layout.size for kind, layout in _NUMBERS.items()} | {
    ord("D"): _DECIMAL.size,
    ord("T"): 8,
    ord("V"): 0,
}
_WITH_LENGTH: Final = frozenset(b"SxFA")
_TEXT, _BYTES, _TABLE, _ARRAY, _VOID, _TIME, _DECIMALS = b"SxFAVTD"


class Headers(Mapping[str, Any]):
    """A message's headers; each access reads the table, so a held message costs no more than its bytes."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes = b"") -> None:
        self.raw = raw
        """The entries of the table, without its length."""

    def __getitem__(self, name: str) -> Any:
        wanted = name.encode(errors="replace")
        # Searching the bytes is much faster, and spares nearly every table from being parsed.
        if wanted in self.raw:
            for key, start, end in _entries(self.raw):
                if key == wanted:
                    return _value(self.raw, start, end, _DEEPEST)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode(errors="replace") for key, _, _ in _entries(self.raw)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def items(self) -> ItemsView[str, Any]:
        """Return names with values; looking up each name would read the table once per name."""
        return self.all().items()

    def all(self) -> dict[str, Any]:
        """Return every header with its value, read in one pass."""
        return _table(self.raw, _DEEPEST)


NO_HEADERS: Final = Headers()


def without(raw: bytes, is_unwanted: Callable[[bytes], bool]) -> bytes:
    """Return the entries of a table unchanged, without those that have an unwanted name."""
    return b"".join(
        bytes((len(key),)) + key + raw[start:end] for key, start, end in _entries(raw) if not is_unwanted(key)
    )


def _entries(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each name with the start and the end of its value, the type's letter included."""
    position = 0
    while position < len(raw):
        start = position + 1 + raw[position]
        end = _end(raw, start)
        if end is None:
            return
        yield raw[position + 1 : start], start, end
        position = end


def _end(raw: bytes, start: int) -> int | None:
    """Return the end of the value that starts with its type's letter; None if it is truncated."""
    if start >= len(raw):
        return None
    kind = raw[start]
    if kind in _WITH_LENGTH:
        if start + 5 > len(raw):
            return None
        end = start + 5 + _LENGTH.unpack_from(raw, start + 1)[0]
    elif kind in _SIZES:
        end = start + 1 + _SIZES[kind]
    else:
        return None
    return end if end <= len(raw) else None


def _value(raw: bytes, start: int, end: int, depth: int) -> Any:
    kind, content = raw[start], start + 1
    if kind in _NUMBERS:
        return _NUMBERS[kind].unpack_from(raw, content)[0]
    if kind == _TEXT:
        return _text(raw[content + 4 : end])
    if kind == _VOID:
        return None
    if kind == _TIME:
        return _time(int.from_bytes(raw[content:end]))
    if kind == _DECIMALS:
        places, number = _DECIMAL.unpack_from(raw, content)
        return Decimal(number).scaleb(-places)
    inside = raw[content + 4 : end]
    if kind == _BYTES or depth == 0:
        return inside
    return _table(inside, depth - 1) if kind == _TABLE else _array(inside, depth - 1)


def _table(raw: bytes, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, start, end in _entries(raw):
        found.setdefault(key.decode(errors="replace"), _value(raw, start, end, depth))
    return found


def _array(raw: bytes, depth: int) -> list[Any]:
    found = []
    position = 0
    while position < len(raw) and (end := _end(raw, position)) is not None:
        found.append(_value(raw, position, end, depth))
        position = end
    return found


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _time(seconds: int) -> datetime | int:
    """Return seconds since 1970 as a time, or unchanged if they are beyond our calendar (mostly milliseconds)."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds
