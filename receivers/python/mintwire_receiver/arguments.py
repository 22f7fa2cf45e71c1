"""Checks the arguments from the receiver's own code: a mistake there is reported as such, not as a bad webhook."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

_RAW = (
    "the body must be the raw bytes as received, because those are signed; "
    "in Flask `request.get_data()`, in Django `request.body`, in Starlette and FastAPI `await request.body()`, "
    "in aiohttp `await request.read()`"
)


def key_text(key: object) -> str:
    """Return a key that is a non-empty text."""
    if isinstance(key, str):
        if not key.strip():
            raise ValueError("the secret is empty; is its variable set?")
        if key != key.strip():
            raise ValueError("the secret has white space around it, such as a line end from a file")
        return key
    if key is None:
        raise TypeError("the secret is missing (None); is its variable set?")
    if isinstance(key, (list, tuple, set, frozenset)):
        raise TypeError("pass several keys one by one: Receiver(*keys)")
    raise TypeError(f"a key must be a str such as whsec_…, not {type(key).__name__}")


def raw_body(body: object) -> bytes:
    """Return the bytes of a raw body."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    if isinstance(body, str):
        raise TypeError(f"the body is a str: it was decoded, which may have changed it; {_RAW}")
    if body is None:
        raise TypeError(f"there is no body (None); {_RAW}")
    if isinstance(body, (dict, list)):
        raise TypeError(
            f"the body is a {type(body).__name__}: it was parsed, and the same JSON can be written in many ways; {_RAW}"
        )
    raise TypeError(f"the body is a {type(body).__name__}; {_RAW}")


def lower_cased(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by their names in lower case."""
    if headers is None or isinstance(headers, (str, bytes)):
        what = "missing (None)" if headers is None else f"a {type(headers).__name__}"
        raise TypeError(f"the headers are {what}; pass your framework's own mapping, such as `request.headers`")
    named = dict(headers)
    if any(isinstance(part, bytes) for pair in named.items() for part in pair):
        raise TypeError(
            "the headers are bytes: decode names and values as latin-1, or pass your framework's own mapping"
        )
    return {name.lower(): value for name, value in named.items()}


def refuse_awaitable(result: object) -> None:
    """Refuse work that only starts when it is awaited."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError("the work must be awaited, which is not supported here; pass an ordinary function")
