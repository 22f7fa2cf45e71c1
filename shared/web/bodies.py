"""Reads what a request carries: a body under a limit and decoded strictly, the query string, the idempotency key."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson
from aiohttp import StreamReader, hdrs, web
from pydantic import BaseModel, ValidationError

from shared import strict_json
from shared.field_texts import field_errors
from shared.web.models import QUERY, RequestModel
from shared.web.problems import HTTPProblem, invalid_field, invalid_fields

BODY_SECONDS: Final = 30.0
JSON_TYPES: Final = ("application/json",)
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


def media_type(http: web.Request) -> str:
    """Return the media type of a request's body without its parameters; empty if it names none.

    aiohttp would parse the parameters too, in time quadratic in their length, and fails on some of them.
    """
    return http.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()


async def read_body(http: web.Request, accepted: Sequence[str], limit: int) -> bytes:
    """Return the body's bytes; refuses compressed ones, other media types than `accepted`, and what is too large."""
    headers = http.headers
    length = http.content_length
    if length is not None and length > limit:
        raise _too_large(limit)
    if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise HTTPProblem(415, "unsupported_content_encoding", "Compressed request bodies are not accepted.")
    raw = await _collect(http.content, limit)
    if raw and hdrs.CONTENT_TYPE in headers and media_type(http) not in accepted:
        listed = " or ".join(accepted)
        raise HTTPProblem(415, "unsupported_media_type", f"The body's content type must be {listed}.")
    return raw


async def body_chunks(http: web.Request, accepted: Sequence[str], limit: int) -> AsyncIterator[bytes]:
    """Yield a body as it arrives, if it is too large for memory; refuses what `read_body` refuses."""
    headers = http.headers
    if http.content_length is not None and http.content_length > limit:
        raise _too_large(limit)
    if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise HTTPProblem(415, "unsupported_content_encoding", "Compressed request bodies are not accepted.")
    if media_type(http) not in accepted:
        listed = " or ".join(accepted)
        raise HTTPProblem(415, "unsupported_media_type", f"The body's content type must be {listed}.")
    size = 0
    while chunk := await _next_chunk(http.content):
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


async def _next_chunk(content: StreamReader) -> bytes:
    try:
        # Per chunk: a large body may take its time, but it must not stall.
        async with asyncio.timeout(BODY_SECONDS):
            return await content.readany()
    except TimeoutError:
        raise HTTPProblem(408, "request_timeout", "The body did not arrive in time.") from None
    except (ConnectionError, web.RequestPayloadError):
        raise HTTPProblem(400, "incomplete_body", "The body arrived incomplete.") from None


async def _collect(content: StreamReader, limit: int) -> bytes:
    if content.at_eof():
        return b""
    if content.is_eof() and content.exception() is None:
        whole = content.read_nowait()
        if len(whole) > limit:
            raise _too_large(limit)
        return whole
    try:
        # The timer keeps a client that sends its body in drops from holding a handler forever.
        async with asyncio.timeout(BODY_SECONDS):
            body = bytearray()
            while chunk := await content.readany():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise HTTPProblem(408, "request_timeout", "The body did not arrive in time.") from None
    except (ConnectionError, web.RequestPayloadError):
        raise HTTPProblem(400, "incomplete_body", "The body arrived incomplete.") from None
    return bytes(body)


def parse_body(raw: bytes, model: type[BaseModel], limit: int) -> BaseModel:
    """Decode a JSON body strictly and check it against its model."""
    details = model.details if issubclass(model, RequestModel) else None
    try:
        decoded = strict_json.loads(raw, max_bytes=limit, details=details)
    except strict_json.StrictJSONError as error:
        if error.member:
            raise invalid_field(error.member, f"The {error.member} field {error.fault}.") from None
        status = 413 if error.reason == "too_large" else 400
        raise HTTPProblem(status, error.reason, error.detail) from None
    try:
        # From the bytes and not from `decoded`: strict models read times and UUIDs from strings only in JSON.
        return model.model_validate_json(raw if details is None else strict_json.without_unreadable(raw, decoded))
    except ValidationError as error:
        raise invalid_fields(field_errors(error, decoded)) from None


def parse_query(http: web.Request, model: type[BaseModel]) -> BaseModel:
    """Check the query string against its model; a parameter given twice becomes a list."""
    values: dict[str, list[str]] = {}
    for name, value in http.query.items():
        if "\x00" in value:
            raise invalid_fields({name: [f"The {name} parameter must not contain NUL characters."]})
        values.setdefault(name, []).append(value)
    given: dict[str, Any] = {name: each[0] if len(each) == 1 else each for name, each in values.items()}
    try:
        return model.model_validate(given, context=QUERY)
    except ValidationError as error:
        found = field_errors(error, given, "parameter")
        for name in found.keys() & {name for name, value in given.items() if isinstance(value, list)}:
            found[name] = [f"The {name} parameter must be given once."]
        raise invalid_fields(found) from None


def parse_query_body(http: web.Request, model: type[BaseModel], limit: int) -> BaseModel:
    """Check a query string in place of a body: `a[b]=c` is the member `b` of the object `a`.

    For requests whose clients cannot, or do not, send a body along.
    """
    members: dict[str, Any] = {}
    for name, value in http.query.items():
        outer, bracket, inner = name.partition("[")
        into, member = (members.setdefault(outer, {}), inner.removesuffix("]")) if bracket else (members, name)
        if not isinstance(into, dict) or member in into:
            raise invalid_fields({name: [f"The {name} parameter must be given once."]})
        into[member] = value
    return parse_body(orjson.dumps(members), model, limit)


def refuse_query(http: web.Request) -> None:
    """Refuse any query parameter, for routes that take none."""
    if names := list(http.query):
        raise invalid_fields({name: [f"The {name} parameter is not known."] for name in names})


def idempotency_key(http: web.Request) -> str | None:
    """Return the Idempotency-Key header, checked; None if there is none."""
    values = http.headers.getall("Idempotency-Key", ())
    if not values:
        return None
    if len(values) > 1:
        raise HTTPProblem(400, "invalid_idempotency_key", "Idempotency-Key must be given once.")
    if not _IDEMPOTENCY_KEY.fullmatch(values[0]):
        raise HTTPProblem(
            400, "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters."
        )
    return values[0]


def _too_large(limit: int) -> HTTPProblem:
    return HTTPProblem(413, "too_large", f"The body is larger than {limit} bytes.")
