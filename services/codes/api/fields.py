"""Field types that several requests share; the rules themselves are in the domain."""

from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from services.codes.domain.code_orders import MAX_CODES
from services.codes.domain.codes import canonical_prefix
from services.codes.domain.coupons import MAX_COUNT
from services.codes.domain.money import MAX_MINOR, as_number, hundredths
from services.codes.domain.partners import checked_email, checked_prefix
from services.codes.domain.programs import (
    MAX_CODE_PACKS,
    MAX_WEBHOOK_ATTRIBUTES,
    checked_alphabet,
    checked_code_packs,
    checked_link_url,
    checked_webhook_attributes,
)
from shared.canonical import MAX_STORED_LENGTH, checked_code
from shared.currencies import checked_currency
from shared.strict_json import number_as_text
from shared.web import Int, LongText, Number, QueryAddress, RequestModel, Spelled, Text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _once_each(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _map(value: Any) -> Any:
    # We write an empty map as [], so a client may send that back.
    return {} if value == [] else value


def _each_once(amounts: Any) -> Any:
    if isinstance(amounts, dict) and len({str(currency).upper() for currency in amounts}) < len(amounts):
        raise ValueError("must not name a currency twice")
    return amounts


def _scalar(value: Any) -> Any:
    if isinstance(value, str) and len(value) > 500:
        raise ValueError("must not have more than 500 characters")
    if isinstance(value, dict | list):
        raise ValueError("must be a string, a number, true, false or null")  # noqa: TRY004 - pydantic reads ValueError
    if isinstance(value, int) and abs(value) > MAX_MINOR:
        raise ValueError("must be a number that JSON can hold exactly")
    return value


Name = Annotated[Text, AfterValidator(_not_blank)]
ShortName = Annotated[Text, StringConstraints(max_length=100), AfterValidator(_not_blank)]
Email = Annotated[Text, AfterValidator(checked_email)]
QueryEmail = Annotated[QueryAddress, AfterValidator(checked_email)]
Prefix = Annotated[Text, AfterValidator(checked_prefix)]
Currency = Annotated[Text, AfterValidator(checked_currency)]
LinkURL = Annotated[LongText, StringConstraints(max_length=2000), AfterValidator(checked_link_url)]
Alphabet = Annotated[Text, AfterValidator(checked_alphabet)]
CodeLength = Annotated[Int, Field(ge=4, le=64)]
CodesPerOrder = Annotated[Int, Field(ge=1, le=10)]
LifetimeSeconds = Annotated[Int, Field(ge=60, le=315_360_000)]
WebhookAttributes = Annotated[
    list[Text], Field(max_length=MAX_WEBHOOK_ATTRIBUTES), AfterValidator(checked_webhook_attributes)
]
CodePacks = Annotated[
    list[Annotated[Int, Field(ge=1, le=MAX_CODES)]],
    Field(max_length=MAX_CODE_PACKS),
    AfterValidator(checked_code_packs),
]
RateLimit = Annotated[Int, Field(ge=1, le=1_000_000)]
QueryBool = Literal["true", "false"]
CodePrefix = Annotated[Text, AfterValidator(canonical_prefix)]
Count = Annotated[Int, Field(ge=1, le=MAX_COUNT)]
Remaining = Annotated[Int, Field(ge=0, le=MAX_MINOR)]
Amount = Annotated[Number, Field(ge=0)]
Percent = Annotated[Number, Field(ge=0, le=100)]
# Null and absent mean the same: an existing currency stays.
OF_PROGRAM: Final = "If absent or null, unchanged; for a new coupon, the program's."
OF_COUPON: Final = "If absent or null, unchanged; at creation, the coupon's, or else the program's."
# A percentage that is read as hundredths of a percent.
Hundredths = Annotated[Percent, AfterValidator(hundredths)]
AmountsByCurrency = Annotated[dict[Currency, Amount], Field(max_length=50), BeforeValidator(_each_once)]
_TEXT_OR_NUMBER: Final = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 255}, {"type": "integer"}]}
# What others name: their numbers are taken for the texts that they are written by.
ExternalID = Annotated[
    Text, Field(min_length=1), BeforeValidator(number_as_text), WithJsonSchema(_TEXT_OR_NUMBER, mode="validation")
]
Reference = Annotated[
    Name, Field(min_length=1), BeforeValidator(number_as_text), WithJsonSchema(_TEXT_OR_NUMBER, mode="validation")
]
# A few sentences to another person, such as what an order is for, or why it is refused.
Note = Annotated[LongText, StringConstraints(max_length=1000), AfterValidator(_not_blank)]
UUIDCode = Annotated[
    Text,
    BeforeValidator(number_as_text),
    Field(min_length=1, pattern="^[A-Za-z0-9_-]+$"),
    Spelled("must consist of the letters A to Z and a to z, digits, - and _"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Za-z0-9_-]+$"},
                {"type": "integer"},
            ]
        },
        mode="validation",
    ),
]
# An approximation that every dialect of patterns supports; `checked_code` decides.
CODE_SCHEMA: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_STORED_LENGTH,
    "pattern": r"""^[^\x00-\x1f"$'()*,/:-@\[-^`{-\x9f]+$""",
}
CODE_OR_NUMBER: Final[dict[str, Any]] = {"anyOf": [CODE_SCHEMA, {"type": "integer"}]}
CodeText = Annotated[str, BeforeValidator(number_as_text), AfterValidator(checked_code), WithJsonSchema(CODE_OR_NUMBER)]
ProductIds = Annotated[list[ExternalID], Field(max_length=1000), AfterValidator(_once_each)]
_SCALAR: Final = {"type": ["string", "number", "boolean", "null"], "maxLength": 500}
_MetadataValue = Annotated[Any, AfterValidator(_scalar), WithJsonSchema(_SCALAR)]
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], _MetadataValue],
    Field(max_length=50),
    BeforeValidator(_map),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": _SCALAR, "maxProperties": 50},
                {"type": "array", "maxItems": 0},
            ]
        }
    ),
]
# In answers: an amount in major units or a percentage; a whole number has no fraction.
Money = Annotated[
    Decimal,
    PlainSerializer(as_number, return_type=int | float),
    WithJsonSchema({"type": "number"}, mode="serialization"),
]


class _NullIsAbsent:
    """Marks a field whose null says no more than its absence."""


# Clients of typed languages send null for what nobody has set.
Flag = Annotated[bool, _NullIsAbsent(), WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "null"}]})]


@cache
def _flags_of(model: type[RequestModel]) -> frozenset[str]:
    return frozenset(
        field.alias or name
        for name, field in model.model_fields.items()
        if any(isinstance(each, _NullIsAbsent) for each in field.metadata)
    )


class FlaggedRequest(RequestModel):
    """A body whose flags may be null, which leaves them as they are."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_null_flags(cls, members: Any) -> Any:
        if not isinstance(members, dict) or None not in members.values():
            return members
        flags = _flags_of(cls)
        return {name: value for name, value in members.items() if value is not None or name not in flags}


def is_true(value: QueryBool | None) -> bool | None:
    """Return the value of a query parameter; None if it is absent."""
    return None if value is None else value == "true"
