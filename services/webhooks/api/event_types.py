"""The catalog of event types at `/v1/webhooks/event-types`, and how requests name types."""

from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from services.webhooks.api.context import COMMON, owner
from services.webhooks.usecases.describe_events import EventType, event_type, event_types
from shared.web import Data, Request, ResponseModel, Routes, Text, data_response, not_found

CHOICE: Final = (
    "Event types, groups such as code.* (all current and future types that start with code.), or * for all but "
    "webhook.*"
)
TypeFilter = Annotated[Text | None, Field(description="An event type, or a group such as code.*")]


class EventTypeData(ResponseModel):
    """An event type. `json_schema` and `example` describe the data; `bodies` has an example body per format."""

    name: str
    description: str
    is_operational: bool
    json_schema: dict[str, Any]
    example: dict[str, Any]
    bodies: dict[str, dict[str, Any]]


_ROUTES: Final = Routes(
    "/v1/webhooks/event-types", "No such event type, or not available to this key", tag="event types", **COMMON
)


@_ROUTES.get("", Data[list[EventTypeData]])
async def list_all(request: Request) -> web.StreamResponse:
    """List event types with schema and example.

    With a partner's key, they are shown as partners receive them. Types that a program publishes itself (custom.*) are
    not listed.
    """
    return data_response([_data(each) for each in event_types(owner(request))])


@_ROUTES.get("/{name}", Data[EventTypeData])
async def show(request: Request) -> web.StreamResponse:
    """Show an event type."""
    found = event_type(owner(request), request.path("name"))
    if found is None:
        raise not_found()
    return data_response(_data(found))


def _data(found: EventType) -> EventTypeData:
    return EventTypeData.of(found, json_schema=found.schema)


ROUTES: Final = tuple(_ROUTES.all)
