"""What requests of the query API say about coupons and promotional codes, and its translation into our members.

Members that hang together (an amount and its currency) are laid over what there is and translated together.
"""

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from services.codes.api.camel import CamelRequest
from services.codes.api.errors import PARTNER
from services.codes.api.exchange import Tenant
from services.codes.api.faults import Faults
from services.codes.api.fields import (
    Amount,
    CodeText,
    Count,
    Currency,
    Email,
    ExternalId,
    Name,
    Percent,
    ProductIds,
)
from services.codes.domain.coupons import Coupon, id_in
from services.codes.domain.days import as_end
from services.codes.domain.money import decimal_places, hundredths, major_units, minor_units, percent
from services.codes.domain.partners import Partner
from services.codes.domain.programs import ProgramSettings
from services.codes.domain.promotion_codes import (
    CodeChanges,
    CodeDraft,
    CodeForm,
    PromotionCode,
    code_word,
)
from shared.canonical import canonical_code
from shared.web import InstantOrDate, Int, Spelled, Text, invalid_field

MAX_MONTHS: Final = 1200
_PART_LENGTH: Final = 20
_DISCOUNT: Final = frozenset({"coupon_type", "percent_off", "amount_off", "currency"})
# What this API calls what an error names.
QUERY_WORDS: Final = {
    "coupon_uuid": "couponId",
    "external_id": "externalId",
    "partner_id": "affiliateId",
    "partner_email": "affiliateEmail",
    PARTNER: "an affiliate",
}
_CODE_RENAMED: Final = {
    "external_id": "external_id",
    "active": "is_active",
    "max_redemptions": "redemption_limit",
    "first_time_order": "is_first_order_only",
    "limit_to_customers": "is_limited_to_customer",
    "customer_id": "customer_id",
    "limit_to_affiliate": "is_limited_to_partner",
    "is_auto_generated": "is_auto_generated",
}


class CodeStructure(CamelRequest):
    """What a generated code is put together from, in this order."""

    first_name: bool = Field(False, description="The affiliate's.")
    last_name: bool = False
    email: bool = Field(False, description="What stands before the @.")
    coupon_name: bool = False
    discount_amount: bool = Field(False, description="With a P for the point: 12P5 for 12.5.")
    random_chars: bool = Field(False, description="Without them a code that is taken gets a number behind it.")


class _CodeFields(CamelRequest):
    code: CodeText | None = None
    active: bool = Field(default_factory=bool)
    expires_at: InstantOrDate | None = None
    max_redemptions: Count | None = None
    first_time_order: bool = Field(default_factory=bool)
    minimum_amount: Amount | None = None
    minimum_amount_currency: Currency | None = Field(None, description="The program's if absent.")
    limit_to_customers: bool = Field(default_factory=bool, description="Only the customer of customerId may use it.")
    customer_id: ExternalId | None = None
    limit_to_affiliate: bool = Field(default_factory=bool, description="Only its affiliate may use it.")


class PromotionalCodeCreation(_CodeFields):
    """A code to be made; one that is left out is generated."""

    coupon_id: Annotated[Text, Field(min_length=1)] = Field(description="The coupon's id or `uuid_code`.")
    affiliate_id: Text | None = None
    affiliate_email: Email | None = None
    external_id: ExternalId | None = None
    active: bool = True
    is_auto_generated: bool = Field(default_factory=bool, description="True if the code is left out.")
    code_structure: CodeStructure | None = None
    prefix: Annotated[
        str,
        Field(max_length=32, pattern="^[A-Za-z0-9_-]*$"),
        Spelled("must consist of the letters A to Z and a to z, digits, - and _"),
    ] = ""
    random_chars_length: Annotated[Int, Field(ge=1, le=32)] | None = Field(
        None, description="The program's code length if absent."
    )
    random_chars_case: Literal["uppercase", "lowercase"] = "uppercase"


class PromotionalCodeChange(_CodeFields):
    """Members to be changed of a code; the others stay."""

    promotional_code_id: Text


class PromotionalCodeDeletion(CamelRequest):
    """The code that is meant."""

    promotional_code_id: Text


class _CouponFields(CamelRequest):
    name: Name = Field(default_factory=str)
    external_id: ExternalId | None = None
    active: bool = Field(default_factory=bool)
    coupon_type: Literal["PERCENTAGE", "FIXED"] | None = Field(None, description="Told by percentOff or amountOff.")
    percent_off: Percent | None = None
    amount_off: Amount | None = None
    currency: Currency | None = Field(None, description="The program's if absent.")
    duration: Literal["once", "forever", "repeating"] = Field(default_factory=lambda: "once")
    duration_in_months: Annotated[Int, Field(ge=1, le=MAX_MONTHS)] | None = Field(
        None, description="Required when it is repeating."
    )
    max_redemptions: Count | None = None
    limit_to_products: bool = Field(default_factory=bool)
    product_ids: ProductIds = Field(default_factory=list)
    redeem_by: InstantOrDate | None = None


class QueryCouponCreation(_CouponFields):
    """A coupon to be made."""

    name: Name
    active: bool = True
    duration: Literal["once", "forever", "repeating"] = "once"


class QueryCouponChange(_CouponFields):
    """Members to be changed of a coupon; the others stay. Terms are frozen once a redemption is known."""

    coupon_id: Text


class QueryCouponDeletion(CamelRequest):
    """The coupon that is meant."""

    coupon_id: Text


def new_code(body: PromotionalCodeCreation, tenant: Tenant) -> CodeDraft:
    """Return the code that a request asks for; `tenant` tells whom it means by a partner's id."""
    values = {"active": True, "is_auto_generated": body.code is None, **_given(body)}
    owner = body.affiliate_id or body.affiliate_email

    def members(settings: ProgramSettings) -> Mapping[str, Any]:
        faults = Faults()
        if body.code is None and not values["is_auto_generated"]:
            faults.add("code", "is required when isAutoGenerated is false")
        structure = body.code_structure
        if structure and not structure.random_chars and body.random_chars_length is not None:
            faults.add("randomCharsLength", "must be null unless codeStructure.randomChars is true")
        made = _code_members(faults, values, settings, has_owner=owner is not None)
        faults.refuse()
        return made

    affiliate_id = None if body.affiliate_id is None else tenant(id_in(body.affiliate_id) or uuid.UUID(int=0))
    return CodeDraft(
        code=body.code,
        partner_id=affiliate_id,
        partner_email=body.affiliate_email,
        form=lambda settings, coupon, partner: _form(body, settings, coupon, partner),
        members=members,
    )


def changed_code(body: PromotionalCodeChange) -> CodeChanges:
    """Return how a request changes the members of a code."""
    given = _given(body)

    def changes(settings: ProgramSettings, code: PromotionCode) -> Mapping[str, Any]:
        faults = Faults()
        values = {**_code_values(code), **given}
        if given.get("minimum_amount", ...) is None and "minimum_amount_currency" not in given:
            values["minimum_amount_currency"] = None
        made = _code_members(faults, values, settings, has_owner=code.partner_id is not None)
        faults.check_dates("expiresAt", {"starts_at": code.starts_at, **made}, code)
        if body.code is not None:
            made |= {"code": body.code, "canonical": canonical_code(body.code)}
        faults.refuse()
        return made

    return changes


def coupon_members(body: _CouponFields, settings: ProgramSettings, before: Coupon | None = None) -> Mapping[str, Any]:
    """Return the members that a request gives a coupon, a new one or the one before."""
    given = _given(body)
    faults = Faults()
    made: dict[str, Any] = {}
    for theirs, ours in (
        ("external_id", "external_id"),
        ("active", "is_active"),
        ("max_redemptions", "redemption_limit"),
    ):
        if theirs in given:
            made[ours] = given[theirs]
    if "redeem_by" in given:
        made["expires_at"] = as_end(body.redeem_by, settings.timezone)
        faults.check_dates("redeemBy", {"starts_at": before and before.starts_at, **made}, before)
    if before is None or _DISCOUNT & given.keys():
        made |= _discount(faults, given, settings, before)
    if before is None or {"duration", "duration_in_months"} & given.keys():
        made |= _duration(faults, body, given, before)
    if {"limit_to_products", "product_ids"} & given.keys():
        made["product_ids"] = _products(faults, given, before)
    faults.refuse()
    return made


def _given(body: CamelRequest) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.model_fields_set}


def _code_members(
    faults: Faults, values: Mapping[str, Any], settings: ProgramSettings, *, has_owner: bool
) -> dict[str, Any]:
    made = {ours: values[theirs] for theirs, ours in _CODE_RENAMED.items() if theirs in values}
    expiry, amount = values.get("expires_at"), values.get("minimum_amount")
    made["expires_at"] = as_end(expiry, settings.timezone)
    currency = values.get("minimum_amount_currency")
    if amount is None and currency is not None:
        faults.add("minimumAmount", "is required beside minimumAmountCurrency")
    chosen = None if amount is None else currency or settings.currency
    made["minimum_currency"] = chosen
    made["minimum_minor"] = faults.converted("minimumAmount", amount, lambda each: minor_units(each, chosen or ""))
    if values.get("limit_to_customers") and values.get("customer_id") is None:
        faults.add("customerId", "is required when limitToCustomers is true")
    if values.get("limit_to_affiliate") and not has_owner:
        faults.add("limitToAffiliate", "must be false for a code without an affiliate")
    return made


def _code_values(code: PromotionCode) -> dict[str, Any]:
    minimum = None
    if code.minimum_minor is not None and code.minimum_currency is not None:
        minimum = Decimal(code.minimum_minor).scaleb(-decimal_places(code.minimum_currency))
    return {theirs: getattr(code, ours) for theirs, ours in _CODE_RENAMED.items()} | {
        "expires_at": code.expires_at,
        "minimum_amount": minimum,
        "minimum_amount_currency": code.minimum_currency,
    }


def _form(
    body: PromotionalCodeCreation, settings: ProgramSettings, coupon: Coupon, partner: Partner | None
) -> CodeForm:
    structure = body.code_structure or CodeStructure()
    text = body.prefix + "".join(_parts(structure, coupon, partner))
    has_random = structure.random_chars or body.code_structure is None or not code_word(text)
    length = (body.random_chars_length or settings.code_length) if has_random else 0
    is_lower_case = body.random_chars_case == "lowercase"
    return CodeForm(text, length, is_lower_case)


def _parts(structure: CodeStructure, coupon: Coupon, partner: Partner | None) -> list[str]:
    for name in ("first_name", "last_name", "email"):
        if getattr(structure, name) and partner is None:
            field = CodeStructure.model_fields[name].alias
            path = f"codeStructure.{field}"
            raise invalid_field(path, f"The {path} field must be false for a code without an affiliate.")
    parts = []
    if partner is not None:
        parts = [
            (partner.first_name or partner.name.split()[0]) if structure.first_name else "",
            (partner.last_name or "") if structure.last_name else "",
            (partner.email or "").partition("@")[0] if structure.email else "",
        ]
    parts.append(coupon.name if structure.coupon_name else "")
    return [
        *(code_word(part)[:_PART_LENGTH] for part in parts),
        _amount_part(coupon) if structure.discount_amount else "",
    ]


def _amount_part(coupon: Coupon) -> str:
    if coupon.percent_hundredths is not None:
        amount = percent(coupon.percent_hundredths)
    else:
        amount = major_units(coupon.amount_minor or 0, coupon.currency or "")
    # A code has no point, and without one 12.5 would promise 125.
    return str(amount).replace(".", "P")


def _discount(
    faults: Faults, given: Mapping[str, Any], settings: ProgramSettings, before: Coupon | None
) -> dict[str, Any]:
    percent_off, amount_off = given.get("percent_off"), given.get("amount_off")
    currency = given.get("currency") or (before.currency if before else None) or settings.currency
    if percent_off is None and amount_off is None and before is not None and "coupon_type" not in given:
        if before.percent_hundredths is not None:
            return {"currency": given.get("currency")}
        amount_off = Decimal(before.amount_minor or 0).scaleb(-decimal_places(before.currency or ""))
    kind = given.get("coupon_type") or ("FIXED" if percent_off is None and amount_off is not None else "PERCENTAGE")
    wanted, other = ("percentOff", "amountOff") if kind == "PERCENTAGE" else ("amountOff", "percentOff")
    value, beside = (percent_off, amount_off) if kind == "PERCENTAGE" else (amount_off, percent_off)
    if value is None:
        faults.add(wanted, "is required unless amountOff is given" if kind == "PERCENTAGE" else "is required")
    if beside is not None:
        faults.add(other, f"must be null beside {wanted}")
    made: dict[str, Any] = {"percent_hundredths": None, "amount_minor": None, "amounts_by_currency": {}}
    if kind == "PERCENTAGE":
        made |= {"discount_type": "percent", "currency": given.get("currency") or (before and before.currency)}
        made["percent_hundredths"] = faults.converted("percentOff", value, hundredths)
    else:
        made |= {"discount_type": "static", "currency": currency, "max_discount_minor": None}
        made["amount_minor"] = faults.converted("amountOff", value, lambda each: minor_units(each, currency))
    return made


def _duration(faults: Faults, body: _CouponFields, given: Mapping[str, Any], before: Coupon | None) -> dict[str, Any]:
    kind, months = body.duration, given.get("duration_in_months")
    if before is not None and "duration" not in given:
        kind = {"once": "once", "lifetime": "forever"}.get(before.duration_type, "repeating")  # type: ignore[assignment]
    if kind == "repeating":
        if months is None:
            faults.add("durationInMonths", "is required when duration is repeating")
        return {"duration_type": "months", "duration_value": months}
    if months is not None:
        faults.add("durationInMonths", f"must be null when duration is {kind}")
    return {"duration_type": "once" if kind == "once" else "lifetime", "duration_value": None}


def _products(faults: Faults, given: Mapping[str, Any], before: Coupon | None) -> tuple[str, ...]:
    products = tuple(dict.fromkeys(given["product_ids"])) if "product_ids" in given else before and before.product_ids
    is_limited = given.get("limit_to_products", bool(products))
    if not is_limited:
        if given.get("product_ids"):
            faults.add("productIds", "must be empty unless limitToProducts is true")
        return ()
    if not products:
        faults.add("productIds", "must not be empty when limitToProducts is true")
    return products or ()
