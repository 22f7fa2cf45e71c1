"""Paging by cursor: the query parameters of every list, the opaque cursor, and the shape of a page."""

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar, overload

import orjson
from aiohttp import web
from pydantic import Field

from shared.bounded_counts import BoundedCount
from shared.times import parse_time
from shared.web.models import QueryInt, QueryModel, ResponseModel, absent_by_default
from shared.web.problems import HTTPProblem, invalid_field
from shared.web.responses import page_response

T = TypeVar("T")
A = TypeVar("A", str, int, uuid.UUID, datetime)
B = TypeVar("B", str, int, uuid.UUID, datetime)

# What a page shows, not what it lists.
_NO_FILTERS: Final = {"cursor", "limit", "page", "count"}
_LONGEST_CURSOR: Final = 512
_INT8: Final = range(-(2**63), 2**63)


class CursorQuery(QueryModel):
    """The query parameters of a list with a cursor. A cursor holds a digest of the filters that it was made for."""

    cursor: str | None = Field(None, description="`meta.next_cursor` from the previous page, with the same filters.")

    @property
    def last_id(self) -> uuid.UUID | None:
        """The id of the last item before the page, for lists that are sorted by id; raises the 422."""
        last = self.position(uuid.UUID)
        return None if last is None else last[0]

    @overload
    def position(self, first: type[A], /) -> tuple[A] | None: ...
    @overload
    def position(self, first: type[A], second: type[B], /) -> tuple[A, B] | None: ...
    def position(self, *kinds: type[Any]) -> tuple[Any, ...] | None:
        """Return the sort key of the last item before the page; raises the 422, also for a cursor of other filters."""
        if self.cursor is None:
            return None
        filters = self._filters()
        parts = decode_cursor(self.cursor, *kinds, *(str for _ in filters))
        if list(parts[len(kinds) :]) != filters:
            text = "The cursor parameter must be one that this list has returned for the same filters."
            raise invalid_field("cursor", text)
        return parts[: len(kinds)]

    def cursor_after(self, *key: str | int | uuid.UUID | datetime) -> str:
        """Return the cursor of the page after the item with a sort key."""
        return encode_cursor(*key, *self._filters())

    def _filters(self) -> list[str]:
        given = self.model_dump_json(exclude=_NO_FILTERS, exclude_defaults=True)
        return [] if given == "{}" else [hashlib.blake2b(given.encode(), digest_size=6).hexdigest()]


class PageQuery(CursorQuery):
    """The query parameters of every list."""

    limit: QueryInt = Field(50, ge=1, le=250, description="Maximum number of items.")


class CountedQuery(QueryModel):
    """The parameter of lists that can be counted."""

    count: Literal["bounded"] | None = Field(
        None, description="`bounded` adds how many items match, up to 10,000, whatever the page."
    )


class PageMeta(ResponseModel):
    """Where the next page starts."""

    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class CountMembers(ResponseModel):
    """How many items match; only present with `count=bounded`."""

    count: int = Field(0, description="At most 10,000.", json_schema_extra=absent_by_default)
    count_is_exact: bool = Field(
        False, description="False if more than these may match.", json_schema_extra=absent_by_default
    )


class CountedMeta(PageMeta, CountMembers):
    """Where the next page starts, and how many items match if that was asked for."""


class Page(ResponseModel, Generic[T]):
    """One page of a list."""

    data: list[T]
    meta: PageMeta


class CountedPage(ResponseModel, Generic[T]):
    """One page of a list that can be counted."""

    data: list[T]
    meta: CountedMeta


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


def page_after(
    query: CursorQuery, items: Sequence[ResponseModel], next_after: uuid.UUID | None, count: BoundedCount | None = None
) -> web.Response:
    """Answer with a page of a list that is sorted by id; `next_after` is the id to continue after, None at the end."""
    return page_response(list(items), None if next_after is None else query.cursor_after(next_after), count)


def page_of(query: PageQuery, found: Sequence[Any], render: Callable[[Any], ResponseModel]) -> web.Response:
    """Answer with a page of a list that is sorted by id; `found` holds one item more than a page, if there is one."""
    shown = found[: query.limit]
    return page_after(query, [render(item) for item in shown], shown[-1].id if len(found) > query.limit else None)


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
