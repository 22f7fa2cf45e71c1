"""What a checkout publishes on the exchange `checkout`. Its members are the public contract with checkout systems."""

import uuid
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
)
from typing_extensions import TypedDict

from shared.currencies import checked_currency
from shared.events.envelope import EventData, ShortText
from shared.modes import Mode, in_mode, is_test
from shared.strict_json import integral, number_as_text


def _currency(value: object) -> object:
    return checked_currency(value) if isinstance(value, str) else value


Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), BeforeValidator(_currency)]
# A program id travels as text; JSON has no UUIDs.
EventUUID = Annotated[uuid.UUID, Field(strict=False)]


def _known_to_callers(program_id: uuid.UUID) -> uuid.UUID:
    # As over HTTP: the id of a test tenant, copied from a log line, never means a live order.
    if is_test(program_id):
        raise ValueError("must be the id of a program")
    return program_id


ProgramId = Annotated[EventUUID, AfterValidator(_known_to_callers)]
MAX_MINOR_UNITS = 2**53 - 1
MinorUnits = Annotated[int, Field(ge=0, le=MAX_MINOR_UNITS), BeforeValidator(integral)]


def _short_scalar(value: object) -> object:
    if isinstance(value, str) and len(value) > 500:
        raise ValueError("must not have more than 500 characters")
    if isinstance(value, (dict, list)):
        raise ValueError("must be a text, a number, a boolean or null")  # noqa: TRY004 - pydantic reads ValueError
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("must be a number from -2^63 to 2^64 - 1")
    return value


def not_blank(text: str) -> str:
    """Return a text; raises ValueError if nothing of it is visible."""
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _unjudged(value: Any, _: Any) -> Any:
    return value


Attribute = Annotated[str | int | float | bool | None, BeforeValidator(_short_scalar)]
Attributes = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=100)], Attribute], Field(max_length=50)
]
# What a checkout should send. Read leniently: no purchase is refused for a detail that decides nothing.
GivenAttributes = Annotated[Attributes | None, WrapValidator(_unjudged)]
# Shops number their orders and customers, so a number is accepted as its text.
Reference = Annotated[ShortText, BeforeValidator(number_as_text), AfterValidator(not_blank)]
ProductId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    BeforeValidator(number_as_text),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1, "maxLength": 255}, {"type": "integer"}]}),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Customer(_Part):
    """The buyer."""

    id: Reference | None = None
    email: Annotated[str, StringConstraints(max_length=320)] | None = None
    is_first_order: bool | None = None


class Item(TypedDict, total=False):
    """One line and its total price in minor units. Other members are passed on."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)  # type: ignore[misc]  # pydantic's

    product_id: ProductId | None
    amount: MinorUnits | None


class Order(_Part):
    """The purchase; amounts are integers in minor units of the currency (ISO 4217)."""

    currency: Currency | None = None
    subtotal: MinorUnits | None = None
    items: Annotated[list[Item], Field(max_length=500)] | None = None


def _in_accord(said: bool | None, info: ValidationInfo) -> bool | None:
    # A member of our own events: a checkout that copied it means the mode, and a test order must never count as live.
    if said is not None and "mode" in info.data and said != (info.data["mode"] == "test"):
        raise ValueError('does not agree with mode: a test order says "mode": "test", a live one "live" or nothing')
    return said


class _Checkout(EventData):
    """The members of every checkout event: the program of the order, and the mode in which it was placed."""

    program_id: ProgramId
    order_ref: Reference
    mode: Mode = Field(
        "live", description="`test` for an order that redeems test codes and nothing live; any other value is refused."
    )
    is_test: Annotated[bool | None, AfterValidator(_in_accord)] = Field(
        None,
        exclude=True,
        description="Optional: true only with the mode `test`, false only with `live`; anything else is refused.",
    )

    @property
    def tenant(self) -> uuid.UUID:
        """The tenant that the order belongs to: the program in that mode."""
        return in_mode(self.program_id, test=self.mode == "test")


class CheckoutCompletedV1(_Checkout):
    """An order was paid with 1 to 10 codes."""

    type: ClassVar[str] = "checkout.completed"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "checkout"

    codes: Annotated[list[Annotated[ShortText, BeforeValidator(number_as_text)]], Field(min_length=1, max_length=10)]
    customer: Customer | None = None
    order: Order | None = None
    reservation_id: ShortText | None = None
    attributes: GivenAttributes = None


class _TakenBack(_Checkout):
    """The members of an event that takes an order back."""

    reason: ShortText | None = None
    amount: MinorUnits | None = None
    release: bool | None = None


class CheckoutCancelledV1(_TakenBack):
    """An order was cancelled; its earlier purchases are voided, including those received later.

    `release` false keeps the uses from becoming free again.
    """

    type: ClassVar[str] = "checkout.cancelled"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "checkout"


class CheckoutRefundedV1(_TakenBack):
    """An order was refunded: all of it, or `amount` in minor units.

    A partial refund is recorded and voids nothing, until the refunds add up to the payment, or `release` is true.
    """

    type: ClassVar[str] = "checkout.refunded"
    version: ClassVar[int] = 1
    source: ClassVar[str] = "checkout"
