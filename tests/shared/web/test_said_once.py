"""Routes that are said above their handlers, and answers that take their fields from records."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from aiohttp import web

from shared.modes import in_mode
from shared.web import Data, Moment, Request, ResponseModel, Routes, TenantId


@dataclass(frozen=True)
class Part:
    """What a record has inside."""

    name: str


@dataclass(frozen=True)
class Record:
    """What an answer shows."""

    id: uuid.UUID
    partner_id: uuid.UUID | None
    made_at: datetime
    ended_at: datetime | None
    part: Part
    secret: str = "hidden"


class PartData(ResponseModel):
    """Shows a part."""

    name: str


class RecordData(ResponseModel):
    """Shows a record."""

    id: uuid.UUID
    partner_id: TenantId | None
    made_at: Moment
    ended_at: Moment | None
    part: PartData
    is_new: bool


RECORD = Record(
    uuid.UUID(int=1), in_mode(uuid.UUID(int=2), test=True), datetime(2026, 3, 16, tzinfo=UTC), None, Part("a")
)


def test_an_answer_has_the_fields_that_it_names_and_no_others() -> None:
    assert RecordData.of(RECORD, is_new=True).model_dump(mode="json") == {
        "id": "00000000-0000-0000-0000-000000000001",
        "partner_id": "00000000-0000-0000-0000-000000000002",
        "made_at": "2026-03-16T00:00:00.000000Z",
        "ended_at": None,
        "part": {"name": "a"},
        "is_new": True,
    }


def test_a_field_that_nobody_gives_is_no_silent_null() -> None:
    with pytest.raises(AttributeError, match="is_new"):
        RecordData.of(RECORD)


def test_documents_name_the_formats_of_times_and_ids() -> None:
    properties = RecordData.model_json_schema(mode="serialization")["properties"]
    assert properties["id"]["format"] == "uuid"
    assert properties["made_at"]["format"] == "date-time"
    assert [branch.get("format") for branch in properties["ended_at"]["anyOf"]] == ["date-time", None]
    assert [branch.get("format") for branch in properties["partner_id"]["anyOf"]] == ["uuid", None]


def test_a_route_takes_its_texts_from_its_handler_and_the_rest_from_its_group() -> None:
    routes = Routes("/v1/things", "No such thing", tag="things", security="none", family="management")

    @routes.get("/{thing_id}", Data[RecordData])
    async def show(request: Request) -> web.StreamResponse:
        """Show a thing.

        It may be
        new.
        """
        raise NotImplementedError  # Only the route that it declares is looked at.

    @routes.post("", Data[RecordData], status=201, refusals={409: "Taken"}, tag="others", description="Said there.")
    async def create(request: Request) -> web.StreamResponse:
        """Create a thing."""
        raise NotImplementedError  # Only the route that it declares is looked at.

    shown, created = routes.all
    assert (shown.method, shown.path, shown.handler) == ("GET", "/v1/things/{thing_id}", show)
    assert (shown.summary, shown.description, shown.tag) == ("Show a thing", "It may be new.", "things")
    assert shown.responses == {200: Data[RecordData], 404: "No such thing"}
    assert (created.summary, created.description, created.tag) == ("Create a thing", "Said there.", "others")
    assert created.responses == {201: Data[RecordData], 409: "Taken"}
