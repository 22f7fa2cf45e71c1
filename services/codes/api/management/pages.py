"""Lists of the coupon API: numbered pages with links, as its clients know them, and a cursor as well."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web
from pydantic import Field, model_validator

from shared.bounded_counts import BoundedCount
from shared.web import (
    CountMembers,
    CursorQuery,
    QueryInt,
    Request,
    ResponseModel,
    count_members,
    field_error,
    json_response,
)

# A numbered page is found by counting up to it; beyond this limit the cursor, with constant cost, is required.
REACH: Final = 10_000


class NumberedQuery(CursorQuery):
    """The query parameters of the coupon API's lists."""

    limit: QueryInt = Field(15, ge=1, le=250, description="Maximum number of items.")
    page: QueryInt | None = Field(
        None, ge=1, le=REACH, description=f"The number of the page, 1 by default, within the first {REACH:,} items."
    )
    cursor: str | None = Field(
        None, description="`meta.next_cursor` from the previous page, instead of a number, with the same filters."
    )

    @model_validator(mode="after")
    def _within_reach(self) -> "NumberedQuery":
        if self.cursor is not None and self.page is not None:
            raise field_error("page", "must be absent if a cursor is given")
        if self.offset + self.limit > REACH:
            raise field_error("page", f"ends within the first {REACH} items; continue with meta.next_cursor")
        return self

    @property
    def offset(self) -> int:
        """The number of items before the page."""
        return ((self.page or 1) - 1) * self.limit


class NumberedLinks(ResponseModel):
    """Addresses of other pages, relative unless the service has a public URL."""

    first: str
    last: None
    prev: str | None
    next: str | None


class NumberedMeta(CountMembers):
    """The position of the page; the numbers are null on a page by cursor."""

    current_page: int | None
    from_: int | None = Field(alias="from")
    path: str
    per_page: int
    to: int | None
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


def numbered_page(
    request: Request,
    query: NumberedQuery,
    items: Sequence[ResponseModel],
    next_after: uuid.UUID | None,
    count: BoundedCount | None = None,
) -> web.Response:
    """Answer with a page; `next_after` is the id after which the next one begins, None at the end."""
    cursor = query.cursor_after(next_after) if next_after else None
    url = request.url
    number = None if query.cursor is not None else query.page or 1
    in_reach = number is not None and query.offset + 2 * query.limit <= REACH and len(items) == query.limit
    body: dict[str, Any] = {
        "data": [item.model_dump(mode="json", by_alias=True) for item in items],
        "links": {
            "first": request.link(url.without_query_params("cursor").update_query(page=1)),
            "last": None,
            "prev": request.link(url.update_query(page=number - 1)) if number and number > 1 else None,
            "next": None,
        },
        "meta": {
            "current_page": number,
            "from": query.offset + 1 if number and items else None,
            "path": request.link(url.with_query(None)),
            "per_page": query.limit,
            "to": query.offset + len(items) if number and items else None,
            "next_cursor": cursor,
            **count_members(count),
        },
        "status": 1,
    }
    if cursor is not None:
        following = (
            url.update_query(page=number + 1)
            if number is not None and in_reach
            else url.without_query_params("page").update_query(cursor=cursor)
        )
        body["links"]["next"] = request.link(following)
    return json_response(body)
