"""The rules alone: invariants as properties, each refusal by name, and which code a string means."""

import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain import reasons
from services.redemption.domain.books import Books, Count
from services.redemption.domain.decision import Redeemed, decide
from services.redemption.domain.judgement import Refused
from services.redemption.domain.pot import discount_minor
from services.redemption.domain.purchase import Purchase, WantedCode, effective_time
from services.redemption.domain.terms import CodeTerms, meant_code, percentage
from shared.events import redemption as events

NOW = datetime(2026, 3, 18, 12, 0, tzinfo=UTC)
PROGRAM, COUPON, PARTNER = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
SECOND = timedelta(seconds=1)

TERMS = CodeTerms(
    code_id=uuid.UUID(int=10),
    program_id=PROGRAM,
    partner_id=PARTNER,
    coupon_id=COUPON,
    code="ACME-A0",
    canonical="A0",
    code_is_active=True,
    code_starts_at=None,
    code_expires_at=None,
    code_limit=1,
    code_created_at=NOW - timedelta(days=2),
    code_archived_at=None,
    coupon_uuid_code="welcome",
    coupon_name="Welcome",
    coupon_is_active=True,
    discount_type="percent",
    percent_hundredths=1250,
    amount_minor=None,
    currency=None,
    duration_type="once",
    duration_value=None,
    coupon_starts_at=None,
    coupon_expires_at=None,
    coupon_limit=None,
    coupon_archived_at=None,
    partner_status="active",
    quota_remaining=7,
    attribute_names=["card_id"],
)


def books(*terms: CodeTerms, uses: int = 0, coupon_uses: int = 0) -> Books:
    candidates: dict[tuple[uuid.UUID, str], list[CodeTerms]] = {}
    for each in terms:
        candidates.setdefault((each.program_id, each.canonical), []).append(each)
    return Books(
        candidates,
        {each.code_id: Count(uses, uses) for each in terms},
        {each.coupon_id: Count(coupon_uses, coupon_uses) for each in terms if each.coupon_limit is not None},
        {},
        {PROGRAM},
    )


def purchase(*codes: str, order: str = "order-1", at: datetime = NOW, subtotal: int | None = None) -> Purchase:
    wanted = tuple(WantedCode(code, code) for code in codes)
    return Purchase(PROGRAM, "/shop", str(uuid.uuid4()), order, wanted, at, subtotal, "USD")


def nth_code(number: int, **changes: object) -> CodeTerms:
    return replace(TERMS, code_id=uuid.UUID(int=10 + number), canonical=f"A{number}", **changes)  # type: ignore[arg-type]


Orders = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)), max_size=40
)


class TestInvariants:
    @given(
        Orders,
        st.lists(st.one_of(st.none(), st.integers(1, 4)), min_size=4, max_size=4),
        st.one_of(st.none(), st.integers(1, 6)),
        st.integers(0, 2),
    )
    def test_limits_hold_orders_count_once_and_refused_orders_take_nothing(
        self,
        orders: list[tuple[int, list[int]]],
        limits: list[int | None],
        coupon_limit: int | None,
        used_before: int,
    ) -> None:
        """Against a model that keeps, in arrival order, the set of (order, code) that were redeemed."""
        codes = [nth_code(n, code_limit=limit, coupon_limit=coupon_limit) for n, limit in enumerate(limits)]
        ledger = books(*codes, uses=used_before, coupon_uses=used_before)
        redeemed: set[tuple[int, int]] = set()
        for order, wanted in orders:
            outcome = decide(purchase(*(f"A{n}" for n in wanted), order=str(order)), ledger)
            new = [n for n in wanted if (order, n) not in redeemed]
            code_uses = Counter(n for _, n in redeemed)
            code_fits = all(limits[n] is None or used_before + code_uses[n] < limits[n] for n in new)  # type: ignore[operator]
            by_others = used_before + sum(o != order for o, _ in redeemed)
            coupon_fits = coupon_limit is None or by_others < coupon_limit
            assert isinstance(outcome, Redeemed) == (not new or (code_fits and coupon_fits))
            if isinstance(outcome, Redeemed):
                # What only the order itself leaves no room for drops out, and the rest counts.
                room = len(new) if coupon_limit is None else coupon_limit - used_before - len(redeemed)
                assert [use.redemption.canonical for use in outcome.uses] == [f"A{n}" for n in new[:room]]
                assert [skipped.code for skipped in outcome.skipped] == [f"A{n}" for n in new[room:]]
                redeemed |= {(order, n) for n in new[:room]}
            for n, terms in enumerate(codes):
                assert ledger.code_counts[terms.code_id].uses == used_before + sum(c == n for _, c in redeemed)
        if coupon_limit is not None:
            assert ledger.coupon_counts[COUPON].uses == used_before + len(redeemed)

    @given(st.permutations(range(6)), st.integers(1, 5))
    def test_arrival_order_decides_who_gets_the_last_uses(self, arrivals: list[int], limit: int) -> None:
        ledger = books(nth_code(0, code_limit=limit))
        outcomes = [decide(purchase("A0", order=str(order)), ledger) for order in arrivals]
        assert [isinstance(outcome, Redeemed) for outcome in outcomes] == [n < limit for n in range(6)]

    @given(st.integers(1, 20))
    def test_any_number_of_deliveries_leaves_the_state_of_one(self, deliveries: int) -> None:
        ledger = books(nth_code(0, code_limit=None))
        outcomes = [decide(purchase("A0"), ledger) for _ in range(deliveries)]
        first = outcomes[0]
        assert isinstance(first, Redeemed)
        assert outcomes[1:] == [Redeemed((), (first.uses[0].redemption,))] * (deliveries - 1)
        assert ledger.code_counts[TERMS.code_id].uses == 1

    def test_counts_in_uses_grow_with_their_versions(self) -> None:
        ledger = books(nth_code(0, code_limit=3, coupon_limit=9), uses=1, coupon_uses=4)
        outcomes = [decide(purchase("A0", order=str(n)), ledger) for n in range(2)]
        uses = [use for outcome in outcomes if isinstance(outcome, Redeemed) for use in outcome.uses]
        counts = [(u.times_redeemed, u.version, u.coupon_times_redeemed, u.coupon_version) for u in uses]
        assert counts == [(2, 2, 5, 5), (3, 3, 6, 6)]

    def test_after_a_rejection_the_order_is_judged_anew(self) -> None:
        order = purchase("A0")
        assert isinstance(decide(order, books(nth_code(0, code_is_active=False))), Refused)
        assert isinstance(decide(order, books(nth_code(0))), Redeemed)

    @pytest.mark.parametrize("is_reported", [True, False])
    def test_two_codes_of_one_coupon_count_twice_against_its_limit(self, is_reported: bool) -> None:
        """A finished purchase keeps the first, and who asks is told which code takes up the last use."""
        ledger = books(nth_code(0, coupon_limit=1), nth_code(1, coupon_limit=1))
        outcome = decide(purchase("A0", "A1"), ledger, is_reported=is_reported)
        (refused,) = outcome.skipped if isinstance(outcome, Redeemed) else (outcome,)
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.code, refused.blocked_by) == ("coupon_exhausted", "A1", "A0")
        assert isinstance(outcome, Redeemed) == is_reported
        assert ledger.coupon_counts[COUPON].uses == int(is_reported)
        assert sum(count.uses for count in ledger.code_counts.values()) == int(is_reported)

    def test_the_same_code_in_another_order_is_another_use(self) -> None:
        ledger = books(nth_code(0, code_limit=2))
        outcomes = [decide(purchase("A0", order=str(n)), ledger) for n in range(3)]
        assert [type(outcome) for outcome in outcomes] == [Redeemed, Redeemed, Refused]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"code_is_active": False}, "code_inactive"),
            ({"code_archived_at": NOW}, "code_inactive"),
            ({"code_created_at": NOW + 61 * SECOND}, "code_not_started"),
            ({"code_starts_at": NOW + 61 * SECOND}, "code_not_started"),
            ({"coupon_starts_at": NOW + 61 * SECOND}, "code_not_started"),
            ({"code_expires_at": NOW}, "code_expired"),
            ({"coupon_expires_at": NOW}, "code_expired"),
            ({"partner_status": "suspended"}, "partner_not_active"),
            ({"partner_status": "pending"}, "partner_not_active"),
            ({"coupon_is_active": False}, "coupon_inactive"),
            ({"coupon_archived_at": NOW}, "coupon_inactive"),
        ],
    )
    def test_each_has_its_reason(self, changes: dict[str, object], reason: str) -> None:
        outcome = decide(purchase("A0"), books(nth_code(0, **changes)))
        assert isinstance(outcome, Refused)
        assert outcome.reason == reason

    @pytest.mark.parametrize(
        "changes",
        [
            {"code_created_at": NOW + 60 * SECOND},
            {"code_starts_at": NOW + 60 * SECOND},
            {"coupon_starts_at": NOW + 60 * SECOND},
            {"code_expires_at": NOW + SECOND},
            {"coupon_expires_at": NOW + SECOND},
            {"code_archived_at": NOW + SECOND},
            {"coupon_archived_at": NOW + SECOND},
            {"partner_id": None, "partner_status": None},
        ],
    )
    def test_what_is_just_inside_is_redeemed(self, changes: dict[str, object]) -> None:
        assert isinstance(decide(purchase("A0"), books(nth_code(0, **changes))), Redeemed)

    def test_used_up_codes_and_coupons(self) -> None:
        used = decide(purchase("A0"), books(nth_code(0, code_limit=2), uses=2))
        exhausted = decide(purchase("A0"), books(nth_code(0, code_limit=None, coupon_limit=5), coupon_uses=5))
        assert isinstance(used, Refused)
        assert isinstance(exhausted, Refused)
        assert (used.reason, exhausted.reason) == ("code_used", "coupon_exhausted")

    def test_unknown_codes_and_unknown_programs_differ(self) -> None:
        stranger = replace(purchase("A0"), program_id=uuid.UUID(int=99))
        for order, reason in ((purchase("B1"), "code_unknown"), (stranger, "program_unknown")):
            outcome = decide(order, books(nth_code(0)))
            assert isinstance(outcome, Refused)
            assert outcome.reason == reason

    def test_a_text_that_cannot_be_a_code_is_unknown(self) -> None:
        order = replace(purchase("A0"), codes=(WantedCode("💥", None),))
        outcome = decide(order, books(nth_code(0)))
        assert outcome == Refused("💥", None, "code_unknown", "The program has no such code.")

    def test_the_reasons_are_those_of_the_published_event(self) -> None:
        """But for that of a purchase that was taken back: an event of one is recorded as voided, and not refused."""
        published = events.CodeRedemptionRejectedV1.model_fields["reason"].annotation
        assert {*get_args(published), "order_cancelled"} == set(get_args(reasons.Reason))


class TestWhichCodeIsMeant:
    OLD = nth_code(1, code_created_at=NOW - timedelta(days=9), code_archived_at=NOW - timedelta(days=5))
    LIVE = nth_code(2, code_created_at=NOW - timedelta(days=5) + 10 * SECOND)

    @pytest.mark.parametrize(
        ("at", "meant"),
        [
            (NOW - timedelta(days=7), OLD),
            (NOW - timedelta(days=5) - SECOND, OLD),
            (NOW - timedelta(days=5), LIVE),
            (NOW - timedelta(days=5) + 5 * SECOND, LIVE),
            (NOW, LIVE),
            (NOW - timedelta(days=99), LIVE),
        ],
    )
    @pytest.mark.parametrize("turn", [1, -1])
    def test_the_one_live_then_else_the_live_one(self, at: datetime, meant: CodeTerms, turn: int) -> None:
        assert meant_code([self.OLD, self.LIVE][::turn], at) is meant

    def test_among_archived_ones_the_last_is_named(self) -> None:
        older = replace(self.OLD, code_archived_at=NOW - timedelta(days=8))
        assert meant_code([self.OLD, older], NOW) is self.OLD

    def test_no_candidates_mean_nothing(self) -> None:
        assert meant_code([], NOW) is None


class TestTime:
    @given(st.integers(-200_000, 200_000))
    def test_a_purchase_happened_within_the_day_before_its_first_receipt(self, seconds: int) -> None:
        claimed = NOW + seconds * SECOND
        moment = effective_time(claimed, NOW)
        assert NOW - timedelta(hours=24) <= moment <= NOW
        if NOW - timedelta(hours=24) <= claimed <= NOW:
            assert moment == claimed


class TestDiscount:
    @pytest.mark.parametrize(
        ("amount", "hundredths", "expected"),
        [
            (2500, 10_000, 2500),
            (2500, 1250, 313),
            (25, 1000, 3),
            (1004, 1250, 126),
            (4, 1250, 1),
            (3, 1250, 0),
            (12, 1250, 2),
            (999, 1, 0),
            (0, 5000, 0),
        ],
    )
    def test_percentages_round_half_up(self, amount: int, hundredths: int, expected: int) -> None:
        assert percentage(amount, hundredths) == expected

    def test_static_amounts_need_the_orders_currency_and_stop_at_the_subtotal(self) -> None:
        static = replace(TERMS, discount_type="static", percent_hundredths=None, amount_minor=500, currency="USD")
        assert discount_minor(static, 2500, "USD", 2500) == 500
        assert discount_minor(static, 300, "USD", 300) == 300
        assert discount_minor(static, 2500, "EUR", 2500) is None
        assert discount_minor(static, 2500, None, 2500) is None
        assert discount_minor(static, None, "USD", None) is None

    def test_an_orders_codes_never_take_off_more_than_its_subtotal(self) -> None:
        ledger = books(nth_code(0, percent_hundredths=8000), nth_code(1, percent_hundredths=8000))
        outcome = decide(purchase("A0", "A1", subtotal=1000), ledger)
        assert isinstance(outcome, Redeemed)
        assert [use.redemption.discount_minor for use in outcome.uses] == [800, 200]
