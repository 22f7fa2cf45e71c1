"""What requests of the coupon API say about coupons, and its translation into the members of a coupon.

A change is laid over the coupon as it is, in the words of this API, and the whole is translated, so creation and change
obey one set of rules.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from services.codes.api.faults import Faults
from services.codes.api.fields import (
    Amount,
    AmountsByCurrency,
    Count,
    Currency,
    ExternalId,
    Metadata,
    Name,
    Percent,
    ProductIds,
    UUIDCode,
)
from services.codes.api.promotion_code_fields import NewCode, money
from services.codes.api.redeeming import Redeeming
from services.codes.domain.coupons import MAX_COUNT, Coupon, CouponChanges, CouponMembers, merged
from services.codes.domain.days import as_end, as_start
from services.codes.domain.money import decimal_places, hundredths, minor_units
from services.codes.domain.programs import ProgramSettings
from shared.web import InstantOrDate, Int, RequestModel, Text, field_error

# This API's names of members that need no more than another name.
_RENAMED: Final = {
    "external_id": "external_id",
    "active": "is_active",
    "coupon_duration_type": "duration_type",
    "redemptions_per_code": "code_redemption_limit",
    "redemptions_per_customer": "customer_redemption_limit",
    "redemptions_per_day": "daily_redemption_limit",
    "redemptions_per_week": "weekly_redemption_limit",
    "redemptions_per_month": "monthly_redemption_limit",
    "first_time_order": "is_first_order_only",
    "release_policy": "release_policy",
    "minimum_applies_to": "minimum_applies_to",
    "combination": "combination",
}
_WITHOUT_VALUE: Final = ("once", "lifetime")


class Sync(RequestModel):
    """Where to push the coupon."""

    provider: Literal["stripe", "shopify", "woocommerce", "paddle"] = Field(
        description="Must be connected to the program."
    )


class _CouponFields(RequestModel):
    name: Name | None = Field(None, description="Customer-facing; the `uuid_code` if absent.")
    active: bool = Field(default_factory=bool)
    redemption_specific_date_status: bool = Field(default_factory=bool, description="Whether it expires.")
    redemption_specific_date_value: InstantOrDate | None = None
    redemption_times_status: bool = Field(default_factory=bool, description="Whether its uses are limited.")
    redemption_times_value: Count | None = None
    metadata: Metadata = Field(default_factory=dict)
    sync: Sync | None = None
    external_id: ExternalId | None = Field(None, description="What others call it; unique within the program.")
    coupon_discount_currency: Currency | None = Field(
        None, description="Of the static amount and of the greatest discount; the program's if absent."
    )
    coupon_discount_max_amount: Amount | None = Field(None, description="What a percentage takes off at most.")
    coupon_discount_amounts: AmountsByCurrency = Field(
        default_factory=dict, description="A static amount in further currencies."
    )
    starts_at: InstantOrDate | None = None
    redemptions_per_code: Count | None = Field(None, description="Uses of each code that has no limit of its own.")
    redemptions_per_customer: Count | None = None
    redemptions_per_day: Count | None = Field(None, description="In the program's time zone, as the next two.")
    redemptions_per_week: Count | None = Field(None, description="Weeks begin on Monday.")
    redemptions_per_month: Count | None = None
    budget_amount: Amount | None = Field(None, description="What all uses together take off at most.")
    budget_currency: Currency | None = Field(None, description="The program's if absent.")
    first_time_order: bool = Field(default_factory=bool, description="Only for a customer's first order.")
    minimum_order_value: Amount | None = None
    minimum_order_currency: Currency | None = Field(None, description="The program's if absent.")
    minimum_applies_to: Literal["eligible", "order"] = Field(
        default_factory=lambda: "eligible",
        description="What the minimum of a coupon for some products counts: these products, or the whole order.",
    )
    product_ids: ProductIds = Field(
        default_factory=list,
        description="Only for these products; empty for all. The order must name its items with their amounts.",
    )
    excluded_product_ids: ProductIds = Field(
        default_factory=list, description="Not for these products, which are taken out of `product_ids`."
    )
    combination: Literal["any", "other_coupons", "none"] = Field(
        default_factory=lambda: "other_coupons",
        description="Which other codes an order may have beside one of this coupon: any, those of other coupons, none.",
    )
    release_policy: Literal["always", "until_expiry", "never"] = Field(
        default_factory=lambda: "always", description="Whether a voided redemption gives its use back."
    )
    commission_percent: Percent | None = Field(None, description="The partner's share, where its code has no other.")


class CouponCreation(_CouponFields):
    """A coupon to be made."""

    active: bool = True
    uuid_code: UUIDCode | None = Field(None, description="Its unique name; generated if absent.")
    coupon_discount_type: Literal["percent", "static"]
    coupon_discount_amount: Amount = Field(description="0 to 100 for percent, else an amount.")
    coupon_duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"]
    coupon_duration_value: Count | None = Field(None, description="Required for hours, days, months and years.")
    opening_uses: Annotated[Int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="Uses elsewhere before: it begins with this count, for its limit too."
    )
    promotion_codes: list[NewCode] = Field(
        default_factory=list, max_length=500, description="Codes to be made with it."
    )


class CouponChange(_CouponFields):
    """Members to be changed; the others stay. Terms are frozen once a redemption is known."""

    coupon_discount_type: Literal["percent", "static"] = Field(default_factory=lambda: "percent")
    coupon_discount_amount: Amount = Field(default_factory=Decimal)
    coupon_duration_type: Literal["once", "hours", "days", "months", "years", "lifetime"] = Field(
        default_factory=lambda: "once"
    )
    coupon_duration_value: Count | None = None


class NamedCouponChange(CouponChange, Redeeming):
    """Members to be changed of the coupon that `uuid_code` names."""

    uuid_code: UUIDCode
    code: Annotated[Text, Field(min_length=1)] | None = Field(
        None, description="Which of its codes to redeem, in any spelling; needed if it has several."
    )

    @model_validator(mode="after")
    def _names_a_code_to_redeem(self) -> "NamedCouponChange":
        if self.code is not None and not self.redeem:
            raise field_error("code", "is for redeem only")
        return self


def new_members(body: CouponCreation) -> CouponMembers:
    """Return how the members of a new coupon are made of a request."""
    values: dict[str, Any] = {"active": True, **_given(body)}

    def members(settings: ProgramSettings) -> Mapping[str, Any]:
        opening = {"opening_uses": body.opening_uses, "times_redeemed": body.opening_uses}
        return {**_members(values, settings), **opening, "metadata": merged({}, body.metadata)}

    return members


def changed_members(body: CouponChange) -> CouponChanges:
    """Return how a request changes the members of a coupon."""
    given = _given(body)

    def changes(settings: ProgramSettings, coupon: Coupon) -> Mapping[str, Any]:
        made = {**_members(_laid_over(_values(coupon), given), settings, coupon)}
        if "metadata" in given:
            made["metadata"] = merged(coupon.metadata, body.metadata)
        if "name" in given:
            made["name"] = body.name or coupon.uuid_code
        return made

    return changes


def _given(body: _CouponFields) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.model_fields_set}


def _laid_over(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those given in their place; what falls with another member falls."""
    made = {**values, **given}
    for flag, field in _FLAGGED:
        if given.get(flag) is False and field not in given:
            made[field] = None
    if "coupon_duration_value" not in given and given.get("coupon_duration_type") in _WITHOUT_VALUE:
        made["coupon_duration_value"] = None
    if "coupon_discount_type" in given and given["coupon_discount_type"] != values["coupon_discount_type"]:
        if "coupon_discount_amount" not in given:
            made["coupon_discount_amount"] = None
        for field in ("coupon_discount_amounts", "coupon_discount_max_amount"):
            made[field] = given.get(field)
    for field, currency in (("minimum_order_value", "minimum_order_currency"), ("budget_amount", "budget_currency")):
        if given.get(field, ...) is None and currency not in given:
            made[currency] = None
    return made


_FLAGGED: Final = (
    ("redemption_specific_date_status", "redemption_specific_date_value"),
    ("redemption_times_status", "redemption_times_value"),
)


def _members(values: Mapping[str, Any], settings: ProgramSettings, before: Coupon | None = None) -> dict[str, Any]:
    faults = Faults()
    made = {ours: values[theirs] for theirs, ours in _RENAMED.items() if theirs in values}
    made |= _discount(faults, values, settings)
    made["duration_value"] = _duration_value(faults, values)
    expiry = faults.flagged(values, *_FLAGGED[0])
    made["starts_at"] = as_start(values.get("starts_at"), settings.timezone)
    made["expires_at"] = as_end(expiry, settings.timezone)
    faults.check_dates("redemption_specific_date_value", made, before)
    made["redemption_limit"] = faults.flagged(values, *_FLAGGED[1])
    made["minimum_minor"], made["minimum_currency"] = money(
        faults, values, "minimum_order_value", "minimum_order_currency", settings.currency
    )
    made["budget_minor"], made["budget_currency"] = money(
        faults, values, "budget_amount", "budget_currency", settings.currency
    )
    for name in ("product_ids", "excluded_product_ids"):
        made[name] = tuple(dict.fromkeys(values.get(name) or ()))
    made["commission_hundredths"] = faults.converted("commission_percent", values.get("commission_percent"), hundredths)
    faults.refuse()
    return made


def _discount(faults: Faults, values: Mapping[str, Any], settings: ProgramSettings) -> dict[str, Any]:
    currency = values.get("coupon_discount_currency") or settings.currency
    amount, greatest = values.get("coupon_discount_amount"), values.get("coupon_discount_max_amount")
    further = values.get("coupon_discount_amounts") or {}
    made: dict[str, Any] = dict.fromkeys(("percent_hundredths", "amount_minor", "currency", "max_discount_minor"))
    made |= {"discount_type": values["coupon_discount_type"], "amounts_by_currency": {}}
    if amount is None:
        faults.add("coupon_discount_amount", "is required")
    if made["discount_type"] == "percent":
        made["percent_hundredths"] = faults.converted("coupon_discount_amount", amount, hundredths)
        made["max_discount_minor"] = faults.converted(
            "coupon_discount_max_amount", greatest, lambda value: minor_units(value, currency)
        )
        made["currency"] = currency if greatest is not None else values.get("coupon_discount_currency")
        if further:
            faults.add("coupon_discount_amounts", "must be empty unless coupon_discount_type is static")
        return made
    made["currency"] = currency
    made["amount_minor"] = faults.converted(
        "coupon_discount_amount", amount, lambda value: minor_units(value, currency)
    )
    if greatest is not None:
        faults.add("coupon_discount_max_amount", "must be null unless coupon_discount_type is percent")
    for other, value in further.items():
        with faults.at(f"coupon_discount_amounts.{other}"):
            made["amounts_by_currency"][other] = minor_units(value, other)
    return made


def _duration_value(faults: Faults, values: Mapping[str, Any]) -> int | None:
    kind, value = values["coupon_duration_type"], values.get("coupon_duration_value")
    if kind in _WITHOUT_VALUE and value is not None:
        faults.add("coupon_duration_value", f"must be null when coupon_duration_type is {kind}")
    if kind not in _WITHOUT_VALUE and value is None:
        faults.add("coupon_duration_value", f"is required when coupon_duration_type is {kind}")
    return None if kind in _WITHOUT_VALUE else value


def _values(coupon: Coupon) -> dict[str, Any]:
    """Return a coupon in the words of this API, amounts as exact decimals."""
    values = {theirs: getattr(coupon, ours) for theirs, ours in _RENAMED.items()}
    is_percent = coupon.percent_hundredths is not None
    return values | {
        "coupon_discount_type": coupon.discount_type,
        "coupon_discount_amount": _percent(coupon.percent_hundredths)
        if is_percent
        else _decimal(coupon.amount_minor, coupon.currency),
        "coupon_discount_currency": coupon.currency,
        "coupon_discount_max_amount": _decimal(coupon.max_discount_minor, coupon.currency),
        "coupon_discount_amounts": {c: _decimal(m, c) for c, m in coupon.amounts_by_currency.items()},
        "coupon_duration_value": coupon.duration_value,
        "starts_at": coupon.starts_at,
        "redemption_specific_date_status": coupon.expires_at is not None,
        "redemption_specific_date_value": coupon.expires_at,
        "redemption_times_status": coupon.redemption_limit is not None,
        "redemption_times_value": coupon.redemption_limit,
        "minimum_order_value": _decimal(coupon.minimum_minor, coupon.minimum_currency),
        "minimum_order_currency": coupon.minimum_currency,
        "budget_amount": _decimal(coupon.budget_minor, coupon.budget_currency),
        "budget_currency": coupon.budget_currency,
        "product_ids": coupon.product_ids,
        "excluded_product_ids": coupon.excluded_product_ids,
        "commission_percent": _percent(coupon.commission_hundredths),
    }


def _decimal(minor: int | None, currency: str | None) -> Decimal | None:
    return None if minor is None or currency is None else Decimal(minor).scaleb(-decimal_places(currency))


def _percent(in_hundredths: int | None) -> Decimal | None:
    return None if in_hundredths is None else Decimal(in_hundredths).scaleb(-2)
