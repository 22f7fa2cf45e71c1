"""Paging by cursor: the query parameters of every list, the opaque cursor, and the shape of a page."""

import base64
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar, overload

import orjson
from aiohttp import web
from pydantic import Field

from shared.times import parse_time
from shared.web.models import QueryInt, QueryModel, ResponseModel
from shared.web.problems import HTTPProblem, invalid_field
from shared.web.responses import page_response

T = TypeVar("T")
A = TypeVar("A", str, int, uuid.UUID, datetime)
B = TypeVar("B", str, int, uuid.UUID, datetime)

_LONGEST_CURSOR: Final = 512
_INT8: Final = range(-(2**63), 2**63)


class PageQuery(QueryModel):
    """The query parameters of every list."""

    limit: QueryInt = Field(50, ge=1, le=250, description="Maximum number of items.")
    cursor: str | None = Field(None, description="`meta.next_cursor` from the previous page.")

    @property
    def last_id(self) -> uuid.UUID | None:
        """The id of the last item before the page, for lists that are sorted by id; raises the 422."""
        return None if self.cursor is None else decode_cursor(self.cursor, uuid.UUID)[0]


class PageMeta(ResponseModel):
    """Where the next page starts."""

    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class Page(ResponseModel, Generic[T]):
    """One page of a list."""

    data: list[T]
    meta: PageMeta


def encode_cursor(*parts: str | int | uuid.UUID | datetime) -> str:
    """Return an opaque cursor that holds the sort key of the last item of a page."""
    # As text: the database driver has its own class of UUID, which orjson does not know.
    packed = orjson.dumps([part if isinstance(part, int) else _text(part) for part in parts])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


@overload
def decode_cursor(cursor: str, first: type[A], /) -> tuple[A]: ...
@overload
def decode_cursor(cursor: str, first: type[A], second: type[B], /) -> tuple[A, B]: ...
@overload
def decode_cursor(cursor: str, /, *kinds: type[Any]) -> tuple[Any, ...]: ...
def decode_cursor(cursor: str, /, *kinds: type[Any]) -> tuple[Any, ...]:
    """Return the parts of a cursor, one of each kind; raises the 422 for anything but our own cursors."""
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise _bad_cursor()
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = orjson.loads(packed)
        if not isinstance(parts, list) or len(parts) != len(kinds):
            raise _bad_cursor()
        return tuple(_part(part, kind) for part, kind in zip(parts, kinds, strict=True))
    except ValueError:
        raise _bad_cursor() from None


def next_cursor(items: Sequence[T], limit: int, *key: str) -> str | None:
    """Return the cursor after `items[:limit]`, given one item more than was asked for; None at the end.

    `key` names the attributes that the list is sorted by.
    """
    if len(items) <= limit:
        return None
    last = items[limit - 1]
    return encode_cursor(*(getattr(last, name) for name in key))


def page_after(items: Sequence[ResponseModel], next_after: uuid.UUID | None) -> web.Response:
    """Answer with a page of a list that is sorted by id; `next_after` is the id to continue after, None at the end."""
    return page_response(list(items), None if next_after is None else encode_cursor(next_after))


def page_of(query: PageQuery, found: Sequence[T], render: Callable[[T], ResponseModel]) -> web.Response:
    """Answer with a page of a list that is sorted by id; `found` holds one item more than a page, if there is one."""
    return page_response([render(item) for item in found[: query.limit]], next_cursor(found, query.limit, "id"))


def _text(part: str | uuid.UUID | datetime) -> str:
    return part.isoformat() if isinstance(part, datetime) else str(part)


def _part(part: Any, kind: type[Any]) -> Any:
    if kind is int:
        if type(part) is not int or part not in _INT8:
            raise ValueError("not an integer")
        return part
    if not isinstance(part, str) or "\x00" in part:
        raise ValueError("not a text")
    if kind is uuid.UUID:
        return uuid.UUID(part)
    if kind is datetime:
        moment = parse_time(part)
        if moment is None:
            raise ValueError("not a time")
        return moment
    return part


def _bad_cursor() -> HTTPProblem:
    return invalid_field("cursor", "The cursor parameter must be one that this list has returned.")
