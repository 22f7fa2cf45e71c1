"""Coupons and promotion codes in requests of the coupon API."""

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue

from services.codes.api.context import given, partner_in
from services.codes.api.fields import (
    CODE_OR_NUMBER,
    OF_COUPON,
    OF_PROGRAM,
    Amount,
    AmountsByCurrency,
    CodeText,
    Count,
    Currency,
    ExternalID,
    Flag,
    FlaggedRequest,
    Hundredths,
    Metadata,
    Name,
    ProductIds,
    UUIDCode,
)
from services.codes.api.management.redeeming import Redeeming
from services.codes.api.management.words import CODE_WORDS, COUPON_MEMBERS
from services.codes.domain.code_terms import CodeDraft, CodeTerms
from services.codes.domain.coupon_terms import CouponDraft, CouponTerms
from services.codes.domain.coupons import MAX_COUNT
from services.codes.domain.given import Given
from shared.canonical import checked_code
from shared.strict_json import number_as_text
from shared.web import InstantOrDate, Int, Request, RequestModel, Text, field_error

CODE_TEXT: Final = (
    "What customers type; generated if absent. Letters of any script, digits, blanks, dashes, `_` and the marks "
    "`% + . & ! #`, with at least one letter or digit; no word mixes Latin, Cyrillic and Greek letters."
)


def _single(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError("must name exactly one; a code is limited to one or to none")
        return value[0] if value else None
    return value


def _false(value: bool) -> bool:
    if value:
        raise ValueError("must be false: subscribers are not supported; use limit_to_specific_customer")
    return value


class _OneOrList:
    """Documents a field that takes an object, or a list of at most one."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> JsonSchemaValue:
        schema: JsonSchemaValue = handler(core)
        return {"anyOf": [schema, {"type": "array", "items": schema, "maxItems": 1}]}


class SpecificPartner(RequestModel):
    """The partner that the code belongs to."""

    id: Text
    full_name: Text | None = Field(None, description="For information; the partner keeps its own name.")


class SpecificCustomer(RequestModel):
    """The one customer who may use the code."""

    id: ExternalID
    customer_full_name: ExternalID | None = None


class CodeMembers(FlaggedRequest):
    """The members of a code that add to its coupon."""

    code: CodeText | None = Field(None, description=CODE_TEXT)
    active: Flag = Field(default_factory=bool)
    first_time_order: Flag = Field(default_factory=bool, description="Only for a customer's first order.")
    limit_to_specific_partner: Flag = Field(default_factory=bool, description="Whether it belongs to a partner.")
    coupon_specific_partners: Annotated[SpecificPartner | None, BeforeValidator(_single), _OneOrList()] = None
    limit_to_specific_customer: Flag = Field(default_factory=bool)
    coupon_specific_customers: Annotated[SpecificCustomer | None, BeforeValidator(_single), _OneOrList()] = None
    limit_to_specific_subscriber: Annotated[Flag, AfterValidator(_false), WithJsonSchema({"enum": [False, None]})] = (
        Field(default_factory=bool, description="Subscribers are not supported.")
    )
    coupon_specific_subscribers: Annotated[list[Any], Field(max_length=0)] | None = None
    minimum_order_status: Flag = Field(default_factory=bool)
    minimum_order_value: Amount | None = None
    minimum_order_currency: Currency | None = Field(None, description=OF_COUPON)
    expiration_date_status: Flag = Field(default_factory=bool)
    expiration_date_value: InstantOrDate | None = None
    redemption_times_status: Flag = Field(default_factory=bool)
    redemption_times_value: Count | None = None
    metadata: Metadata = Field(default_factory=dict)
    external_id: ExternalID | None = Field(None, description="Your own id for it; unique within the program.")
    starts_at: InstantOrDate | None = None
    partner_only: Flag = Field(default_factory=bool, description="Whether only its partner may use it.")
    commission_percent: Hundredths | None = Field(None, description="The partner's share; the coupon's if absent.")


class PromotionCodeCreation(CodeMembers):
    """A new code."""

    coupon_uuid: ExternalID = Field(
        validation_alias=AliasChoices("coupon_uuid", "coupon_id"),
        description="The coupon's `uuid_code` or id. Clients that call it `coupon_id` may do so.",
    )


class PromotionCodeChange(CodeMembers):
    """Members to change; the others stay. Terms are frozen once a redemption exists."""


class NamedCodeChange(CodeMembers, Redeeming):
    """Changes to the code that `code` names, in any spelling."""

    code: ExternalID


class _StringOrObject:
    """Documents an item that is a code's string or a code object."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> JsonSchemaValue:
        return {"anyOf": [*CODE_OR_NUMBER["anyOf"], handler(core)]}


def _as_object(value: Any) -> Any:
    value = number_as_text(value)
    if isinstance(value, str):
        # Checked here, so that the error names it as in an object.
        try:
            return {"code": checked_code(value)}
        except ValueError as error:
            raise field_error("code", str(error)) from None
    if not isinstance(value, dict):
        raise ValueError("must be a code or an object")  # noqa: TRY004 - the text goes to the client
    return value


NewCode = Annotated[CodeMembers, BeforeValidator(_as_object), _StringOrObject()]


def new_code(request: Request, body: CodeMembers) -> CodeDraft:
    """Return the requested code."""
    return CodeDraft(code_changes(request, body))


def code_changes(request: Request, body: CodeMembers) -> Given[CodeTerms]:
    """Return the members of a code in a request."""
    others: dict[str, object] = {}
    if "coupon_specific_partners" in body.model_fields_set:
        partner = body.coupon_specific_partners
        others["partner_id"] = partner_in(request, partner.id) if partner else None
    if "coupon_specific_customers" in body.model_fields_set:
        customer = body.coupon_specific_customers
        others["customer_id"] = customer.id if customer else None
        others["customer_name"] = customer.customer_full_name if customer else None
    return given(CodeTerms, body, CODE_WORDS, **others)


class Sync(RequestModel):
    """Where to push the coupon."""

    provider: Literal["stripe", "shopify", "woocommerce", "paddle"] = Field(
        description="Must be connected to the program."
    )


class _CouponFields(FlaggedRequest):
    name: Name | None = Field(None, description="Shown to customers; the `uuid_code` if absent.")
    active: Flag = Field(default_factory=bool)
    redemption_specific_date_status: Flag = Field(default_factory=bool, description="Whether it expires.")
    redemption_specific_date_value: InstantOrDate | None = None
    redemption_times_status: Flag = Field(default_factory=bool, description="Whether its uses are limited.")
    redemption_times_value: Count | None = None
    metadata: Metadata = Field(default_factory=dict)
    sync: Sync | None = None
    external_id: ExternalID | None = Field(None, description="Your own id for it; unique within the program.")
    coupon_discount_currency: Currency | None = Field(
        None, description=f"The currency of the static amount and of the maximum discount. {OF_PROGRAM}"
    )
    coupon_discount_max_amount: Amount | None = Field(None, description="The maximum discount of a percentage.")
    coupon_discount_amounts: AmountsByCurrency = Field(
        default_factory=dict, description="The static amount in further currencies."
    )
    starts_at: InstantOrDate | None = None
    redemptions_per_code: Count | None = Field(None, description="Uses per code, for codes without their own limit.")
    redemptions_per_customer: Count | None = None
    redemptions_per_day: Count | None = Field(
        None, description="Per day in the program's time zone, as for the next two."
    )
    redemptions_per_week: Count | None = Field(None, description="Weeks begin on Monday.")
    redemptions_per_month: Count | None = None
    budget_amount: Amount | None = Field(None, description="The maximum discount of all uses together.")
    budget_currency: Currency | None = Field(None, description=OF_COUPON)
    first_time_order: Flag = Field(default_factory=bool, description="Only for a customer's first order.")
    minimum_order_value: Amount | None = None
    minimum_order_currency: Currency | None = Field(None, description=OF_COUPON)
    minimum_applies_to: Literal["eligible", "order"] = Field(
        default_factory=lambda: "eligible",
        description="What the minimum of a coupon for some products applies to: these products, or the order.",
    )
    product_ids: ProductIds = Field(
        default_factory=list,
        description="Only for these products; empty for all. The order must list its items with their amounts.",
    )
    excluded_product_ids: ProductIds = Field(
        default_factory=list, description="Not for these products; they are removed from `product_ids`."
    )
    combination: Literal["any", "other_coupons", "none"] = Field(
        default_factory=lambda: "other_coupons",
        description="The other codes that an order may combine with these: any, those of other coupons, none.",
    )
    release_policy: Literal["always", "until_expiry", "never"] = Field(
        default_factory=lambda: "always", description="Whether a voided redemption releases its use."
    )
    commission_percent: Hundredths | None = Field(None, description="The partner's share, unless its code has its own.")

    @property
    def provider(self) -> str | None:
        """Where to push the coupon."""
        return self.sync.provider if self.sync else None


class CouponCreation(_CouponFields):
    """A new coupon."""

    active: Flag = True
    uuid_code: UUIDCode | None = Field(None, description="Its unique name; generated if absent.")
    coupon_discount_type: Literal["percent", "static"]
    coupon_discount_amount: Amount = Field(description="0 to 100 for percent, otherwise an amount.")
    coupon_duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"]
    coupon_duration_value: Count | None = Field(None, description="Required for hours, days, months and years.")
    opening_uses: Annotated[Int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="Earlier uses elsewhere: the count, also for the limit, starts here."
    )
    promotion_codes: list[NewCode] = Field(default_factory=list, max_length=500, description="Codes to create with it.")


class CouponChange(_CouponFields):
    """Members to change; the others stay. Terms are frozen once a redemption exists."""

    coupon_discount_type: Literal["percent", "static"] = Field(default_factory=lambda: "percent")
    coupon_discount_amount: Amount = Field(default_factory=Decimal)
    coupon_duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"] = Field(
        default_factory=lambda: "once"
    )
    coupon_duration_value: Count | None = None


class NamedCouponChange(CouponChange, Redeeming):
    """Changes to the coupon that `uuid_code` names."""

    uuid_code: UUIDCode
    code: ExternalID | None = Field(
        None, description="The code to redeem, in any spelling; required if the coupon has several."
    )

    @model_validator(mode="after")
    def _names_a_code_to_redeem(self) -> "NamedCouponChange":
        if self.code is not None and not self.redeem:
            raise field_error("code", "is for redeem only")
        return self


def new_coupon(body: CouponCreation) -> CouponDraft:
    """Return the requested coupon."""
    return CouponDraft(
        terms=given(CouponTerms, body, COUPON_MEMBERS),
        uuid_code=body.uuid_code,
        opening_uses=body.opening_uses,
        provider=body.provider,
    )


def coupon_changes(body: CouponChange) -> Given[CouponTerms]:
    """Return a request's changes to a coupon."""
    return given(CouponTerms, body, COUPON_MEMBERS)
