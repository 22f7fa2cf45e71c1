"""Cancellations, refunds and voids by event: once, in any order, and by the coupon's release policy."""

import itertools
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from shared.events.redemption import CodeExhaustedV1, CodeRedemptionVoidedV1, CouponExhaustedV1
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

COUNTS = """
SELECT (SELECT coalesce(sum(uses), 0) FROM redemption.code_counters)::int AS of_codes,
       (SELECT coalesce(sum(uses), 0) FROM redemption.coupon_counters)::int AS of_coupons,
       (SELECT coalesce(sum(spent_minor), 0) FROM redemption.coupon_counters)::int AS spent,
       (SELECT coalesce(sum(uses), 0) FROM redemption.period_counters WHERE period = 'day')::int AS of_days,
       (SELECT count(*) FROM redemption.redemptions WHERE is_counted)::int AS counted,
       (SELECT count(*) FROM redemption.redemptions WHERE voided_at IS NULL)::int AS standing
"""
Connection = asyncpg.Connection

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
USD = {"currency": "USD", "subtotal": 2500}


def names(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


class TestACancellation:
    async def test_tells_what_is_to_be_reversed(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        partner = await merchant.partner(program)
        coupon = await merchant.coupon(program, percent=2000, limit=9)
        await merchant.restrict_coupon(coupon, commission_hundredths=1000)
        code = await merchant.code(program, coupon, "ACME-1", partner_id=partner, limit=2)
        (made,) = await decider.take(checkout(program, "ACME-1", order=USD, customer={"id": "c-1"}, time=NOW - HOUR))
        (event,) = await decider.take(taken_back(program, reason="out of stock"))
        CodeRedemptionVoidedV1.model_validate_json(json.dumps(event))
        assert event == {
            "event": "code.redemption_voided",
            "redemption_id": made["redemption_id"],
            "program_id": str(program),
            "partner_id": str(partner),
            "code": "ACME-1",
            "code_id": str(code),
            "coupon_id": str(coupon),
            "order_ref": "order-1",
            "customer_id": "c-1",
            "discount": made["discount"],
            "commission": {"percent_hundredths": 1000, "amount_minor": 200, "currency": "USD"},
            "reason": "out of stock",
            "is_released": True,
            "was_counted": True,
            "redeemed_at": "2026-03-18T11:00:00Z",
            "occurred_at": "2026-03-18T12:00:00Z",
            "times_redeemed": 0,
            "times_redeemed_version": 2,
            "coupon_times_redeemed": 0,
            "coupon_times_redeemed_version": 2,
        }

    async def test_takes_back_all_codes_of_its_order_and_ends_its_reservation(
        self, shop: Shop, merchant: Merchant
    ) -> None:
        coupon = await merchant.coupon(shop.program_id)
        for text in ("C1", "C2", "C3"):
            await merchant.code(shop.program_id, coupon, text)
        await shop.redeem("C1", "C2", ref="a")
        await shop.reserve("C3", ref="a")
        events = await shop.decider.take(taken_back(shop.program_id, ref="a"))
        assert [(event["event"], event["code"]) for event in events] == [
            ("code.redemption_voided", "C1"),
            ("code.redemption_voided", "C2"),
        ]
        assert (await shop.redeem("C1", "C2", "C3", ref="b")).status == 201

    async def test_of_a_purchase_in_the_same_batch_takes_it_back(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        both = await decider.take(
            checkout(program, "ONCE", ref="a", time=NOW - HOUR),
            taken_back(program, ref="a"),
            checkout(program, "ONCE", ref="b"),
        )
        assert names(both) == ["code.redeemed", "code.redemption_voided", "code.redeemed"]
        assert await admin.fetchval("SELECT uses FROM redemption.code_counters") == 1

    async def test_comes_twenty_times_and_is_one(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "MANY", limit=5)
        await decider.take(checkout(program, "MANY", ref="a"), checkout(program, "MANY", ref="b"))
        events = await decider.take(*(taken_back(program, ref="a") for _ in range(20)))
        assert [(event["event"], event["times_redeemed"]) for event in events] == [("code.redemption_voided", 1)]

    async def test_of_another_program_takes_nothing_back(self, decider: Decider, merchant: Merchant) -> None:
        program, other = await merchant.program(), await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        await decider.take(checkout(program, "ONCE"))
        assert await decider.take(taken_back(other)) == []


class TestRelease:
    @pytest.mark.parametrize(
        ("policy", "wish", "is_over", "is_released"),
        [
            ("always", None, False, True),
            ("always", None, True, True),
            ("always", False, False, False),
            ("until_expiry", None, False, True),
            ("until_expiry", None, True, False),
            ("until_expiry", True, True, False),
            ("until_expiry", False, False, False),
            ("never", None, False, False),
            ("never", True, False, False),
        ],
    )
    async def test_follows_the_policy_as_it_was(
        self,
        decider: Decider,
        merchant: Merchant,
        admin: "Connection[asyncpg.Record]",
        policy: str,
        wish: bool | None,
        is_over: bool,
        is_released: bool,
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, release_policy=policy)
        await merchant.code(program, coupon, "ONCE", expires_at=NOW + HOUR)
        await decider.take(checkout(program, "ONCE", ref="a"))
        await merchant.restrict_coupon(coupon, release_policy="never" if policy == "always" else "always")
        decider.now += 2 * HOUR if is_over else timedelta(seconds=1)
        (event,) = await decider.take(taken_back(program, ref="a", time=decider.now, release=wish))
        assert (event["is_released"], event["times_redeemed"]) == (is_released, 0 if is_released else 1)
        assert await admin.fetchval("SELECT uses FROM redemption.code_counters") == (0 if is_released else 1)
        (status,) = await admin.fetch("SELECT voided_at IS NOT NULL, is_counted FROM redemption.redemptions")
        assert tuple(status) == (True, not is_released)

    @pytest.mark.parametrize("kind", ["cancelled", "refunded"])
    async def test_goes_by_the_time_of_what_took_it_back_however_late_that_is_heard(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]", kind: str
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, release_policy="until_expiry")
        await merchant.code(program, coupon, "ONCE", expires_at=NOW + HOUR)
        await decider.take(checkout(program, "ONCE"))
        decider.now += 3 * DAY
        (event,) = await decider.take(taken_back(program, kind, time=NOW + HOUR / 2))
        assert (event["event"], event["is_released"]) == ("code.redemption_voided", True)
        assert await admin.fetchval("SELECT uses FROM redemption.code_counters") == 0


class TestAPurchaseHeardAfterItsCancellation:
    """The result is as if it had arrived first: its use stays taken exactly if it would not have become free."""

    @pytest.mark.parametrize("is_reversed", [False, True], ids=["in order", "reversed"])
    @pytest.mark.parametrize(
        ("policy", "wish", "at", "uses"),
        [
            ("always", None, HOUR / 2, 0),
            ("always", False, HOUR / 2, 1),
            ("never", None, HOUR / 2, 1),
            ("never", True, HOUR / 2, 1),
            ("until_expiry", None, HOUR / 2, 0),
            ("until_expiry", None, 2 * HOUR, 1),
            ("until_expiry", False, HOUR / 2, 1),
        ],
    )
    async def test_leaves_the_same_uses(
        self,
        decider: Decider,
        merchant: Merchant,
        admin: "Connection[asyncpg.Record]",
        policy: str,
        wish: bool | None,
        at: timedelta,
        uses: int,
        is_reversed: bool,
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=1_000, limit=1)
        await merchant.restrict_coupon(
            coupon,
            release_policy=policy,
            customer_redemption_limit=1,
            daily_redemption_limit=1,
            budget_minor=250,
            budget_currency="USD",
        )
        await merchant.code(program, coupon, "ONE", expires_at=NOW + HOUR)
        await merchant.code(program, coupon, "TWO", expires_at=NOW + DAY)
        buyer: dict[str, Any] = {"customer": {"id": "c-1"}, "order": USD}
        bodies = [checkout(program, "ONE", **buyer), taken_back(program, time=NOW + at, release=wish)]
        decider.now += 3 * HOUR
        for body in reversed(bodies) if is_reversed else bodies:
            events = await decider.take(body)
        if uses and is_reversed:
            assert names(events) == ["code.redemption_voided", "coupon.exhausted"]
        assert (events[0]["is_released"], events[0]["times_redeemed"]) == (not uses and not is_reversed, uses)
        counts = await admin.fetchrow(COUNTS)
        assert tuple(counts or ()) == (uses, uses, 250 * uses, uses, uses, 0)
        told = names(await decider.take(checkout(program, "TWO", ref="other", **buyer)))
        assert told[0] == ("code.redemption_rejected" if uses else "code.redeemed")

    @pytest.mark.parametrize("policy", ["never", "always"])
    async def test_needs_a_use_that_is_left_where_it_takes_one(
        self, decider: Decider, merchant: Merchant, policy: str
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, release_policy=policy)
        await merchant.code(program, coupon, "ONCE")
        await decider.take(taken_back(program), checkout(program, "ONCE", ref="other"))
        (told,) = await decider.take(checkout(program, "ONCE", time=NOW - HOUR))
        if policy == "never":
            assert (told["event"], told["reason"]) == ("code.redemption_rejected", "code_used")
        else:
            assert (told["event"], told["was_counted"]) == ("code.redemption_voided", False)

    async def test_leaves_out_a_code_for_which_its_other_codes_left_no_room(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        """Also where the other code came by an earlier event, and was taken back with it."""
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=1_000)
        await merchant.restrict_coupon(coupon, release_policy="never", customer_redemption_limit=1)
        for text in ("ONE", "TWO"):
            await merchant.code(program, coupon, text)
        await decider.take(taken_back(program))
        buyer: dict[str, Any] = {"customer": {"id": "c-1"}, "order": USD}
        first = await decider.take(checkout(program, "ONE", time=NOW - 2 * HOUR, **buyer))
        second = await decider.take(checkout(program, "TWO", time=NOW - HOUR, **buyer))
        assert names([*first, *second]) == ["code.redemption_voided", "code.redemption_skipped"]
        assert (second[0]["reason"], second[0]["blocked_by"]) == ("customer_limit_reached", "ONE")
        assert await admin.fetchval("SELECT sum(uses) FROM redemption.code_counters") == 1

    @pytest.mark.parametrize("keeps_first", [True, False])
    async def test_goes_by_what_took_it_back_first(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]", keeps_first: bool
    ) -> None:
        """An earlier event that arrives later decides whether the use is free, and that is emitted again."""
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        await decider.take(checkout(program, "ONCE", time=NOW - 3 * HOUR))
        later = taken_back(program, time=NOW - HOUR, release=None if keeps_first else False)
        first = taken_back(program, time=NOW - 2 * HOUR, release=False if keeps_first else None)
        (voided,) = await decider.take(later)
        (again,) = await decider.take(first)
        assert voided["redemption_id"] == again["redemption_id"]
        assert [voided["is_released"], again["is_released"]] == [keeps_first, not keeps_first]
        assert [voided["was_counted"], again["was_counted"]] == [True, False]
        uses = int(keeps_first)
        assert [voided["times_redeemed"], again["times_redeemed"]] == [1 - uses, uses]
        assert await admin.fetchval("SELECT uses FROM redemption.code_counters") == uses

    async def test_leaves_what_was_voided_before_we_kept_that_as_it_is(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        await decider.take(checkout(program, "ONCE", time=NOW - HOUR))
        await decider.take(taken_back(program, release=False))
        await admin.execute("UPDATE redemption.orders SET cancel_releases = NULL")
        assert await decider.take(taken_back(program, time=NOW - HOUR / 2)) == []
        assert await admin.fetchval("SELECT uses FROM redemption.code_counters") == 1


class TestARefund:
    async def test_of_a_part_is_recorded_and_takes_nothing_back(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, percent=2000), "ONCE")
        await decider.take(checkout(program, "ONCE", order=USD))
        assert await decider.take(taken_back(program, "refunded", amount=500, reason="late")) == []
        row = await admin.fetchrow("SELECT order_ref, amount_minor, reason FROM redemption.refunds")
        assert tuple(row or ()) == ("order-1", 500, "late")

    async def test_of_the_last_part_takes_the_order_back(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, percent=2000), "ONCE")
        await decider.take(checkout(program, "ONCE", order=USD))
        parts = [await decider.take(taken_back(program, "refunded", amount=amount)) for amount in (500, 1499, 1)]
        assert [names(events) for events in parts] == [[], [], ["code.redemption_voided"]]

    @pytest.mark.parametrize("is_known", [True, False], ids=["purchase first", "refund first"])
    async def test_of_the_shipping_gives_no_free_code_back(
        self, decider: Decider, merchant: Merchant, is_known: bool
    ) -> None:
        """Nothing was paid for the order itself, so any amount would be all of it, and the code free for the next."""
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, percent=10_000), "FREE")
        paid = checkout(program, "FREE", order=USD, time=NOW - HOUR)
        shipping = taken_back(program, "refunded", amount=499)
        events = await decider.take(*((paid, shipping) if is_known else (shipping, paid)))
        assert names(events) == ["code.redeemed"]
        assert names(await decider.take(taken_back(program, "refunded", amount=0))) == ["code.redemption_voided"]

    @pytest.mark.parametrize("refund", [{}, {"amount": 500, "release": True}])
    async def test_of_all_or_with_the_use_takes_the_order_back(
        self, decider: Decider, merchant: Merchant, refund: dict[str, Any]
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, percent=2000), "ONCE")
        await decider.take(checkout(program, "ONCE", order=USD))
        (event,) = await decider.take(taken_back(program, "refunded", **refund))
        assert (event["event"], event["is_released"]) == ("code.redemption_voided", True)


class TestAnyOrder:
    @pytest.mark.parametrize("is_one_batch", [False, True], ids=["one by one", "in one batch"])
    @pytest.mark.parametrize(
        ("kinds", "stands"),
        [
            (["bought 1", "cancelled 2"], False),
            (["bought 1", "cancelled 2", "bought 3"], True),
            (["bought 1", "cancelled 2", "cancelled 4", "bought 3"], False),
            (["bought 1", "bought 2", "refunded 1500 3", "refunded 500 4"], False),
            (["bought 1", "bought 3", "refunded 1500 2", "refunded 1500 4"], True),
            (["bought 1", "bought 3", "refunded 1500 2", "refunded 2000 4"], False),
            (["bought 1", "refunded 1500 2", "cancelled 3", "refunded 500 4"], False),
            (["bought 1", "refunded 1500 2", "cancelled 3", "bought 4", "refunded 1500 5"], True),
            (["bought 1", "refunded 500 2", "cancelled 3", "bought 4", "refunded 2000 5"], False),
            (["bought 1", "bought 3", "refunded 1500 2", "refunded 1500 4", "refunded 500 4"], False),
            (["bought 1", "refunded 1500 2", "refunded 500 5", "bought 3", "refunded 1500 4"], False),
            (["bought 1", "bought 4", "refunded 2000 2", "refunded 1000 5", "refunded 1000 3"], True),
            (["bought 1", "refunded 1500 2", "refunded 499 4"], True),
            (["bought 1", "refunded 1500 2", "refunded 500 4"], False),
        ],
    )
    async def test_comes_to_the_same(
        self,
        decider: Decider,
        merchant: Merchant,
        admin: "Connection[asyncpg.Record]",
        kinds: list[str],
        stands: bool,
        is_one_batch: bool,
    ) -> None:
        """Every permutation of the same events, about an order of its own; in a batch each comes twice.

        One by one means of each order: what is one transaction for all orders knows of each its next event only.
        """
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=2000)
        orders = [
            [self.event(program, f"C{n}", str(n), kind) for kind in order]
            for n, order in enumerate(itertools.permutations(kinds))
        ]
        for n in range(len(orders)):
            await merchant.code(program, coupon, f"C{n}", limit=3)
        if is_one_batch:
            await decider.take(*(body for order in orders for body in (*order, *order)))
        else:
            for step in zip(*orders, strict=True):
                await decider.take(*step)
        rows = await admin.fetch("SELECT uses FROM redemption.code_counters")
        assert {row["uses"] for row in rows} == {int(stands)}
        standing = await admin.fetchval("SELECT count(*) FROM redemption.redemptions WHERE voided_at IS NULL")
        assert standing == (len(rows) if stands else 0)
        told = await admin.fetch("SELECT type, count(*) FROM redemption.events GROUP BY type")
        counts = {row["type"]: row["count"] for row in told}
        uncounted = await admin.fetchval("SELECT count(*) FROM redemption.redemptions WHERE voided_at IS NOT NULL")
        assert counts.get("code.redemption_voided", 0) == uncounted

    @staticmethod
    def event(program: Any, code: str, ref: str, kind: str) -> bytes:
        name, *amount, hour = kind.split()
        time = NOW - 10 * HOUR + int(hour) * HOUR
        identity = f"{ref} {kind}"
        if name == "bought":
            return checkout(program, code, ref=ref, event=identity, time=time, order=USD)
        extra = {"amount": int(amount[0])} if amount else {}
        return taken_back(program, name, ref=ref, event=identity, time=time, **extra)


class TestExhaustion:
    async def test_is_told_at_the_last_use_and_again_after_a_void(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, limit=2)
        await merchant.code(program, coupon, "TWO", limit=2)
        await decider.take(checkout(program, "TWO", ref="a"))
        last = await decider.take(checkout(program, "TWO", ref="b"))
        await decider.take(taken_back(program, ref="a"))
        again = await decider.take(checkout(program, "TWO", ref="c"))
        for events in (last, again):
            assert names(events) == ["code.redeemed", "code.exhausted", "coupon.exhausted"]
            CodeExhaustedV1.model_validate_json(json.dumps(events[1]))
            CouponExhaustedV1.model_validate_json(json.dumps(events[2]))

    async def test_of_a_single_use_code_is_no_news(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        assert names(await decider.take(checkout(program, "ONCE"))) == ["code.redeemed"]
