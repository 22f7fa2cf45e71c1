"""The bases of models and the field types of requests: what JSON calls a type is accepted, nothing is coerced."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Generic, Self, TypeVar
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import (
    is_instance_schema,
    no_info_wrap_validator_function,
    union_schema,
    with_info_before_validator_function,
)

from shared.modes import shown_id
from shared.strict_json import integral
from shared.times import format_microseconds, format_milliseconds, parse_time

T = TypeVar("T")

_BARE_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DIGITS: Final = re.compile(r"-?[0-9]+", re.ASCII)
# A number with more digits exceeds every bound, and so does this one.
_MOST_DIGITS, _BEYOND = 19, 2**64
_TIME_FORM: Final = "must be a date and time with an offset, such as 2026-03-18T23:29:28Z"
# Read once, at import: reading the time zone files would block the loop. Two names mean no place, and the database
# takes four for abbreviations without summer time.
_TIMEZONES = available_timezones() - {"localtime", "Factory", "CET", "MET", "EET", "WET"}
# The validation context for query strings.
QUERY: Final = "query"
_BARE_EARLIEST, _BARE_LATEST = date(1970, 1, 1), date(9998, 12, 31)
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class RequestModel(BaseModel):
    """A JSON request body, or an object inside one: strict types, unknown members refused.

    `details` is the path to a member in which any JSON is accepted: what cannot be stored becomes an empty object.
    """

    details: ClassVar[tuple[str, ...] | None] = None
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class QueryModel(BaseModel):
    """A query string: texts become the types of the fields, unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """A JSON answer, or an object inside one."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    @classmethod
    def of(cls, record: object, **others: Any) -> Self:
        """Return the answer that shows a record: each field is the attribute of its name, unless it is given."""
        found = {name: getattr(record, name) for name in cls.model_fields if name not in others}
        return cls(**found, **others)


class Data(ResponseModel, Generic[T]):
    """An answer that is one object."""

    data: T


class NoBody(RequestModel):
    """The body of a route that takes none."""


def absent_by_default(schema: dict[str, Any]) -> None:
    """Document a member only as optional: its default in a model stands for absence."""
    del schema["default"]


def field_error(field: str, text: str) -> PydanticCustomError:
    """Return what a model validator raises to attribute a fault to one field."""
    return PydanticCustomError("field_error", "{text}", {"field": field, "text": text})


def window(first: str, last: str) -> Any:
    """Return a model's validator that refuses a span of time that ends before it begins; `last` gets the fault.

    A bare date has its moment only in the program's time zone, so a date beside a time gets a day of tolerance. The
    fields may be named as in the model or as in requests.
    """

    def check(model: BaseModel) -> BaseModel:
        members = type(model).model_fields.items()
        shown = {key: (field.alias or name, name) for name, field in members for key in (name, field.alias or name)}
        (begin, begins), (end, ends) = [(alias, getattr(model, name)) for alias, name in (shown[first], shown[last])]
        if begins is not None and ends is not None and _is_after(begins, ends):
            raise field_error(end, f"must not lie before {begin}")
        return model

    return model_validator(mode="after")(check)


def _is_after(begins: date, ends: date) -> bool:
    if isinstance(begins, datetime) == isinstance(ends, datetime):
        return begins > ends
    return begins.toordinal() > ends.toordinal() + 1


def _decimal(value: Any) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    if isinstance(value, Decimal):
        return value
    raise ValueError("must be a number")


def _as_meant(value: Any, info: ValidationInfo) -> Any:
    """Restore the plus of a time in a query string: a raw one before an offset is read as a blank."""
    if info.context != QUERY or not isinstance(value, str):
        return value
    moment, blank, offset = value.rpartition(" ")
    return f"{moment}+{offset}" if blank and ":" in moment else value


def _instant(value: Any, info: ValidationInfo) -> datetime:
    value = _as_meant(value, info)
    moment = parse_time(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(_TIME_FORM)
    # Compared before it is converted: near the ends of the calendar a conversion to UTC overflows.
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must lie between the years 1970 and 9998")
    return moment


def _instant_or_date(value: Any, info: ValidationInfo) -> datetime | date:
    value = _as_meant(value, info)
    if isinstance(value, str) and _BARE_DATE.fullmatch(value):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"must be a day of the calendar, and {value} is none") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        if not _BARE_EARLIEST <= value <= _BARE_LATEST:
            raise ValueError("must lie between the years 1970 and 9998")
        return value
    if not isinstance(value, datetime) and not (isinstance(value, str) and parse_time(value)):
        raise ValueError(f"{_TIME_FORM}, or a date, such as 2026-03-18")
    return _instant(value, info)


def _digits(value: Any) -> Any:
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("must be an integer")
        if len(value.lstrip("-0")) > _MOST_DIGITS:
            return -_BEYOND if value.startswith("-") else _BEYOND
        return int(value)
    return value


def _timezone(name: str) -> str:
    if name not in _TIMEZONES:
        raise ValueError("must be a name of the IANA time zone database, such as Europe/Berlin")
    return name


def _raw_plus(value: Any) -> Any:
    return value.replace(" ", "+") if isinstance(value, str) and value.strip() else value


class _InstantOrDate:
    """How pydantic reads an `InstantOrDate`; a plain union would name its branches in error paths."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        kinds = union_schema([is_instance_schema(datetime), is_instance_schema(date)])
        return with_info_before_validator_function(_instant_or_date, kinds)

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, _handler: Any) -> JsonSchemaValue:
        return {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}],
            "description": "A date and time with an offset, or a bare date: the first moment of that day as a start, "
            "the last as an end, in the program's time zone.",
        }


@dataclass(frozen=True, slots=True)
class Spelled:
    """States in words what a field's `pattern` requires; the pattern itself is for documents and machines."""

    rule: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_wrap_validator_function(self._checked, handler(source))

    def _checked(self, value: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(value)
        except ValidationError as error:
            if error.errors()[0]["type"] != "string_pattern_mismatch":
                raise
        raise ValueError(self.rule)


class _PlainNumber:
    """Documents a `Number` as a JSON number; pydantic would allow a string too."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: Any) -> JsonSchemaValue:
        schema: JsonSchemaValue = handler(core)
        branches = schema.pop("anyOf", [])
        number: JsonSchemaValue = next((b for b in branches if b.get("type") == "number"), {"type": "number"})
        return schema | number


Int = Annotated[int, BeforeValidator(integral), Field(ge=-(2**63), le=2**63 - 1)]
"""An integer that fits PostgreSQL's int8: 3.0 is 3, but true and "3" are refused."""

Number = Annotated[Decimal, BeforeValidator(_decimal), _PlainNumber()]
"""A JSON number as an exact decimal; strings and booleans are refused."""

Text = Annotated[str, Field(max_length=255)]
"""A string of at most 255 characters. Bodies and query strings with NUL are refused before models see them."""

LongText = Annotated[str, Field(max_length=5000)]
"""A string of at most 5,000 characters."""

Timezone = Annotated[Text, AfterValidator(_timezone)]
"""A time zone by its name."""

Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A date and time; one without an offset is refused."""

InstantOrDate = Annotated[datetime | date, _InstantOrDate()]
"""An aware time or a bare date; `isinstance(value, datetime)` tells them apart."""

QueryAddress = Annotated[Text, BeforeValidator(_raw_plus)]
"""An e-mail address in a query string, where a raw `+` is read as a blank, which no address contains."""

Moment = Annotated[
    datetime,
    PlainSerializer(format_microseconds, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time in an answer: RFC 3339 in UTC with microseconds."""

MillisecondMoment = Annotated[
    datetime,
    PlainSerializer(format_milliseconds, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""As `Moment`, with milliseconds, as the partner API and the query API write times."""

TenantId = Annotated[
    uuid.UUID,
    PlainSerializer(shown_id, return_type=str),
    WithJsonSchema({"type": "string", "format": "uuid"}, mode="serialization"),
]
"""A program or a partner in an answer: the id that callers know, in either mode."""

QueryInt = Annotated[int, BeforeValidator(_digits), Field(ge=-(2**63), le=2**63 - 1)]
"""An integer in a query string, written in digits."""
