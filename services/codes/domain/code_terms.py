"""Promotion codes in requests, and their conversion with a program's settings.

As with coupons, a change is merged into the current code and the whole is converted.
"""

from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final

from services.codes.domain.code_forms import CodeStructure
from services.codes.domain.coupons import Coupon
from services.codes.domain.days import as_end, as_start
from services.codes.domain.faults import Faults
from services.codes.domain.given import Given
from services.codes.domain.money import in_major_units
from services.codes.domain.programs import ProgramSettings
from services.codes.domain.promotion_codes import AlikeCodeTerms, PromotionCode
from shared.canonical import canonical_code

_ALIKE: Final = tuple(each.name for each in fields(AlikeCodeTerms))
# A switch, its value, and the name under which a fault of the value is recorded.
_SWITCHES: Final = (
    ("has_expiry", "expires_at", "expires_at"),
    ("has_redemption_limit", "redemption_limit", "redemption_limit"),
    ("has_minimum", "minimum", "minimum_minor"),
    ("has_partner", "partner_id", "partner"),
    ("is_limited_to_customer", "customer_id", "customer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTerms(AlikeCodeTerms):
    """A code in a request's units: amounts in major units, bare dates, a switch beside a value that may be off.

    With `names_any_customer`, a customer may be named without the code being limited to it. `partner_email` is for a
    new code.
    """

    code: str | None = None
    partner_email: str | None = None
    has_partner: bool = False
    names_any_customer: bool = False
    starts_at: date | None = None
    has_expiry: bool = False
    expires_at: date | None = None
    has_redemption_limit: bool = False
    has_minimum: bool = False
    minimum: Decimal | None = None
    minimum_currency: str | None = None


@dataclass(frozen=True, slots=True)
class CodeDraft:
    """A new code; without a string in its terms it gets one according to its structure."""

    terms: Given[CodeTerms]
    structure: CodeStructure = field(default_factory=CodeStructure)


def changed_code(
    before: PromotionCode, given: Given[CodeTerms], coupon: Coupon, settings: ProgramSettings
) -> PromotionCode:
    """Return a coupon's code with the members of a request; raises InvalidTerms with all faults.

    As with coupons, a minimum without a currency keeps its current one, and a new one gets the coupon's.
    """
    given = given.without_nulls("minimum_currency")
    terms = _consistent(given.over(_terms_of(before)), before, given.names)
    faults = Faults()
    for switch, member, named in _SWITCHES:
        is_strict = member in given.names and not (named == "customer" and terms.names_any_customer)
        faults.switched(named, getattr(terms, member), switch, is_on=getattr(terms, switch), is_given=is_strict)
    if terms.is_limited_to_partner and terms.partner_id is None and terms.partner_email is None:
        faults.add("is_limited_to_partner", "must be false for a code without {a partner}")
    currency = coupon.currency or settings.currency
    minimum_minor, minimum_currency = faults.money("minimum", terms.minimum, terms.minimum_currency, currency)
    after = replace(
        before,
        **_alike(terms),
        code=terms.code or before.code,
        canonical=canonical_code(terms.code) if terms.code else before.canonical,
        starts_at=as_start(terms.starts_at, settings.timezone),
        expires_at=as_end(terms.expires_at, settings.timezone),
        minimum_minor=minimum_minor,
        minimum_currency=minimum_currency,
    )
    faults.check_dates(before, after)
    faults.refuse()
    return after


def _alike(terms: AlikeCodeTerms) -> dict[str, Any]:
    """Return the members that a code and a request write alike, declared by their common base class."""
    return {name: getattr(terms, name) for name in _ALIKE}


def _terms_of(code: PromotionCode) -> CodeTerms:
    return CodeTerms(
        **_alike(code),
        has_partner=code.partner_id is not None,
        starts_at=code.starts_at,
        has_expiry=code.expires_at is not None,
        expires_at=code.expires_at,
        has_redemption_limit=code.redemption_limit is not None,
        has_minimum=code.minimum_minor is not None,
        minimum=in_major_units(code.minimum_minor, code.minimum_currency),
        minimum_currency=code.minimum_currency,
    )


def _consistent(terms: CodeTerms, before: PromotionCode, given: frozenset[str]) -> CodeTerms:
    """Return the terms without members that another change removes, unless the request gives them too."""
    fallen = {member for switch, member, _ in _SWITCHES if switch in given and not getattr(terms, switch)}
    if terms.names_any_customer:
        fallen.discard("customer_id")
    if "customer_id" in fallen or terms.customer_id != before.customer_id:
        fallen.add("customer_name")
    if terms.minimum is None or "minimum" in fallen - given:
        fallen.add("minimum_currency")
    nothing: dict[str, Any] = dict.fromkeys(fallen - given)
    return replace(terms, **nothing)
