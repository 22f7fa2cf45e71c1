"""One strict JSON decoder for everything that comes from outside, over HTTP or AMQP.

Python's decoders let duplicate keys, NaN and lone surrogates pass; here each has its named refusal
(RFC 8259, RFC 7493).
"""

import json
import math
import re
from typing import Any, NoReturn

_DEEPEST = 32
# A \u0000 or an unpaired surrogate can hide behind an escape; only then is the slow look needed.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# A string is taken to its end or to the end of the body, and never given back: no byte is looked at twice.
_NESTING = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]')


class StrictJSONError(ValueError):
    """The bytes are not a JSON text that we accept; `reason` is a stable code and `detail` says what is wrong."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


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
        raise StrictJSONError("too_large", f"The body has {len(raw)} bytes; at most {max_bytes} are accepted.")
    if raw.count(b"[") + raw.count(b"{") > max_depth:
        _check_depth(raw, max_depth)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StrictJSONError("invalid_utf8", f"Byte {error.start} is not valid UTF-8.") from None
    if "\x00" in text:
        raise StrictJSONError("nul_character", "NUL characters are not accepted.")
    if text.startswith("\ufeff"):
        raise StrictJSONError("invalid_json", "A byte order mark before the JSON text is not accepted.")
    try:
        value = _decoded(text, unbounded)
    except StrictJSONError:
        raise
    except (ValueError, RecursionError) as error:
        raise StrictJSONError("invalid_json", f"The body is not valid JSON: {error}.") from None
    if _SUSPICIOUS.search(raw):
        _check_strings(value)
    return value


def _decoded(text: str, unbounded: tuple[str, ...]) -> Any:
    try:
        return _DECODER.decode(text)
    except StrictJSONError as error:
        if not unbounded or error.reason != "not_finite":
            raise
    value = _UNBOUNDED_DECODER.decode(text)
    _check_finite(value, unbounded)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJSONError("duplicate_key", f"The member {key[:80]!r} appears twice in one object.")
            seen.add(key)
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise StrictJSONError("not_finite", f"{name} is not a JSON number.")


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise StrictJSONError("not_finite", f"The number {text[:40]} is out of range.")
    return number


def _check_depth(raw: bytes, max_depth: int) -> None:
    depth = 0
    for match in _NESTING.finditer(raw):
        token = match.group()
        if token in b"[{":
            depth += 1
            if depth > max_depth:
                raise StrictJSONError("too_deep", f"The body nests deeper than {max_depth} levels.")
        elif token in b"]}":
            depth -= 1


def _check_strings(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise StrictJSONError("nul_character", "NUL characters are not accepted.")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise StrictJSONError("invalid_utf8", "A string holds an unpaired surrogate.") from None
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_strings(key)
            _check_strings(member)
    elif isinstance(value, list):
        for member in value:
            _check_strings(member)


def _check_finite(value: Any, unbounded: tuple[str, ...]) -> None:
    if isinstance(value, float) and math.isinf(value):
        raise StrictJSONError("not_finite", "A number is out of range.")
    if isinstance(value, dict):
        for key, member in value.items():
            # None leads nowhere any more.
            rest = unbounded[1:] if unbounded and unbounded[0] == key else None
            if rest != ():
                _check_finite(member, rest or ())
    elif isinstance(value, list):
        for member in value:
            _check_finite(member, ())


# Made once: json.loads would build a decoder for every text.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float)
_UNBOUNDED_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
