"""What checkouts send and receive over HTTP: the shapes that several routes share."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from services.redemption.domain.books import Redemption
from services.redemption.domain.details import ADDRESS, flag, is_address, is_blank
from services.redemption.domain.lines import Taken, taken_of
from services.redemption.domain.terms import CodeTerms
from shared.events.checkout import Currency, Customer, Item, MinorUnits, Order, ProductId, not_blank
from shared.events.envelope import trusted
from shared.events.redemption import Terms
from shared.modes import is_test
from shared.strict_json import number_as_text
from shared.web import Moment, RequestModel, ResponseModel, TenantId, Text

_TIMES_OF_TERMS: Final = ("starts_at", "expires_at", "coupon_starts_at", "coupon_expires_at")
RequiredText = Annotated[Text, Field(min_length=1)]
_TEXT_OR_NUMBER: Final = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 255}, {"type": "integer"}]}
# Shops number their orders, customers and codes, so a number is accepted as its text.
Reference = Annotated[
    RequiredText, BeforeValidator(number_as_text), AfterValidator(not_blank), WithJsonSchema(_TEXT_OR_NUMBER)
]
OrderFilter = Annotated[Text, AfterValidator(not_blank)]
GivenCode = Annotated[RequiredText, BeforeValidator(number_as_text), WithJsonSchema(_TEXT_OR_NUMBER)]
Codes = Annotated[list[GivenCode], Field(min_length=1, max_length=10)]
# A request gets an error for a typing mistake; an event reports a paid purchase, which no detail may stop.
UNKNOWN_REFUSED: Final = (
    "Unknown members are refused (422), also in `order` and `customer`; the event `checkout.completed` ignores them."
)


def _object(value: Any) -> Any:
    return {} if value == [] else value


# Some senders write an empty object as an empty list.
Attributes = Annotated[
    dict[str, Any],
    BeforeValidator(_object),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "array", "maxItems": 0}]}),
]


def _none_if_blank(value: Any) -> Any:
    return None if is_blank(value) else value


def _address(value: str) -> str:
    if not is_address(value):
        raise ValueError("must be an e-mail address")
    return value


# What shops write for guests, and for goods without a number.
_REFERENCE_OR_EMPTY: Final = {
    "anyOf": [{"type": "string", "maxLength": 255}, {"type": "integer"}, {"type": "null"}],
    "default": None,
}
CustomerId = Annotated[Reference | None, BeforeValidator(_none_if_blank), WithJsonSchema(_REFERENCE_OR_EMPTY)]
EmailAddress = Annotated[
    str,
    StringConstraints(max_length=320),
    AfterValidator(_address),
    WithJsonSchema({"type": "string", "maxLength": 320, "pattern": ADDRESS}),
]
Flag = Annotated[
    bool,
    BeforeValidator(flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]}),
]


class CustomerBody(RequestModel):
    """Who buys. Uses per customer are counted by the id and by the mailbox; an empty one counts as absent."""

    id: CustomerId = None
    email: EmailAddress | None = None
    is_first_order: Flag | None = None


class ItemBody(RequestModel):
    """One line of the order; other members than these two are passed on."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    product_id: Annotated[ProductId | None, BeforeValidator(_none_if_blank), WithJsonSchema(_REFERENCE_OR_EMPTY)] = None
    amount: MinorUnits | None = Field(None, description="The total price of the line, in minor units.")


class OrderBody(RequestModel):
    """The purchase; amounts are integers in minor units of the currency (ISO 4217)."""

    currency: Currency | None = None
    subtotal: MinorUnits | None = None
    items: Annotated[list[ItemBody], Field(max_length=500)] | None = None


class LineDiscountData(ResponseModel):
    """The discount of a code on one line of the order, by its position in `items`, from 0."""

    line: int
    product_id: str | None
    discount_minor: int


class DiscountData(ResponseModel):
    """The discount of a code; `applied_minor` is null if the order has too little information."""

    type: Literal["percent", "static"]
    percent_hundredths: int | None
    amount_minor: int | None
    currency: str | None
    applied_minor: int | None
    lines: list[LineDiscountData] | None = Field(description="The discount per line; null without items.")


class CommissionData(ResponseModel):
    """The partner's commission: a share of the payment after discounts; refunds and later codes reduce it."""

    percent_hundredths: int
    amount_minor: int | None
    currency: str | None


class RedemptionData(ResponseModel):
    """One code redeemed by one order; `is_counted` says whether it takes up a use."""

    id: uuid.UUID
    status: Literal["redeemed", "voided"]
    code: str
    code_id: uuid.UUID
    coupon_id: uuid.UUID
    partner_id: TenantId | None
    order_ref: str
    customer_id: str | None
    discount: DiscountData
    discount_ends_at: Moment | None
    commission: CommissionData | None
    occurred_at: Moment
    voided_at: Moment | None
    void_reason: str | None
    is_counted: bool
    is_self_referral: bool = Field(description="Whether the code's own partner is the buyer.")
    terms: Terms
    is_test: bool


class RedeemedData(ResponseModel):
    """An order's codes, redeemed now or by an earlier request about the same order."""

    order_ref: str
    redemptions: list[RedemptionData]
    notice: str | None = Field(None, description="Present if nothing could be taken back.")


def customer_of(body: CustomerBody | None) -> Customer | None:
    """Return the customer in the form of events."""
    return None if body is None else Customer(id=body.id, email=body.email, is_first_order=body.is_first_order)


def order_of(body: OrderBody | None) -> Order | None:
    """Return the order in the form of events."""
    if body is None:
        return None
    items: list[Item] | None = None
    if body.items is not None:
        items = [cast("Item", item.model_dump(exclude_unset=True)) for item in body.items]
    return Order(currency=body.currency, subtotal=body.subtotal, items=items)


def redemption_data(redemption: Redemption) -> RedemptionData:
    """Return a redemption in the form of this API."""
    rate = redemption.commission_hundredths
    return trusted(
        RedemptionData,
        id=redemption.id,
        status="redeemed" if redemption.voided_at is None else "voided",
        code=redemption.code,
        code_id=redemption.code_id,
        coupon_id=redemption.coupon_id,
        partner_id=redemption.partner_id,
        order_ref=redemption.order_ref,
        customer_id=redemption.customer_id,
        discount=trusted(
            DiscountData,
            type=redemption.discount_type,
            percent_hundredths=redemption.percent_hundredths,
            amount_minor=redemption.amount_minor,
            currency=redemption.currency,
            applied_minor=redemption.discount_minor,
            lines=line_discounts(taken_of(redemption.discount_minor, redemption.lines)),
        ),
        discount_ends_at=redemption.discount_ends_at,
        commission=None
        if rate is None
        else trusted(
            CommissionData,
            percent_hundredths=rate,
            amount_minor=redemption.commission_minor,
            currency=redemption.currency,
        ),
        occurred_at=redemption.occurred_at,
        voided_at=redemption.voided_at,
        void_reason=redemption.void_reason,
        is_counted=redemption.is_counted,
        is_self_referral=redemption.is_self_referral,
        terms=_terms_of(redemption.terms),
        is_test=is_test(redemption.program_id),
    )


def _terms_of(text: str) -> Terms:
    members = orjson.loads(text)
    for name in _TIMES_OF_TERMS:
        if members[name] is not None:
            members[name] = datetime.fromisoformat(members[name])
    # Written by this service; checking them would cost as much as the rest of a redemption.
    return trusted(Terms, **members)


def line_discounts(taken: Taken) -> list[LineDiscountData] | None:
    """Return the discount per line in the form of this API."""
    if taken.lines is None:
        return None
    return [
        trusted(LineDiscountData, line=line, product_id=product, discount_minor=minor)
        for line, product, minor in taken.lines
    ]


def discount_data(terms: CodeTerms, currency: str | None, taken: Taken) -> DiscountData:
    """Return the discount of a code on an order in that currency."""
    static = terms.static_amount(currency)
    return trusted(
        DiscountData,
        type=terms.discount_type,
        percent_hundredths=terms.percent_hundredths,
        amount_minor=terms.amount_minor if static is None else static,
        currency=currency or terms.currency,
        applied_minor=taken.amount_minor,
        lines=line_discounts(taken),
    )
