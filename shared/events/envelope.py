"""The CloudEvents 1.0 envelope (structured JSON mode): how an event is written to bytes and read from them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import orjson
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from shared.field_texts import field_errors
from shared.modes import in_mode, is_test
from shared.strict_json import StrictJSONError, Unreadable, loads
from shared.times import format_microseconds, in_utc, parse_time
from shared.trace import valid_traceparent

CONTENT_TYPE = "application/cloudevents+json"
MAX_EVENT_BYTES = 256 * 1024
_SCHEMA_PREFIX = "urn:mintwire:event:"

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255)]


def _event_time(value: object) -> datetime:
    # Pydantic's own reader would accept a number in a text as a time.
    moment = parse_time(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError("must be an RFC 3339 date and time, such as 2026-03-16T20:15:00Z")
    return in_utc(moment)


EventTime = Annotated[AwareDatetime, BeforeValidator(_event_time)]
# The attribute of the Distributed Tracing extension: a missing or invalid one is None and never an error.
Traceparent = Annotated[str | None, BeforeValidator(valid_traceparent)]


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event as stored and published: its bytes are written only once."""

    id: uuid.UUID
    type: str
    body: bytes


class EventData(BaseModel):
    """The data of one event type and version; unknown members are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    type: ClassVar[str]
    version: ClassVar[int]
    source: ClassVar[str]

    @classmethod
    def schema_urn(cls) -> str:
        """Return the `dataschema` of this type and version."""
        return f"{_SCHEMA_PREFIX}{cls.type}:{cls.version}"

    def to_event(self, event_id: uuid.UUID, time: datetime, traceparent: str | None = None) -> OutboxEvent:
        """Freeze this data with its envelope into the bytes that are stored and published."""
        return self._frozen(self.model_dump_json().encode(), event_id, time, traceparent)

    def _frozen(self, data: bytes, event_id: uuid.UUID, time: datetime, traceparent: str | None) -> OutboxEvent:
        return OutboxEvent(event_id, self.type, envelope_head(type(self), event_id, time, traceparent) + data + b"}")


class ServiceEvent(EventData):
    """An event of our services about a program's objects: tenants in code, program and mode on the wire."""

    # Absent if false, so that a live event has the same bytes as before there were modes.
    is_test: bool = Field(
        False, exclude_if=lambda value: not value, description="True for what happened in test mode; absent otherwise."
    )

    def to_event(self, event_id: uuid.UUID, time: datetime, traceparent: str | None = None) -> OutboxEvent:
        """Freeze this data as `EventData` does, with the ids of program and partner as callers know them."""
        members = self.__dict__
        if not is_test(members["program_id"]):
            if "is_test" in members:
                return EventData.to_event(self, event_id, time, traceparent)
            return self._frozen(_trusted_json(self), event_id, time, traceparent)
        owners = {name: members[name] for name in ("program_id", "partner_id") if members.get(name) is not None}
        shown = {name: in_mode(owner, test=False) for name, owner in owners.items()}
        rest = {name: value for name, value in members.items() if name != "is_test"}
        return EventData.to_event(trusted(type(self), **{**rest, **shown}, is_test=True), event_id, time, traceparent)


def envelope_head(model: type[EventData], event_id: uuid.UUID, time: datetime, traceparent: str | None = None) -> bytes:
    """Return the bytes of an event up to its data; `traceparent` must be valid."""
    trace = "" if traceparent is None else f'"traceparent":"{traceparent}",'
    of_type, schema = _constants(model)
    return (
        f'{{"specversion":"1.0","id":"{event_id}",{of_type},"time":"{format_microseconds(time)}",{schema},{trace}"data":'
    ).encode()


@cache
def _constants(model: type[EventData]) -> tuple[str, str]:
    """Return the members of the envelope that all events of a type share, before and after the time."""
    return (
        f'"source":"{model.source}","type":"{model.type}"',
        f'"datacontenttype":"application/json","dataschema":"{model.schema_urn()}"',
    )


def _trusted_json(data: EventData) -> bytes:
    """Return the data of a `trusted` event as JSON; the model's own serializer takes three times as long."""
    try:
        return orjson.dumps(data.__dict__, default=_plain, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError:
        # The lines of an order may have integers of more than 64 bits.
        return data.model_dump_json().encode()


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.__dict__
    if isinstance(value, uuid.UUID):
        # The database driver has a class of its own.
        return str(value)
    raise TypeError(f"{type(value).__name__} is no member of an event")


Data = TypeVar("Data", bound=EventData)
Model = TypeVar("Model", bound=BaseModel)


def trusted(model: type[Model], **values: object) -> Model:
    """Build a model from valid values for all of its fields, unchecked. `model_copy` cannot change it.

    Does what `model_construct` does, but skips defaults and aliases, which cost five times as much.
    """
    made = model.__new__(model)
    object.__setattr__(made, "__dict__", values)
    object.__setattr__(made, "__pydantic_fields_set__", values.keys())
    object.__setattr__(made, "__pydantic_extra__", None)
    object.__setattr__(made, "__pydantic_private__", None)
    return made


class Envelope(BaseModel):
    """The attributes that we require of every event, ours or a checkout's; `data` is read by type afterwards."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"]
    id: ShortText
    source: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    type: ShortText
    time: EventTime
    dataschema: str | None = None
    traceparent: Traceparent = None
    data: dict[str, Any]


class InvalidEvent(Exception):
    """The bytes are not a valid event; `reason` is a stable code for the dead queue."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode_envelope(raw: bytes, *, details: tuple[str, ...] | None = None) -> Envelope:
    """Read the envelope from bytes; what cannot be stored is `Unreadable` in the member that `details` names.

    Raises `InvalidEvent` with a reason of the JSON decoder, or `unsupported_version` or `invalid_envelope`.
    """
    try:
        value = loads(raw, max_bytes=MAX_EVENT_BYTES, details=details)
    except StrictJSONError as error:
        raise InvalidEvent(error.reason, error.detail) from None
    if not isinstance(value, dict):
        raise InvalidEvent("invalid_envelope", "An event must be a JSON object.")
    if "specversion" in value and value["specversion"] != "1.0":
        raise InvalidEvent("unsupported_version", "The specversion member must be 1.0.")
    try:
        return Envelope.model_validate(value)
    except ValidationError as error:
        raise _invalid("invalid_envelope", error, value) from None


def decode_data(envelope: Envelope, model: type[Data], data: Mapping[str, Any] | None = None) -> Data:
    """Read the data of an event as the given model; `data` is what is left of it, if that is not all.

    Raises `InvalidEvent` with reason `unsupported_version` for another version of ours, else `invalid_data`.
    """
    schema = envelope.dataschema
    if schema is not None and schema.startswith(_SCHEMA_PREFIX) and schema != model.schema_urn():
        raise InvalidEvent(
            "unsupported_version",
            f"The dataschema member must be {model.schema_urn()} for this type, not {schema[:200]}.",
        )
    given = envelope.data if data is None else data
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _invalid("invalid_data", error, given, "data") from None


def _invalid(reason: str, error: ValidationError, given: Any, prefix: str = "") -> InvalidEvent:
    """Return the fault; a part that could not be decoded takes precedence."""
    faults = [fault["input"] for fault in error.errors(include_url=False, include_context=False)]
    unreadable = next((each for each in faults if isinstance(each, Unreadable)), None)
    return InvalidEvent(reason if unreadable is None else unreadable.reason, describe(error, given, prefix))


def describe(error: ValidationError, given: Any, prefix: str = "") -> str:
    """Describe the faults of the first invalid members, without repeating their values."""
    found = field_errors(error, given, "member", prefix)
    return " ".join(text for texts in list(found.values())[:5] for text in texts)
