"""How the frameworks of receivers rewrite a body, and how two bodies differ. It knows nothing of signatures."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, Final, Literal

Change = Literal["body_empty", "body_sorted", "body_changed"]
Difference = Literal["body_empty", "body_sorted", "body_changed", "wrong_message"]
# What is left if the body was already read: nothing, or how a parser represents nothing.
EMPTY: Final = (b"", b"{}", b"null", b"undefined")
_SEPARATORS: Final = ((",", ":"), (", ", ": "))
_INDENTS: Final = (2, 4)
# Indenting costs more with each level; our bodies have few.
_MOST_BRACKETS: Final = 50


def spellings(body: bytes) -> Iterator[tuple[Change, bytes]]:
    """Yield the bodies that may have been signed instead, each with the problem that it points to."""
    for empty in EMPTY:
        yield "body_empty", empty
    for text in (body.strip(), body + b"\n", body.replace(b"\r\n", b"\n"), body.replace(b"\n", b"\r\n")):
        yield "body_changed", text
    try:
        value = json.loads(body)
        yield from _written(value, has_indents=body.count(b"{") + body.count(b"[") <= _MOST_BRACKETS)
        yield "body_changed", str(value).encode()
        yield "body_changed", b"[object Object]"
        yield "body_changed", body.decode().encode("latin-1")
    except (ValueError, RecursionError):
        # Not JSON, half of a character, or nested deeper than Python supports.
        return


def difference(body: bytes, stored: bytes) -> Difference | None:
    """Return how a body differs from the one that was sent; None if it is the same."""
    if body == stored:
        return None
    if body.strip() in EMPTY:
        return "body_empty"
    if body.split() == stored.split():
        return "body_changed"
    try:
        given, ours = json.loads(body), json.loads(stored)
        if given != ours:
            return "wrong_message"
        return "body_sorted" if _is_sorted(given) and not _is_sorted(ours) else "body_changed"
    except (ValueError, RecursionError):
        return "wrong_message"


def _written(value: Any, *, has_indents: bool) -> Iterator[tuple[Change, bytes]]:
    for is_sorted, is_ascii in product((False, True), (False, True)):
        change: Change = "body_sorted" if is_sorted else "body_changed"
        for separators in _SEPARATORS:
            made = json.dumps(value, separators=separators, ensure_ascii=is_ascii, sort_keys=is_sorted)
            yield change, made.encode()
        for indent in _INDENTS if has_indents else ():
            made = json.dumps(value, indent=indent, ensure_ascii=is_ascii, sort_keys=is_sorted)
            yield change, made.encode()


def _is_sorted(value: Any) -> bool:
    return json.dumps(value) == json.dumps(value, sort_keys=True)
