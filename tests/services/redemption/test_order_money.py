"""What an order's codes leave in the database and say in events: dropped codes, commissions and shares of lines."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.redemption.domain.reasons import Reason
from shared.events.redemption import CodeCommissionChangedV1, CodeRedemptionSkippedV1
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

HOUR = timedelta(hours=1)
ORDER = {"currency": "EUR", "subtotal": 10_000}
LINES = {
    "currency": "EUR",
    "subtotal": 3_000,
    "items": [{"product_id": "X", "amount": 1_000}, {"product_id": "Y", "amount": 2_000}],
}
SKIPPED: Reason = "not_combinable"


async def earning_codes(merchant: Merchant, program: Any, *texts: str, rate: int = 1_000) -> None:
    for text in texts:
        coupon = await merchant.coupon(program, percent=1_000)
        await merchant.restrict_coupon(coupon, commission_hundredths=rate)
        await merchant.code(program, coupon, text, partner_id=await merchant.partner(program))


def changes(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    changed = [event for event in events if event["event"] == "code.commission_changed"]
    for event in changed:
        CodeCommissionChangedV1.model_validate_json(json.dumps(event))
    return [
        (e["code"], e["previous_amount_minor"], e["commission"]["amount_minor"], e["commission_version"])
        for e in changed
    ]


class TestADroppedCode:
    async def test_stays_unused_and_is_told_once_per_event(
        self, decider: Decider, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=1_000)
        await merchant.restrict_coupon(coupon, combination="other_coupons")
        for text in ("ONE", "TWO"):
            await merchant.code(program, coupon, text)
        body = checkout(program, "ONE", "TWO", event="e-1", order=ORDER)
        redeemed, skipped = await decider.take(body)
        assert (redeemed["event"], redeemed["code"]) == ("code.redeemed", "ONE")
        assert (skipped["event"], skipped["code"]) == ("code.redemption_skipped", "TWO")
        assert (skipped["reason"], skipped["blocked_by"]) == (SKIPPED, "ONE")
        CodeRedemptionSkippedV1.model_validate_json(json.dumps(skipped))
        assert await decider.take(body) == []
        rows = await admin.fetch("SELECT code, reason, event_id FROM redemption.rejections")
        assert [tuple(row) for row in rows] == [("TWO", SKIPPED, "e-1")]
        (other,) = await decider.take(checkout(program, "TWO", ref="order-2", order=ORDER))
        assert (other["event"], other["times_redeemed"]) == ("code.redeemed", 1)

    async def test_is_judged_anew_when_the_order_is_reported_again(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        alone = await merchant.coupon(program, percent=1_000)
        await merchant.restrict_coupon(alone, combination="none")
        await merchant.code(program, alone, "ALONE")
        await merchant.code(program, await merchant.coupon(program, percent=1_000), "ONE")
        assert [e["event"] for e in await decider.take(checkout(program, "ONE", "ALONE", order=ORDER))] == [
            *("code.redeemed", "code.redemption_skipped"),
        ]
        await merchant.restrict_coupon(alone, combination="any")
        (late,) = await decider.take(checkout(program, "ONE", "ALONE", order=ORDER))
        assert (late["event"], late["code"]) == ("code.redeemed", "ALONE")

    async def test_is_refused_with_the_one_in_its_way_where_somebody_asks(self, shop: Shop, merchant: Merchant) -> None:
        coupon = await merchant.coupon(shop.program_id, percent=1_000)
        await merchant.restrict_coupon(coupon, combination="other_coupons")
        for text in ("ONE", "TWO"):
            await merchant.code(shop.program_id, coupon, text)
        refused = await shop.redeem("ONE", "TWO", order=ORDER)
        assert (refused.status, refused.body["code"], list(refused.body["errors"])) == (409, SKIPPED, ["codes.1"])
        assert "ONE" in refused.body["detail"]
        verdict = (await shop.validate("ONE", "TWO", order=ORDER)).data["codes"][1]
        assert (verdict["reason"], verdict["blocked_by"]) == (SKIPPED, "ONE")
        assert (await shop.redeem("TWO", order=ORDER)).status == 201


class TestAnOrderThatWasTakenBackBefore:
    """The answer for its purchase is returned all the same, or nobody learns what happened to a code."""

    @pytest.fixture
    async def program(self, merchant: Merchant) -> Any:
        program = await merchant.program()
        coupon = await merchant.coupon(program, percent=1_000)
        await merchant.restrict_coupon(coupon, combination="other_coupons")
        for text in ("ONE", "TWO"):
            await merchant.code(program, coupon, text)
        await merchant.code(program, await merchant.coupon(program), "OFF", is_active=False)
        return program

    @pytest.mark.parametrize("back", [{}, {"amount": 9_000}], ids=["cancelled", "refunded"])
    async def test_says_of_a_code_that_it_dropped_out(
        self, decider: Decider, program: Any, admin: "asyncpg.Connection[asyncpg.Record]", back: dict[str, Any]
    ) -> None:
        assert await decider.take(taken_back(program, "refunded" if back else "cancelled", **back)) == []
        body = checkout(program, "ONE", "TWO", order=ORDER, time=NOW - HOUR, event="e-1")
        voided, skipped = await decider.take(body)
        assert (voided["event"], voided["code"], voided["was_counted"]) == ("code.redemption_voided", "ONE", False)
        assert (skipped["event"], skipped["code"], skipped["reason"]) == ("code.redemption_skipped", "TWO", SKIPPED)
        rows = await admin.fetch("SELECT code, reason, event_id FROM redemption.rejections")
        assert [tuple(row) for row in rows] == [("TWO", SKIPPED, "e-1")]
        assert await admin.fetchval("SELECT sum(uses) FROM redemption.code_counters") == 0

    @pytest.mark.parametrize("back", [{}, {"amount": 9_000}], ids=["cancelled", "refunded"])
    async def test_says_of_a_code_that_it_is_refused(
        self, decider: Decider, program: Any, admin: "asyncpg.Connection[asyncpg.Record]", back: dict[str, Any]
    ) -> None:
        assert await decider.take(taken_back(program, "refunded" if back else "cancelled", **back)) == []
        (told,) = await decider.take(checkout(program, "ONE", "OFF", order=ORDER, time=NOW - HOUR))
        assert (told["event"], told["code"], told["reason"]) == ("code.redemption_rejected", "OFF", "code_inactive")
        assert await admin.fetchval("SELECT count(*) FROM redemption.redemptions") == 0

    async def test_says_so_over_http(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "OFF", is_active=False)
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONE")
        await shop.void_order()
        paid_at = (NOW - HOUR).isoformat()
        replies = [await shop.redeem(code, order=ORDER, occurred_at=paid_at) for code in ("OFF", "ONE")]
        assert [reply.body["code"] for reply in replies] == ["code_inactive", "order_cancelled"]

    async def test_needs_no_use_that_is_free(self, decider: Decider, program: Any) -> None:
        """It takes none up, so whether others have used the code since does not matter."""
        await decider.take(taken_back(program), checkout(program, "ONE", ref="other"))
        (told,) = await decider.take(checkout(program, "ONE", order=ORDER, time=NOW - HOUR))
        assert (told["event"], told["was_counted"]) == ("code.redemption_voided", False)


class TestCommissions:
    async def test_follow_refunds_later_codes_and_voids(self, shop: Shop, merchant: Merchant) -> None:
        await earning_codes(merchant, shop.program_id, "ONE", "TWO")
        first = await shop.redeem("ONE", order=ORDER)
        assert first.data["redemptions"][0]["commission"]["amount_minor"] == 900
        second = await shop.redeem("TWO", order=ORDER)
        assert second.data["redemptions"][0]["commission"]["amount_minor"] == 800
        assert changes(shop.announced()) == [("ONE", 900, 800, 1)]
        await shop.void_order(amount=4_000, refund_ref="r-1")
        assert changes(shop.announced())[1:] == [("ONE", 800, 400, 2), ("TWO", 800, 400, 1)]
        shown = await shop.send("GET", f"/v1/redemptions/{first.data['redemptions'][0]['id']}")
        assert shown.data["commission"]["amount_minor"] == 400
        await shop.send("POST", f"/v1/redemptions/{second.data['redemptions'][0]['id']}/void", {})
        assert changes(shop.announced())[3:] == [("ONE", 400, 500, 3)]
        voided = [event for event in shop.announced() if event["event"] == "code.redemption_voided"]
        assert [event["commission"]["amount_minor"] for event in voided] == [400]

    async def test_heard_of_in_any_order_come_out_the_same(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        await earning_codes(merchant, program, "ONE", "TWO")
        refund = taken_back(program, "refunded", ref="a", amount=4_000)
        (redeemed,) = await decider.take(refund, checkout(program, "ONE", ref="a", order=ORDER))
        assert redeemed["commission"]["amount_minor"] == 500
        bought, changed = await decider.take(
            checkout(program, "TWO", ref="b", order=ORDER), taken_back(program, "refunded", ref="b", amount=4_000)
        )
        assert bought["commission"]["amount_minor"] == 900
        assert changes([changed]) == [("TWO", 900, 500, 1)]

    async def test_of_one_order_are_capped_by_the_program_and_shared(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.restrict_program(shop.program_id, commission_cap_hundredths=1_500)
        await earning_codes(merchant, shop.program_id, "ONE", "TWO", rate=3_000)
        made = await shop.redeem("ONE", "TWO", order=ORDER)
        assert [r["commission"]["amount_minor"] for r in made.data["redemptions"]] == [600, 600]


class TestLines:
    async def test_say_what_each_code_takes_at_every_door(self, shop: Shop, merchant: Merchant) -> None:
        coupon = await merchant.coupon(shop.program_id, percent=1_000)
        await merchant.code(shop.program_id, coupon, "TEN")
        lines = [
            {"line": 0, "product_id": "X", "discount_minor": 100},
            {"line": 1, "product_id": "Y", "discount_minor": 200},
        ]
        verdict = (await shop.validate("TEN", order=LINES)).data["codes"][0]
        held = await shop.reserve("TEN", order=LINES)
        shown = await shop.send("GET", f"/v1/reservations/{held.data['id']}")
        made = await shop.redeem("TEN", order=LINES)
        found = await shop.send("GET", f"/v1/redemptions/{made.data['redemptions'][0]['id']}")
        assert verdict["discount"]["lines"] == lines
        assert held.data["codes"][0]["lines"] == shown.data["codes"][0]["lines"] == lines
        assert made.data["redemptions"][0]["discount"]["lines"] == found.data["discount"]["lines"] == lines

    async def test_add_up_where_a_later_request_lists_them_otherwise(self, shop: Shop, merchant: Merchant) -> None:
        """The same item stood there under two places, each with a part of what was taken off it."""
        for text in ("ONE", "TWO"):
            await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=4_000), text)
        items = [{"product_id": "X", "amount": 100}, {"product_id": "X", "amount": 200}]
        order = {"currency": "EUR", "subtotal": 300, "items": items}
        await shop.redeem("ONE", order=order)
        await shop.redeem("TWO", order={**order, "items": [*reversed(items)]})
        shown = (await shop.send("GET", "/v1/orders/order-1")).data
        assert shown["totals"]["discount_minor"] == 240
        assert [(each["line"], each["product_id"], each["discount_minor"]) for each in shown["lines"]] == [
            (0, "X", 160),
            (1, "X", 80),
        ]
