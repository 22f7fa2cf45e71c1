"""Terms of coupons and codes: what requests give, laid over what there is, converted and refused as a whole."""

import uuid
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from services.codes.api.errors import translate
from services.codes.api.management import words
from services.codes.api.management.batches import BatchCreation
from services.codes.api.management.keys import KeyChange
from services.codes.api.management.partners import PartnerChange
from services.codes.api.management.programs import ProgramChange, ProgramCreation
from services.codes.api.management.requests import (
    CodeMembers,
    CouponChange,
    CouponCreation,
    NamedCodeChange,
    NamedCouponChange,
)
from services.codes.api.query import words as query_words
from services.codes.api.query.requests import (
    PromotionalCodeChange,
    PromotionalCodeCreation,
    QueryCouponChange,
    QueryCouponCreation,
)
from services.codes.domain.code_terms import CodeTerms, changed_code
from services.codes.domain.coupon_terms import CouponTerms, changed_coupon
from services.codes.domain.coupons import Coupon
from services.codes.domain.errors import InvalidTerms
from services.codes.domain.given import Given
from services.codes.domain.keys import KeyDraft
from services.codes.domain.partners import PartnerDraft
from services.codes.domain.programs import ProgramSettings
from services.codes.domain.promotion_codes import PromotionCode

NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)
ID = uuid.UUID(int=1)
SETTINGS = ProgramSettings("Acme", currency="EUR", timezone="Europe/Berlin")
COUPON = Coupon(
    id=ID,
    program_id=ID,
    uuid_code="spring",
    name="Spring",
    discount_type="static",
    amount_minor=1050,
    currency="EUR",
    amounts_by_currency={"USD": 1200},
    created_at=NOON,
    updated_at=NOON,
)
CODE = PromotionCode(id=ID, program_id=ID, coupon_id=ID, code="Ten", canonical="TEN", created_at=NOON, updated_at=NOON)
# What a request says besides terms: how it is read stands in the dialect.
BY_HAND = {
    CouponCreation: {"uuid_code", "sync", "opening_uses", "promotion_codes"},
    CouponChange: {"sync"},
    NamedCouponChange: {"sync", "uuid_code", "code", "redeem", "transaction_key"},
    CodeMembers: {
        *("coupon_specific_partners", "coupon_specific_customers"),
        *("limit_to_specific_subscriber", "coupon_specific_subscribers"),
    },
    NamedCodeChange: {
        *("coupon_specific_partners", "coupon_specific_customers", "redeem", "transaction_key"),
        *("limit_to_specific_subscriber", "coupon_specific_subscribers"),
    },
    BatchCreation: {"count", "pattern", "length", "prefix", "suffix", "alphabet", "check_symbol", "allow_weak"},
    PromotionalCodeCreation: {"couponId", "codeStructure", "prefix", "randomCharsLength", "randomCharsCase"},
    PromotionalCodeChange: {"promotionalCodeId"},
    QueryCouponCreation: {"percentOff"},
    QueryCouponChange: {"percentOff", "couponId"},
}


@pytest.mark.parametrize(
    ("kind", "body", "table"),
    [
        *((CouponTerms, body, words.COUPON_MEMBERS) for body in (CouponCreation, CouponChange, NamedCouponChange)),
        *((CodeTerms, body, words.CODE_WORDS) for body in (CodeMembers, NamedCodeChange)),
        (CodeTerms, BatchCreation, words.BATCH_WORDS),
        *((CodeTerms, body, query_words.CODE_WORDS) for body in (PromotionalCodeCreation, PromotionalCodeChange)),
        *((CouponTerms, body, query_words.COUPON_WORDS) for body in (QueryCouponCreation, QueryCouponChange)),
        *((ProgramSettings, body, words.PROGRAM_MEMBERS) for body in (ProgramCreation, ProgramChange)),
        (PartnerDraft, PartnerChange, {}),
        (KeyDraft, KeyChange, {}),
    ],
)
def test_every_field_of_a_request_is_read(kind: Any, body: type[BaseModel], table: dict[str, str]) -> None:
    """A field whose name is in no table would be accepted and do nothing."""
    taken = {field.alias or name for name, field in body.model_fields.items()}
    read = {table.get(each.name, each.name) for each in fields(kind)}
    assert taken - read == BY_HAND.get(body, set())


def coupon(**members: Any) -> Coupon:
    return changed_coupon(COUPON, Given(CouponTerms(**members), frozenset(members)), SETTINGS)


def code(before: PromotionCode = CODE, **members: Any) -> PromotionCode:
    return changed_code(before, Given(CodeTerms(**members), frozenset(members)), COUPON, SETTINGS)


def test_what_is_not_given_stays() -> None:
    assert coupon() == COUPON
    assert code() == CODE
    full = replace(
        CODE,
        partner_id=ID,
        customer_id="c",
        customer_name="C",
        is_limited_to_customer=True,
        minimum_minor=5,
        minimum_currency="JPY",
        expires_at=NOON,
        redemption_limit=2,
        metadata={"a": 1},
    )
    assert code(full) == full


def test_bare_dates_are_days_of_the_program_and_money_is_in_its_currency() -> None:
    made = code(starts_at=date(2026, 3, 1), has_expiry=True, expires_at=date(2026, 3, 2), has_minimum=True,
                minimum=Decimal("9.5"))  # fmt: skip
    assert made.starts_at == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert made.expires_at == datetime(2026, 3, 2, 22, 59, 59, 999_999, tzinfo=UTC)
    assert (made.minimum_minor, made.minimum_currency) == (950, "EUR")


def test_an_amount_without_a_currency_keeps_its_own_and_a_new_one_has_the_coupon_s() -> None:
    """A minimum in the program's currency is one that no order in the coupon's currency can be compared with."""
    yen = replace(COUPON, currency="JPY", amount_minor=1000, amounts_by_currency={})

    def changed(before: Coupon, **members: Any) -> Coupon:
        return changed_coupon(before, Given(CouponTerms(**members), frozenset(members)), SETTINGS)

    made = changed(yen, minimum=Decimal(5000), budget=Decimal(90_000))
    assert (made.minimum_minor, made.minimum_currency) == (5000, "JPY")
    assert (made.budget_minor, made.budget_currency) == (90_000, "JPY")
    of_dollars = replace(yen, minimum_minor=500, minimum_currency="USD", budget_minor=900, budget_currency="USD")
    # Null says no more than nothing, for each currency.
    nulls: dict[str, None] = dict.fromkeys(("currency", "minimum_currency", "budget_currency"))
    kept = changed(of_dollars, minimum=Decimal(6), budget=Decimal(10), **nulls)
    assert (kept.currency, kept.minimum_currency, kept.budget_currency) == ("JPY", "USD", "USD")
    assert (kept.minimum_minor, kept.budget_minor) == (600, 1000)
    bare = changed(of_dollars, minimum=None, budget=None, **nulls)
    assert (bare.minimum_currency, bare.budget_currency) == (None, None)
    given = Given(CodeTerms(minimum=Decimal(7), has_minimum=True), frozenset({"minimum", "has_minimum"}))
    of_code = changed_code(CODE, given, yen, SETTINGS)
    assert (of_code.minimum_minor, of_code.minimum_currency) == (7, "JPY")
    again = Given(CodeTerms(minimum=Decimal(8), has_minimum=True), given.names | {"minimum_currency"})
    assert changed_code(of_code, again, COUPON, SETTINGS).minimum_currency == "JPY"


def test_another_currency_takes_the_amount_along() -> None:
    """10.50 euros in minor units would otherwise become 1,050 yen."""
    assert coupon(currency="USD", amounts_by_currency={}).amount_minor == 1050
    with pytest.raises(InvalidTerms) as refused:
        coupon(currency="JPY")
    assert refused.value.faults == {"amount_minor": ["must not have decimal places in JPY"]}


def test_another_type_takes_nothing_along() -> None:
    made = coupon(discount_type="percent", discount=Decimal("12.5"))
    assert (made.percent_hundredths, made.amount_minor, made.amounts_by_currency) == (1250, None, {})
    with pytest.raises(InvalidTerms) as refused:
        coupon(discount_type="percent")
    assert refused.value.faults == {"percent_hundredths": ["is required"]}


def test_a_switch_that_goes_off_takes_its_value_along() -> None:
    limited = replace(CODE, redemption_limit=3, customer_id="c", customer_name="C", is_limited_to_customer=True)
    made = code(limited, has_redemption_limit=False, is_limited_to_customer=False)
    assert (made.redemption_limit, made.customer_id, made.customer_name) == (None, None, None)


def test_another_customer_does_not_inherit_a_name() -> None:
    """The name of one customer would be shown with the id of another."""
    named = replace(CODE, customer_id="c", customer_name="C")
    assert code(named, customer_id="d", names_any_customer=True).customer_name is None
    assert code(named, customer_id="c", names_any_customer=True).customer_name == "C"


def test_all_faults_are_named_together_in_the_words_of_the_request() -> None:
    with pytest.raises(InvalidTerms) as refused:
        code(
            has_expiry=True,
            redemption_limit=3,
            customer_id="c",
            minimum_currency="EUR",
            is_limited_to_partner=True,
        )
    refused.value.place = 2
    ours, theirs = translate(refused.value), translate(refused.value, words.CODE_WORDS)
    assert ours is not None
    assert theirs is not None
    assert list(ours.errors or {}) == [
        f"promotion_codes.2.{name}"
        for name in ("expires_at", "redemption_limit", "customer", "is_limited_to_partner", "minimum_minor")
    ]
    assert theirs.errors == {
        f"promotion_codes.2.{name}": [f"The promotion_codes.2.{name} field {rule}."]
        for name, rule in (
            ("expiration_date_value", "is required when expiration_date_status is true"),
            ("redemption_times_value", "must be null unless redemption_times_status is true"),
            ("coupon_specific_customers", "must be null unless limit_to_specific_customer is true"),
            ("partner_only", "must be false for a code without a partner"),
            ("minimum_order_value", "is required beside minimum_order_currency"),
        )
    }


def test_a_part_of_a_member_and_a_value_have_words_too() -> None:
    amounts = InvalidTerms({"amounts_by_currency.USD": ["must be at least 0"]})
    problem = translate(amounts, words.COUPON_MEMBERS)
    assert problem is not None
    assert list(problem.errors or {}) == ["coupon_discount_amounts.USD"]
    with pytest.raises(InvalidTerms) as refused:
        coupon(duration_type="lifetime", duration_months=3)
    problem = translate(refused.value, query_words.COUPON_WORDS)
    assert problem is not None
    assert problem.errors == {"durationInMonths": ["The durationInMonths field must be null when duration is forever."]}
