"""One strict JSON decoder for everything that comes from outside, over HTTP or AMQP or in a file.

Python's decoders let duplicate keys, NaN and lone surrogates pass; here each has its named refusal
(RFC 8259, RFC 7493), which says where it is.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, NoReturn

_DEEPEST: Final = 32
# A \u0000 or an unpaired surrogate can hide behind an escape; only then is the slow look needed.
_SUSPICIOUS: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# A string is taken to its end or to the end of the body, and never given back: no byte is looked at twice.
_NESTING: Final = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]')
# What Python's decoder says, for people who do not know it; each stands behind a place.
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
_BAD_ESCAPE: Final = "a backslash is followed by what is no escape"
_LONGEST_NAME: Final = 80


class StrictJSONError(ValueError):
    """The bytes are not a JSON text that we accept.

    `reason` is a stable code, `rule` says what must be and where it is not, to follow a subject; `detail` has one.
    """

    def __init__(self, reason: str, rule: str) -> None:
        super().__init__(rule)
        self.reason = reason
        self.rule = rule
        self.detail = f"The body {rule}."


def integral(value: Any) -> Any:
    """Return a float without a fraction as the integer that it is for JSON Schema; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def loads(raw: bytes, *, max_bytes: int, max_depth: int = _DEEPEST, unbounded: tuple[str, ...] = ()) -> Any:
    """Decode one JSON text.

    `unbounded` leads to a member in which a number may be out of range, such as 1e400; it is read as infinity there.

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
        said = _SYNTAX.get(error.msg, _BAD_ESCAPE)
        rule = f"must be valid JSON; at line {error.lineno}, column {error.colno} {said}"
        raise StrictJSONError("invalid_json", rule) from None
    except ValueError:
        return _acceptable(text, unbounded)
    if _SUSPICIOUS.search(raw):
        _acceptable(text, unbounded)
    return value


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
    """What ours must not have, as are integers too long for Python: a decoder that keeps it looks where it is."""


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
    """A number or constant that is refused, as written."""

    text: str
    is_constant: bool


class _Members(list[tuple[str, Any]]):
    """The members of an object, those named twice too."""


def _kept_float(text: str) -> Any:
    return _Number(text, is_constant=False) if math.isinf(number := float(text)) else number


def _kept_int(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return _Number(text, is_constant=False)


def _acceptable(text: str, unbounded: tuple[str, ...]) -> Any:
    """Return the value, with numbers out of range as infinity where they may be; raises for what comes first else."""
    members = _KEEPING_DECODER.decode(text)
    for reason, rule in _faults(members, "", unbounded or None):
        raise StrictJSONError(reason, rule)
    return _plain(members)


def _faults(value: Any, path: str, unbounded: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, in order; `unbounded` leads on from here: empty where numbers are free, None to nowhere."""
    where = path or "the top"
    if isinstance(value, str):
        yield from _faults_of_text(value, where)
    elif isinstance(value, _Number):
        if value.is_constant:
            yield "not_finite", f"must not contain {value.text}; it stands at {where}"
        elif unbounded != ():
            yield "not_finite", f"must not contain numbers out of range; {value.text[:40]} stands at {where}"
    elif isinstance(value, _Members):
        seen: set[str] = set()
        for name, member in value:
            yield from _faults_of_text(name, f"a name in {where}")
            inner = f"{path}.{name[:_LONGEST_NAME]}" if path else name[:_LONGEST_NAME]
            if name in seen:
                yield "duplicate_key", f"must not name a member twice; {inner} is named twice"
            seen.add(name)
            rest = unbounded[1:] if unbounded and unbounded[0] == name else None
            yield from _faults(member, inner, () if unbounded == () else rest)
    elif isinstance(value, list):
        for nth, member in enumerate(value):
            yield from _faults(member, f"{path}.{nth}" if path else str(nth), () if unbounded == () else None)


def _faults_of_text(text: str, where: str) -> Iterator[tuple[str, str]]:
    if "\x00" in text:
        yield "nul_character", f"must not contain NUL characters; one stands in {where}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        yield "invalid_utf8", f"must not contain half of a surrogate pair; one stands in {where}"


def _plain(value: Any) -> Any:
    if isinstance(value, _Members):
        return {name: _plain(member) for name, member in value}
    if isinstance(value, _Number):
        return float(value.text)
    return [_plain(member) for member in value] if isinstance(value, list) else value


# Made once: json.loads would build a decoder for every text.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite_float)
_KEEPING_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_constant=lambda text: _Number(text, is_constant=True),
    parse_float=_kept_float,
    parse_int=_kept_int,
)
