"""A coupon's terms in requests, and their conversion with a program's settings.

A change is merged into the current coupon and the whole is converted, so creation and change obey the same rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final

from services.codes.domain.coupons import AlikeCouponTerms, Coupon, DurationType
from services.codes.domain.days import as_end, as_start
from services.codes.domain.faults import Faults
from services.codes.domain.given import Given
from services.codes.domain.money import hundredths, in_major_units, in_percent, minor_units
from services.codes.domain.programs import ProgramSettings

_ALIKE: Final = tuple(each.name for each in fields(AlikeCouponTerms))
_WITHOUT_VALUE: Final[frozenset[DurationType]] = frozenset({"once", "lifetime"})
_SWITCHES: Final = (("has_expiry", "expires_at"), ("has_redemption_limit", "redemption_limit"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponTerms(AlikeCouponTerms):
    """Terms in a request's units: amounts in major units, bare dates, a switch beside a value that may be off.

    `discount` is a percentage or an amount, depending on `discount_type`. `duration_months` is `duration_value` in an
    API that only has months.
    """

    name: str | None = None
    discount: Decimal | None = None
    amounts_by_currency: Mapping[str, Decimal] = field(default_factory=dict)
    max_discount: Decimal | None = None
    duration_months: int | None = None
    starts_at: date | None = None
    has_expiry: bool = False
    expires_at: date | None = None
    has_redemption_limit: bool = False
    has_products: bool = False
    budget: Decimal | None = None
    budget_currency: str | None = None
    minimum: Decimal | None = None
    minimum_currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponDraft:
    """A new coupon; its `uuid_code` defaults to its id, its name to its `uuid_code`."""

    terms: Given[CouponTerms]
    uuid_code: str | None = None
    opening_uses: int = 0
    provider: str | None = None


def changed_coupon(before: Coupon, given: Given[CouponTerms], settings: ProgramSettings) -> Coupon:
    """Return a coupon with the terms of a request; raises InvalidTerms with all faults.

    An amount without a currency keeps its current one; a new one gets the coupon's, or else the program's.
    """
    given = given.without_nulls("currency", "minimum_currency", "budget_currency")
    terms = _consistent(given.over(_terms_of(before)), before, given.names)
    currency = terms.currency or settings.currency
    faults = Faults()
    for switch, member in _SWITCHES:
        is_given = member in given.names
        faults.switched(member, getattr(terms, member), switch, is_on=getattr(terms, switch), is_given=is_given)
    _check_duration(faults, terms)
    if "has_products" in given.names:
        _check_products(faults, terms)
    minimum_minor, minimum_currency = faults.money("minimum", terms.minimum, terms.minimum_currency, currency)
    budget_minor, budget_currency = faults.money("budget", terms.budget, terms.budget_currency, currency)
    after = _discounted(replace(before, **_alike(terms)), terms, currency, faults)
    after = replace(
        after,
        name=terms.name or before.uuid_code,
        starts_at=as_start(terms.starts_at, settings.timezone),
        expires_at=as_end(terms.expires_at, settings.timezone),
        minimum_minor=minimum_minor,
        minimum_currency=minimum_currency,
        budget_minor=budget_minor,
        budget_currency=budget_currency,
    )
    faults.check_dates(before, after)
    faults.refuse()
    return after


def _alike(terms: AlikeCouponTerms) -> dict[str, Any]:
    """Return the members that a coupon and a request write alike, declared by their common base class."""
    return {name: getattr(terms, name) for name in _ALIKE}


def _terms_of(coupon: Coupon) -> CouponTerms:
    is_percent = coupon.discount_type == "percent"
    return CouponTerms(
        **_alike(coupon),
        name=coupon.name,
        discount=in_percent(coupon.percent_hundredths)
        if is_percent
        else in_major_units(coupon.amount_minor, coupon.currency),
        amounts_by_currency={c: in_major_units(m, c) or Decimal() for c, m in coupon.amounts_by_currency.items()},
        max_discount=in_major_units(coupon.max_discount_minor, coupon.currency),
        starts_at=coupon.starts_at,
        has_expiry=coupon.expires_at is not None,
        expires_at=coupon.expires_at,
        has_redemption_limit=coupon.redemption_limit is not None,
        budget=in_major_units(coupon.budget_minor, coupon.budget_currency),
        budget_currency=coupon.budget_currency,
        minimum=in_major_units(coupon.minimum_minor, coupon.minimum_currency),
        minimum_currency=coupon.minimum_currency,
    )


def _consistent(terms: CouponTerms, before: Coupon, given: frozenset[str]) -> CouponTerms:
    """Return the terms without members that another change removes, unless the request gives them too."""
    fallen: dict[str, Any] = {
        member: None for switch, member in _SWITCHES if switch in given and not getattr(terms, switch)
    }
    if terms.discount_type != before.discount_type:
        fallen |= {"discount": None, "max_discount": None, "amounts_by_currency": {}}
    if "has_products" in given and not terms.has_products:
        fallen["product_ids"] = ()
    if "duration_months" in given:
        has_unit = "duration_type" in given or terms.duration_type in _WITHOUT_VALUE
        unit: DurationType = terms.duration_type if has_unit else "months"
        terms = replace(terms, duration_type=unit, duration_value=terms.duration_months)
    elif "duration_type" in given and terms.duration_type in _WITHOUT_VALUE:
        fallen["duration_value"] = None
    if terms.minimum is None:
        fallen["minimum_currency"] = None
    if terms.budget is None:
        fallen["budget_currency"] = None
    return replace(terms, **{name: value for name, value in fallen.items() if name not in given})


def _check_duration(faults: Faults, terms: CouponTerms) -> None:
    kind, value = terms.duration_type, terms.duration_value
    if kind in _WITHOUT_VALUE and value is not None:
        faults.add("duration_value", f"must be null when {{duration_type}} is {{{kind}}}")
    if kind not in _WITHOUT_VALUE and value is None:
        faults.add("duration_value", f"is required when {{duration_type}} is {{{kind}}}")


def _check_products(faults: Faults, terms: CouponTerms) -> None:
    if terms.has_products and not terms.product_ids:
        faults.add("product_ids", "must not be empty when {has_products} is true")
    if terms.product_ids and not terms.has_products:
        faults.add("product_ids", "must be empty unless {has_products} is true")


def _discounted(coupon: Coupon, terms: CouponTerms, currency: str, faults: Faults) -> Coupon:
    is_percent = terms.discount_type == "percent"
    if terms.discount is None:
        faults.add("percent_hundredths" if is_percent else "amount_minor", "is required")
    if is_percent:
        if terms.amounts_by_currency:
            faults.add("amounts_by_currency", "must be empty unless {discount_type} is static")
        most = faults.converted("max_discount_minor", terms.max_discount, lambda each: minor_units(each, currency))
        return replace(
            coupon,
            percent_hundredths=faults.converted("percent_hundredths", terms.discount, hundredths),
            amount_minor=None,
            amounts_by_currency={},
            max_discount_minor=most,
            currency=terms.currency if terms.max_discount is None else currency,
        )
    if terms.max_discount is not None:
        faults.add("max_discount_minor", "must be null unless {discount_type} is percent")
    further: dict[str, int] = {}
    for other, amount in terms.amounts_by_currency.items():
        with faults.at(f"amounts_by_currency.{other}"):
            further[other] = minor_units(amount, other)
    return replace(
        coupon,
        percent_hundredths=None,
        amount_minor=faults.converted("amount_minor", terms.discount, lambda each: minor_units(each, currency)),
        amounts_by_currency=further,
        max_discount_minor=None,
        currency=currency,
    )
