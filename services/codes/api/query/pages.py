"""The bases of the query API's models: members in camel case; and lists as bare arrays, complete or in pages."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import hdrs, web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from services.codes.api.fields import FlaggedRequest
from shared.web import (
    CursorQuery,
    QueryInt,
    Request,
    ResponseModel,
    json_response,
)

MOST: Final = 250


class CamelRequest(FlaggedRequest):
    """A JSON request body in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class CamelResponse(ResponseModel):
    """A JSON answer in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CamelPage(CursorQuery):
    """A query string in camel case, with the parameters of every list."""

    model_config = ConfigDict(alias_generator=to_camel)

    limit: QueryInt | None = Field(
        None, ge=1, le=MOST, description="Maximum number of items, with the next page in `Link`; all if absent."
    )
    cursor: str | None = Field(None, description="From the `Link` header of the previous page, with the same filters.")

    @property
    def is_page(self) -> bool:
        """Whether a page is requested and not the whole list."""
        return self.limit is not None or self.cursor is not None


# Reads up to N items after an id, and the id to continue after; None at the end.
Read = Callable[[uuid.UUID | None, int], Awaitable[tuple[Sequence[ResponseModel], uuid.UUID | None]]]


async def array(request: Request, asked: CamelPage, read: Read) -> web.StreamResponse:
    """Answer with a bare array: the whole list, or with `limit` a page whose `Link` header leads to the next one.

    The whole list is sent as it is read, page by page, so that it needs little memory and no connection waits for the
    client. Items created meanwhile are not in it.
    """
    items, following = await read(asked.last_id, asked.limit or MOST)
    if following is None or asked.is_page:
        headers: dict[str, str] = {}
        if following is not None:
            url = request.link(request.url.update_query(cursor=asked.cursor_after(following)))
            headers[hdrs.LINK] = f'<{url}>; rel="next"'
        return json_response([item.model_dump(mode="json", by_alias=True) for item in items], headers=headers)
    stream = await request.start_stream("application/json")
    if request.http.method == hdrs.METH_HEAD:
        return stream
    joint = b"["
    while True:
        if items:
            await stream.write(joint + b",".join(item.model_dump_json(by_alias=True).encode() for item in items))
            joint = b","
        if following is None:
            break
        items, following = await read(following, MOST)
    await stream.write(b"]" if joint == b"," else b"[]")
    await stream.write_eof()
    return stream
