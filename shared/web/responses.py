"""Answers and their headers: JSON, lists, replays of idempotent answers, and rate limits."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel

from shared.bounded_counts import BoundedCount
from shared.csv_lines import csv_line
from shared.idempotency import Answer
from shared.web.problems import HTTPProblem

REQUEST_ID_HEADER: Final = "X-Request-Id"
SECURITY_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
REPLAYED_HEADER: Final = "Idempotent-Replayed"


def json_response(
    payload: BaseModel | Mapping[str, Any] | list[Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer with JSON; a model is written under its aliases."""
    if isinstance(payload, BaseModel):
        return _json_bytes(payload.model_dump_json(by_alias=True).encode(), status, headers)
    return _json_bytes(orjson.dumps(payload), status, headers)


def json_answer(payload: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """Return JSON as an answer to be stored: a response would be built only to be taken apart."""
    return Answer(200, orjson.dumps(payload), headers or {})


def data_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with `{"data": ...}`; models may be anywhere inside."""
    return _json_bytes(_data_bytes(data), status, headers)


def data_answer(data: Any, status: int = 200) -> Answer:
    """Return the same as an answer to be stored."""
    return Answer(status, _data_bytes(data))


def page_response(items: list[Any], next_cursor: str | None, count: BoundedCount | None = None) -> web.Response:
    """Answer with one page of a list: `data` and `meta.next_cursor`, null at the end, and its count if there is one."""
    page = {"data": items, "meta": {"next_cursor": next_cursor, **count_members(count)}}
    return _json_bytes(orjson.dumps(page, default=_plain), 200, None)


def count_members(count: BoundedCount | None) -> dict[str, Any]:
    """Return the members of a counted list; none for a list that was not counted."""
    return {} if count is None else {"count": count.count, "count_is_exact": count.is_exact}


def wants_csv(http: web.Request) -> bool:
    """Say whether the answer is to be a table: `Accept` names `text/csv`, and not JSON beside it."""
    accepted = http.headers.get(hdrs.ACCEPT, "").split(",")
    types = {each.partition(";")[0].strip().lower() for each in accepted}
    return "text/csv" in types and "application/json" not in types


def csv_response(name: str, rows: Iterable[Sequence[object]]) -> web.Response:
    """Answer with a table, whose first row are the names of its columns."""
    headers = {
        "Content-Type": "text/csv; charset=utf-8; header=present",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return web.Response(body="".join([csv_line(row) for row in rows]).encode(), headers=headers)


def standard_headers(request_id: str) -> dict[str, str]:
    """Return the headers of every answer that does not override them."""
    return {REQUEST_ID_HEADER: request_id, **SECURITY_HEADERS}


def replayed_response(body: bytes, status: int, content_type: str = "application/json") -> web.Response:
    """Answer a repeated Idempotency-Key with the stored answer."""
    headers = {"Content-Type": content_type, REPLAYED_HEADER: "true"}
    return web.Response(body=body, status=status, headers=headers)


def idempotency_key_reused() -> HTTPProblem:
    """Return the 422 for a key that was used with a different request."""
    detail = "This Idempotency-Key was used with a different request."
    return HTTPProblem(422, "idempotency_key_reused", detail, {"Idempotency-Key": [detail]})


def idempotency_in_progress() -> HTTPProblem:
    """Return the 409 for a request whose key belongs to one in progress."""
    detail = "A request with this Idempotency-Key is in progress."
    return HTTPProblem(409, "idempotency_in_progress", detail, headers={"Retry-After": "1"})


def answer_unreadable() -> HTTPProblem:
    """Return the 503 for a repeat whose stored answer cannot be decrypted; metrics and the log inform the operator."""
    detail = "The response stored for this Idempotency-Key cannot be read at the moment. Nothing was done again."
    return HTTPProblem(503, "answer_unreadable", detail, headers={"Retry-After": "60"})


def rate_limit_headers(limit: int, remaining: int, reset_seconds: int, window_seconds: int = 60) -> dict[str, str]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers for one window."""
    return {
        "RateLimit-Policy": f'"default";q={limit};w={window_seconds}',
        "RateLimit": f'"default";r={max(remaining, 0)};t={max(reset_seconds, 0)}',
    }


def rate_limited(limit: int, reset_seconds: int, window_seconds: int = 60) -> HTTPProblem:
    """Return the 429 for a window that is used up; it opens again in `reset_seconds`."""
    wait = max(reset_seconds, 1)
    headers = rate_limit_headers(limit, 0, wait, window_seconds) | {"Retry-After": str(wait)}
    detail = f"At most {limit} requests in {window_seconds} seconds are accepted; try again in {wait} seconds."
    return HTTPProblem(429, "rate_limited", detail, headers=headers)


def _json_bytes(body: bytes, status: int, headers: Mapping[str, str] | None) -> web.Response:
    response = web.Response(body=body, status=status, headers={"Content-Type": "application/json"})
    if headers:
        response.headers.update(headers)
    return response


def _data_bytes(data: Any) -> bytes:
    if isinstance(data, BaseModel):
        # By way of Python objects this would cost twice as much.
        return b'{"data":' + data.model_dump_json(by_alias=True).encode() + b"}"
    return orjson.dumps({"data": data}, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
