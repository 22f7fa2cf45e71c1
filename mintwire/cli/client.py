"""The command's HTTP client: one call, and its response or the service's own error message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack
from urllib.parse import quote, urlencode

import aiohttp

from mintwire.terminal import printable

_SECONDS = 30.0
_CONNECT_SECONDS = 5.0


class CallFailed(Exception):
    """The service refused the request or could not be reached; the message is for the user."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Asked(TypedDict, total=False):
    """The parts of a request and its timeout; members of `query` that are None are left out."""

    key: str
    partner_key: str
    body: object
    query: Mapping[str, object | None]
    headers: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Answer:
    """A response of a service, including refusals: decoded JSON, or the text of a table."""

    status: int
    headers: Mapping[str, str]
    value: Any


@dataclass(frozen=True)
class Page:
    """A page of a list, the cursor of the next page, and how many items match if that was asked for."""

    rows: list[dict[str, Any]]
    next_cursor: str | None
    count: int | None = None
    count_is_exact: bool = True


def address(base: str, *parts: str) -> str:
    """Return the URL of a path below a service's base URL; the parts are escaped."""
    return "/".join((base.rstrip("/"), *(quote(part, safe="") for part in parts)))


def given(**members: object) -> dict[str, object]:
    """Return a body of the given members, leaving out those that are None."""
    return {name: value for name, value in members.items() if value is not None}


async def ask(method: str, url: str, **asked: Unpack[Asked]) -> Answer:
    """Call a service and return its response, whatever it is; raises `CallFailed` if there is none."""
    headers = {"Accept": "application/json", **asked.get("headers", {})}
    if "key" in asked:
        headers["Authorization"] = f"Bearer {asked['key']}"
    if "partner_key" in asked:
        headers["X-Partner-Key"] = asked["partner_key"]
    query = {name: str(value) for name, value in asked.get("query", {}).items() if value is not None}
    seconds = asked.get("seconds", _SECONDS)
    timeout = aiohttp.ClientTimeout(total=seconds, connect=_CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(
                method, f"{url}?{urlencode(query)}" if query else url, headers=headers, json=asked.get("body")
            ) as response,
        ):
            raw = await response.read()
            is_table = response.content_type == "text/csv"
            return Answer(response.status, response.headers, raw.decode() if is_table else _decoded(raw))
    except TimeoutError as error:
        raise CallFailed(f"{url} did not answer within {seconds:g} s") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise CallFailed(f"{url} cannot be reached: {str(error) or type(error).__name__}") from error


async def call(method: str, url: str, **asked: Unpack[Asked]) -> dict[str, Any]:
    """Call a service and return the decoded answer; raises `CallFailed` on any refusal."""
    answer = await ask(method, url, **asked)
    if answer.status >= 400:
        raise CallFailed(refusal(answer), answer.status)
    if not isinstance(answer.value, dict):
        raise CallFailed(_not_ours(url), answer.status)
    return answer.value


async def fetch(method: str, url: str, **asked: Unpack[Asked]) -> dict[str, Any]:
    """Call a service and return the `data` of its response."""
    data: dict[str, Any] = _member(await call(method, url, **asked), "data", dict, url)
    return data


async def fetch_page(url: str, member: str = "data", **asked: Unpack[Asked]) -> Page:
    """Get one page of a list."""
    answer = await call("GET", url, **asked)
    meta = answer.get("meta", answer)
    rows = _member(answer, member, list, url)
    return Page(rows, meta.get("next_cursor"), meta.get("count"), meta.get("count_is_exact", True))


def refusal(answer: Answer) -> str:
    """Return a refusal in the service's own words, with the invalid fields on lines of their own."""
    value = answer.value
    if not isinstance(value, dict):
        return f"answered {answer.status}"
    said = value.get("detail") or value.get("error") or value.get("message") or "no reason given"
    faults = [f"  {field}: {' '.join(texts)}" for field, texts in (value.get("errors") or {}).items()]
    code = value.get("error_code") or value.get("code")
    status = f"{answer.status}, {code}" if code else str(answer.status)
    return "\n".join(printable(line) for line in (f"{said} ({status})", *faults))


def _member(answer: Mapping[str, Any], name: str, kind: type, url: str) -> Any:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise CallFailed(_not_ours(url))
    return value


def _not_ours(url: str) -> str:
    return f"{url} did not answer like a service of Mintwire; is the address correct?"


def _decoded(raw: bytes) -> Any:
    text = raw.decode(errors="replace")
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {"detail": " ".join(text[:500].split())}
