"""One strict JSON decoder for everything from outside, over HTTP or AMQP or in a file.

Python's decoders let duplicate keys, NaN and lone surrogates pass; here each has a named refusal
(RFC 8259, RFC 7493) that says where it is.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

_DEEPEST: Final = 32
# An escape can hide a \u0000 or an unpaired surrogate; only then is the slow check needed.
_SUSPICIOUS: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# A string is matched to its end or the end of the body, without backtracking: no byte is read twice.
_NESTING: Final = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]')
# The messages of Python's decoder in plain words; each follows a position.
_SYNTAX: Final[Mapping[str, str]] = {
    "Expecting value": "a value is missing",
    "Expecting property name enclosed in double quotes": "the name of a member, in double quotes, is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting ',' delimiter": "a comma or the end is missing",
    "Illegal trailing comma before end of object": "a comma stands before the end",
    "Illegal trailing comma before end of array": "a comma stands before the end",
    "Unterminated string starting at": "a string begins that has no end",
    "Invalid control character at": "a string has a control character that is not escaped",
    "Extra data": "something follows the end",
}
_BAD_ESCAPE: Final = "a backslash does not begin a valid escape"
# A path omits names with these characters: a dot would look like a step, and an address is personal data, which a dead
# letter would keep outside its body.
_NO_STEP: Final = re.compile(r"[@.]")
_LONGEST_STEP: Final = 80
# Python does not read integers with more digits.
_MOST_DIGITS: Final = 4_300


class StrictJSONError(ValueError):
    """The bytes are not acceptable JSON.

    `reason` is a stable code. `rule` says what is required and where that fails; it follows a subject, which `detail`
    includes. If one member is at fault, `member` is its path and `fault` its rule.
    """

    def __init__(self, reason: str, rule: str, member: str = "", fault: str = "") -> None:
        super().__init__(rule)
        self.reason = reason
        self.rule = rule
        self.detail = f"The body {rule}."
        self.member = member
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The placeholder of a detail that is JSON and cannot be stored; `rule` says what is required of it."""

    reason: str
    rule: str


_NUL: Final = Unreadable("nul_character", "must not contain NUL characters")
_HALF: Final = Unreadable("invalid_utf8", "must not contain half of a surrogate pair")
_FAR: Final = Unreadable("not_finite", "must not contain numbers out of range")


# Up to here a float is the number that was written.
_MOST_EXACT: Final = 2**53 - 1


def integral(value: Any) -> Any:
    """Return a float without a fraction as an integer, which it is in JSON Schema; anything else unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def number_as_text(value: Any) -> Any:
    """Return a whole number as the text that it is written by, and anything else as it is.

    Shops number their orders, customers, products and codes.
    """
    is_exact = isinstance(value, float) and value.is_integer() and abs(value) <= _MOST_EXACT
    if is_exact or (isinstance(value, int) and not isinstance(value, bool)):
        return str(int(value))
    return value


def loads(raw: bytes, *, max_bytes: int, max_depth: int = _DEEPEST, details: tuple[str, ...] | None = None) -> Any:
    """Decode one JSON text.

    `details` is the path to a member (empty for the whole text) in which what cannot be stored becomes `Unreadable`
    instead of an error: numbers out of range, texts with a NUL or half of a surrogate pair, and values under such
    names.

    Raises `StrictJSONError` with reason `too_large`, `invalid_utf8`, `nul_character`, `too_deep`, `duplicate_key`,
    `not_finite` or `invalid_json`.
    """
    if len(raw) > max_bytes:
        raise StrictJSONError("too_large", f"must not have more than {max_bytes} bytes; it has {len(raw)}")
    if raw.count(b"[") + raw.count(b"{") > max_depth:
        _check_depth(raw, max_depth)
    text = _text_of(raw)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _invalid_json(error) from None
    except ValueError:
        # Raised where it stands: what follows has not been read yet, and may be no JSON.
        return _readable(_kept(text), "", details)
    return _readable(_kept(text), "", details) if _SUSPICIOUS.search(raw) else value


def without_unreadable(raw: bytes, value: Any) -> bytes:
    """Return the bytes of a text that was decoded to `value`, with an empty object for each unreadable part."""
    is_suspicious = _SUSPICIOUS.search(raw) is not None or len(raw) > _MOST_DIGITS
    return json.dumps(value, default=lambda _: {}).encode() if is_suspicious else raw


def _text_of(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJSONError("invalid_utf8", f"must be UTF-8; at {_place(raw, error.start)} it is not") from None
    if "\x00" in text:
        place = _place(raw, raw.index(0))
        raise StrictJSONError("nul_character", f"must not contain NUL characters; one stands at {place}")
    if text.startswith("\ufeff"):
        raise StrictJSONError("invalid_json", "must not begin with a byte order mark")
    return text


def _kept(text: str) -> Any:
    try:
        return _KEEPING_DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _invalid_json(error) from None


def _invalid_json(error: json.JSONDecodeError) -> StrictJSONError:
    said = _SYNTAX.get(error.msg, _BAD_ESCAPE)
    return StrictJSONError("invalid_json", f"must be valid JSON; at line {error.lineno}, column {error.colno} {said}")


def _place(raw: bytes, at: int) -> str:
    line, line_start = raw.count(b"\n", 0, at) + 1, raw.rfind(b"\n", 0, at) + 1
    return f"line {line}, column {len(raw[line_start:at].decode('utf-8', 'replace')) + 1}"


def _check_depth(raw: bytes, max_depth: int) -> None:
    depth = 0
    for match in _NESTING.finditer(raw):
        token = match.group()
        if token in b"[{":
            depth += 1
            if depth > max_depth:
                place = _place(raw, match.start())
                raise StrictJSONError(
                    "too_deep", f"must not be nested deeper than {max_depth} levels; at {place} it is"
                )
        elif token in b"]}":
            depth -= 1


class _Unacceptable(ValueError):
    """Finds what we refuse, such as integers too long for Python: this decoder keeps it, to locate it."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Unacceptable
    return made


def _refuse(_: str) -> NoReturn:
    raise _Unacceptable


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Unacceptable
    return number


class _Number(NamedTuple):
    """A refused number or constant, as written."""

    text: str
    is_constant: bool


class _Members(list[tuple[str, Any]]):
    """The members of an object, duplicates included."""


def _kept_float(text: str) -> Any:
    return _Number(text, is_constant=False) if math.isinf(number := float(text)) else number


def _kept_int(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return _Number(text, is_constant=False)


def _readable(value: Any, path: str, details: tuple[str, ...] | None) -> Any:
    """Return a value as plain data; raises for the first part that is unreadable or not acceptable JSON.

    `details` is the path from here to where unreadable parts are accepted: empty for here, None for nowhere.
    """
    if isinstance(value, str):
        found = _fault_of_text(value)
        return value if found is None else _unreadable(found, f"one stands in {path or 'the top'}", path, details)
    if isinstance(value, _Number):
        if value.is_constant:
            raise StrictJSONError("not_finite", f"must not contain {value.text}; it stands at {path or 'the top'}")
        return _unreadable(_FAR, f"{value.text[:40]} stands at {path or 'the top'}", path, details)
    if isinstance(value, _Members):
        return _readable_members(value, path, details)
    if isinstance(value, list):
        # A path does not lead into a list.
        inside = () if details == () else None
        return [_readable(member, f"{path}.{nth}" if path else str(nth), inside) for nth, member in enumerate(value)]
    return value


def _readable_members(members: _Members, path: str, details: tuple[str, ...] | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    seen: set[str] = set()
    for name, member in members:
        shown = name.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
        step = name[:_LONGEST_STEP] if name.isprintable() and not _NO_STEP.search(name) else "*"
        inner = f"{path}.{step}" if path else step
        found = _fault_of_text(name)
        if found is not None:
            made.setdefault(shown, _unreadable(found, f"one stands in a name in {path or 'the top'}", inner, details))
            continue
        if name in seen:
            raise StrictJSONError("duplicate_key", f"must not name a member twice; {inner} is named twice")
        seen.add(name)
        rest = details[1:] if details and details[0] == name else None
        made[name] = _readable(member, inner, () if details == () else rest)
    return made


def _unreadable(found: Unreadable, where: str, path: str, details: tuple[str, ...] | None) -> Unreadable:
    """Return the placeholder for an unreadable part of a detail; raises otherwise."""
    if details == ():
        return found
    raise StrictJSONError(found.reason, f"{found.rule}; {where}", path, found.rule)


def _fault_of_text(text: str) -> Unreadable | None:
    if "\x00" in text:
        return _NUL
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _HALF
    return None


# Created once: json.loads would build a decoder for every text.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite_float)
_KEEPING_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_constant=lambda text: _Number(text, is_constant=True),
    parse_float=_kept_float,
    parse_int=_kept_int,
)
