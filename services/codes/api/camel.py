"""The bases of the query API's models: members in camel case; and a list as a bare array, its next page in `Link`."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from aiohttp import hdrs, web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.clock import format_milliseconds
from shared.web import (
    QueryInt,
    QueryModel,
    Request,
    RequestModel,
    ResponseModel,
    decode_cursor,
    encode_cursor,
    json_response,
)


class CamelRequest(RequestModel):
    """A JSON request body in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class CamelResponse(ResponseModel):
    """A JSON answer in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CamelPage(QueryModel):
    """A query string in camel case, with what every list accepts."""

    model_config = ConfigDict(alias_generator=to_camel)

    limit: QueryInt = Field(250, ge=1, le=250, description="How many items to return at most.")
    cursor: str | None = Field(None, description="From the `Link` header of the page before.")

    @property
    def last_id(self) -> uuid.UUID | None:
        """The id of the last item before the page; raises the 422."""
        return None if self.cursor is None else decode_cursor(self.cursor, uuid.UUID)[0]


def array(request: Request, items: Sequence[ResponseModel], next_after: uuid.UUID | None) -> web.Response:
    """Answer with a bare array; where there is more, the `Link` header leads to the next page."""
    headers: dict[str, str] = {}
    if next_after is not None:
        following = request.url.update_query(cursor=encode_cursor(next_after))
        headers[hdrs.LINK] = f'<{following}>; rel="next"'
    return json_response([item.model_dump(mode="json", by_alias=True) for item in items], headers=headers)


def time_text(moment: datetime | None) -> str | None:
    """Return a time as this API writes it; None for None."""
    return None if moment is None else format_milliseconds(moment)
