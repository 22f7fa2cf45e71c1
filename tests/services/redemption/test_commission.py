"""What partners earn as properties: a share of what was paid, no more than the cap, in whatever order it came."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain import basket, voiding
from services.redemption.domain.books import Books, OrderBook
from services.redemption.domain.commission import commissions
from services.redemption.domain.decision import Redeemed, decide
from services.redemption.domain.judgement import Refused, appraise
from services.redemption.domain.purchase import Cancellation, HoldRequest
from services.redemption.domain.reserving import reserve
from services.redemption.domain.terms import CodeTerms, percentage
from services.redemption.domain.voiding import cancel
from tests.services.redemption.test_decision import NOW, PROGRAM, books, nth_code, purchase

SUBTOTAL = 10_000
Rates = st.lists(st.integers(0, 10_000), min_size=1, max_size=4)


def codes(rates: list[int], cap: int = 10_000, percent: int = 500) -> list[CodeTerms]:
    return [
        nth_code(
            n,
            coupon_id=uuid.UUID(int=100 + n),
            percent_hundredths=percent,
            commission_hundredths=rate,
            commission_cap_hundredths=cap,
        )
        for n, rate in enumerate(rates)
    ]


def refund(number: int, amount: int) -> Cancellation:
    moment = NOW + timedelta(seconds=number + 1)
    return Cancellation(uuid.UUID(int=number), PROGRAM, "order-1", moment, amount_minor=amount)


def book(ledger: Books) -> OrderBook:
    return ledger.order((PROGRAM, "order-1"))


def earned(ledger: Books) -> dict[str, int | None]:
    return {r.canonical: r.commission_minor for r in book(ledger).redemptions}


@given(Rates, st.integers(0, 10_000))
def test_all_of_an_order_together_earn_no_more_than_the_cap(rates: list[int], cap: int) -> None:
    ledger = books(*codes(rates, cap))
    outcome = decide(purchase(*(f"A{n}" for n in range(len(rates))), subtotal=SUBTOTAL), ledger)
    assert isinstance(outcome, Redeemed)
    paid = SUBTOTAL - sum(r.discount_minor or 0 for r in book(ledger).redemptions)
    amounts = [amount or 0 for amount in earned(ledger).values()]
    plain = [percentage(paid, rate) for rate in rates]
    most = percentage(paid, cap)
    assert sum(amounts) == min(sum(plain), most)
    assert all(amount <= full for amount, full in zip(amounts, plain, strict=True))


@given(Rates, st.lists(st.integers(0, 3_000), max_size=4), st.randoms(use_true_random=False))
def test_refunds_and_codes_in_any_order_leave_one_commission(
    rates: list[int], amounts: list[int], random: "object"
) -> None:
    """A partner would be paid more or less by how messages happened to travel."""
    terms = codes(rates, cap=8_000)
    names = [f"A{n}" for n in range(len(rates))]
    expected: dict[str, int | None] | None = None
    for _ in range(2):
        ledger = books(*terms)
        asks: list[object] = [purchase(name, subtotal=SUBTOTAL) for name in names]
        asks += [refund(n, amount) for n, amount in enumerate(amounts)]
        random.shuffle(asks)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
        for ask in asks:
            if isinstance(ask, Cancellation):
                cancel(ask, ledger)
            else:
                decide(ask, ledger)  # type: ignore[arg-type]  # the rest are purchases
        if any(r.voided_at is not None for r in book(ledger).redemptions):
            return
        found = earned(ledger)
        assert found == {r.canonical: commissions(book(ledger)).get(r.id) for r in book(ledger).redemptions}
        expected = expected or found
        assert dict(sorted(found.items())) == dict(sorted(expected.items()))


def test_a_later_code_reduces_what_was_earned_and_says_so_with_a_newer_version() -> None:
    ledger = books(*codes([1_000, 1_000], percent=1_000))
    decide(purchase("A0", subtotal=SUBTOTAL), ledger)
    assert earned(ledger) == {"A0": 900}
    outcome = decide(purchase("A1", subtotal=SUBTOTAL), ledger)
    assert isinstance(outcome, Redeemed)
    assert [(e.redemption.canonical, e.before_minor, e.amount_minor, e.version) for e in outcome.changes.earnings] == [
        ("A0", 900, 800, 1)
    ]
    assert earned(ledger) == {"A0": 800, "A1": 800}


def test_a_part_that_went_back_reduces_pro_rata() -> None:
    ledger = books(*codes([1_000], percent=1_000))
    decide(purchase("A0", subtotal=SUBTOTAL), ledger)
    cancelled = cancel(refund(1, 4_500), ledger)
    assert [(e.before_minor, e.amount_minor) for e in cancelled.changes.earnings] == [(900, 450)]
    assert cancel(refund(1, 4_500), ledger).changes.earnings == ()


def test_what_is_voided_keeps_its_commission_to_be_reversed() -> None:
    ledger = books(*codes([1_000], percent=1_000))
    decide(purchase("A0", subtotal=SUBTOTAL), ledger)
    cancelled = cancel(replace(refund(1, 0), amount_minor=None), ledger)
    assert (earned(ledger), cancelled.changes.earnings) == ({"A0": 900}, ())


def test_an_order_gets_no_longer_than_can_be_read_for_each_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others in the same group wait for it."""
    monkeypatch.setattr(basket, "MOST_REDEMPTIONS", 2)
    monkeypatch.setattr(voiding, "MOST_REFUNDS", 2)
    ledger = books(*codes([0, 0, 0]))
    assert isinstance(decide(purchase("A0", "A1", subtotal=SUBTOTAL), ledger), Redeemed)
    refused = decide(purchase("A2", subtotal=SUBTOTAL), ledger)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.reason) == ("A2", "too_many_codes")
    asked = purchase("A2", subtotal=SUBTOTAL)
    held = reserve(HoldRequest(asked, uuid.uuid4(), NOW + timedelta(minutes=5)), ledger)
    assert isinstance(held, Refused)
    (verdict,) = appraise(asked, ledger)
    assert verdict.fault is not None
    assert {held.reason, verdict.fault.reason, refused.reason} == {"too_many_codes"}
    again = decide(purchase("A1", subtotal=SUBTOTAL), ledger)
    assert isinstance(again, Redeemed)
    assert len(again.repeated) == 1
    for number in (1, 2, 1):
        assert "thousand" not in (cancel(refund(number, 1), ledger).notice or "")
    full = cancel(refund(3, 1), ledger)
    assert (full.refund, len(book(ledger).refunds)) == (None, 2)
    assert full.notice is not None
    assert "thousand refunds" in full.notice
    assert len(cancel(replace(refund(4, 0), amount_minor=None), ledger).voids) == 2
