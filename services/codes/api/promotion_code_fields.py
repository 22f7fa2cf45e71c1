"""What requests of the coupon API say about promotion codes, and its translation into the members of a code.

As with coupons, a change is laid over the code as it is and the whole is translated.
"""

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from services.codes.api.exchange import Tenant
from services.codes.api.faults import Faults
from services.codes.api.fields import CODE_SCHEMA, Amount, CodeText, Count, Currency, ExternalId, Metadata, Percent
from services.codes.api.redeeming import Redeeming
from services.codes.domain.coupons import id_in, merged
from services.codes.domain.days import as_end, as_start
from services.codes.domain.money import decimal_places, hundredths, minor_units
from services.codes.domain.programs import ProgramSettings
from services.codes.domain.promotion_codes import CodeChanges, CodeDraft, PromotionCode
from shared.canonical import canonical_code, checked_code
from shared.modes import shown_id
from shared.web import InstantOrDate, RequestModel, Text, field_error

# What this API calls members that an error names.
CODE_WORDS: Final = {"partner_id": "coupon_specific_partners.id"}
CODE_TEXT: Final = (
    "What customers type; generated if absent. Letters of any script, digits, blanks, dashes, `_` and the marks "
    "`% + . & ! #`, with at least one letter or digit; no word mixes Latin, Cyrillic and Greek letters."
)
_RENAMED: Final = {
    "external_id": "external_id",
    "active": "is_active",
    "first_time_order": "is_first_order_only",
    "limit_to_specific_customer": "is_limited_to_customer",
    "partner_only": "is_limited_to_partner",
}
_FLAGGED: Final = (
    ("expiration_date_status", "expiration_date_value"),
    ("redemption_times_status", "redemption_times_value"),
    ("minimum_order_status", "minimum_order_value"),
    ("limit_to_specific_partner", "coupon_specific_partners"),
    ("limit_to_specific_customer", "coupon_specific_customers"),
)


def _single(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError("must name one; a code is limited to one or to none")
        return value[0] if value else None
    return value


def _false(value: bool) -> bool:
    if value:
        raise ValueError("must be false; there are no subscribers here, but limit_to_specific_customer")
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
    full_name: Text | None = Field(None, description="For people; the partner's own name is kept.")


class SpecificCustomer(RequestModel):
    """The one customer who may use the code."""

    id: ExternalId
    customer_full_name: ExternalId | None = None


class CodeMembers(RequestModel):
    """A code, as far as it says more than its coupon."""

    code: CodeText | None = Field(None, description=CODE_TEXT)
    active: bool = Field(default_factory=bool)
    first_time_order: bool = Field(default_factory=bool, description="Only for a customer's first order.")
    limit_to_specific_partner: bool = Field(default_factory=bool, description="Whether it belongs to a partner.")
    coupon_specific_partners: Annotated[SpecificPartner | None, BeforeValidator(_single), _OneOrList()] = None
    limit_to_specific_customer: bool = Field(default_factory=bool)
    coupon_specific_customers: Annotated[SpecificCustomer | None, BeforeValidator(_single), _OneOrList()] = None
    limit_to_specific_subscriber: Annotated[bool, AfterValidator(_false), WithJsonSchema({"const": False})] = Field(
        default_factory=bool, description="There are no subscribers here."
    )
    coupon_specific_subscribers: Annotated[list[Any], Field(max_length=0)] | None = None
    minimum_order_status: bool = Field(default_factory=bool)
    minimum_order_value: Amount | None = None
    minimum_order_currency: Currency | None = Field(None, description="The program's if absent.")
    expiration_date_status: bool = Field(default_factory=bool)
    expiration_date_value: InstantOrDate | None = None
    redemption_times_status: bool = Field(default_factory=bool)
    redemption_times_value: Count | None = None
    metadata: Metadata = Field(default_factory=dict)
    external_id: ExternalId | None = Field(None, description="What others call it; unique within the program.")
    starts_at: InstantOrDate | None = None
    partner_only: bool = Field(default_factory=bool, description="Whether only its partner may use it.")
    commission_percent: Percent | None = Field(None, description="The partner's share; the coupon's if absent.")


class PromotionCodeCreation(CodeMembers):
    """A code to be made."""

    coupon_uuid: Annotated[Text, Field(min_length=1)] = Field(description="The coupon's `uuid_code` or id.")


class PromotionCodeChange(CodeMembers):
    """Members to be changed; the others stay. Terms are frozen once a redemption is known."""


class NamedCodeChange(CodeMembers, Redeeming):
    """Members to be changed of the code that `code` names, in any spelling."""

    code: Text = Field(min_length=1)


class _StringOrObject:
    """Documents an item that is a code's string or the whole code."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> JsonSchemaValue:
        return {"anyOf": [CODE_SCHEMA, handler(core)]}


def _as_object(value: Any) -> Any:
    if isinstance(value, str):
        # Found here, so that it is named as it is in an object.
        try:
            return {"code": checked_code(value)}
        except ValueError as error:
            raise field_error("code", str(error)) from None
    if not isinstance(value, dict):
        raise ValueError("must be a code or an object")  # noqa: TRY004 - the text goes to the client
    return value


NewCode = Annotated[CodeMembers, BeforeValidator(_as_object), _StringOrObject()]


def new_code(body: CodeMembers, tenant: Tenant, prefix: str = "") -> CodeDraft:
    """Return the code that a request asks for; `prefix` stands before the names of fields at fault.

    `tenant` tells whom the request means by a partner's id.
    """
    values: dict[str, Any] = {"active": True, **_given(body)}
    named = body.coupon_specific_partners

    def members(settings: ProgramSettings) -> Mapping[str, Any]:
        made = _members(values, settings, tenant, prefix)
        # Whose it is has been found out by then.
        made.pop("partner_id")
        return {**made, "metadata": merged({}, body.metadata)}

    # An id that is none belongs to nobody, so it is looked for as one that nobody has.
    partner_id = tenant(id_in(named.id) or uuid.UUID(int=0)) if named else None
    return CodeDraft(code=body.code, partner_id=partner_id, members=members)


def changed_code(body: CodeMembers, tenant: Tenant, *, can_rename: bool) -> CodeChanges:
    """Return how a request changes the members of a code."""
    given = _given(body)

    def changes(settings: ProgramSettings, code: PromotionCode) -> Mapping[str, Any]:
        made = _members(_laid_over(_values(code), given), settings, tenant, before=code)
        if not {"limit_to_specific_customer", "coupon_specific_customers"} & given.keys():
            # Kept also where it only says who got the code, without a limit.
            made |= {"customer_id": code.customer_id, "customer_name": code.customer_name}
        if "metadata" in given:
            made["metadata"] = merged(code.metadata, body.metadata)
        if can_rename and body.code is not None:
            made |= {"code": body.code, "canonical": canonical_code(body.code)}
        return made

    return changes


def money(
    faults: Faults, values: Mapping[str, Any], amount: str, currency: str, usual: str
) -> tuple[int | None, str | None]:
    """Return an amount in minor units with its currency, the usual one if none is given; both None without one."""
    value, named = values.get(amount), values.get(currency)
    if value is None:
        if named is not None:
            faults.add(amount, f"is required beside {currency}")
        return None, None
    chosen = named or usual
    return faults.converted(amount, value, lambda each: minor_units(each, chosen)), chosen


def _given(body: CodeMembers) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.model_fields_set}


def _laid_over(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    made = {**values, **given}
    for flag, field in _FLAGGED:
        if given.get(flag) is False and field not in given:
            made[field] = None
    if made["minimum_order_value"] is None and "minimum_order_currency" not in given:
        made["minimum_order_currency"] = None
    return made


def _members(
    values: Mapping[str, Any],
    settings: ProgramSettings,
    tenant: Tenant,
    prefix: str = "",
    before: PromotionCode | None = None,
) -> dict[str, Any]:
    faults = Faults(prefix)
    made = {ours: values[theirs] for theirs, ours in _RENAMED.items() if theirs in values}
    expiry, made["redemption_limit"], _, partner, customer = (
        faults.flagged(values, flag, field) for flag, field in _FLAGGED
    )
    made["starts_at"] = as_start(values.get("starts_at"), settings.timezone)
    made["expires_at"] = as_end(expiry, settings.timezone)
    faults.check_dates("expiration_date_value", made, before)
    made["minimum_minor"], made["minimum_currency"] = money(
        faults, values, "minimum_order_value", "minimum_order_currency", settings.currency
    )
    made["partner_id"] = tenant(id_in(partner.id) or uuid.UUID(int=0)) if partner else None
    made["customer_id"] = customer.id if customer else None
    made["customer_name"] = customer.customer_full_name if customer else None
    if values.get("partner_only") and partner is None:
        faults.add("partner_only", "must be false for a code without a partner")
    made["commission_hundredths"] = faults.converted("commission_percent", values.get("commission_percent"), hundredths)
    faults.refuse()
    return made


def _values(code: PromotionCode) -> dict[str, Any]:
    """Return a code in the words of this API, amounts as exact decimals."""
    customer = None
    if code.is_limited_to_customer and code.customer_id is not None:
        customer = SpecificCustomer(id=code.customer_id, customer_full_name=code.customer_name)
    minimum = None
    if code.minimum_minor is not None and code.minimum_currency is not None:
        minimum = Decimal(code.minimum_minor).scaleb(-decimal_places(code.minimum_currency))
    return {theirs: getattr(code, ours) for theirs, ours in _RENAMED.items()} | {
        "limit_to_specific_partner": code.partner_id is not None,
        "coupon_specific_partners": SpecificPartner(id=shown_id(code.partner_id)) if code.partner_id else None,
        "coupon_specific_customers": customer,
        "limit_to_specific_customer": code.is_limited_to_customer,
        "minimum_order_status": minimum is not None,
        "minimum_order_value": minimum,
        "minimum_order_currency": code.minimum_currency,
        "expiration_date_status": code.expires_at is not None,
        "expiration_date_value": code.expires_at,
        "starts_at": code.starts_at,
        "redemption_times_status": code.redemption_limit is not None,
        "redemption_times_value": code.redemption_limit,
        "commission_percent": None
        if code.commission_hundredths is None
        else Decimal(code.commission_hundredths).scaleb(-2),
    }
