"""What an order's codes leave in the database and say in events: dropped codes, commissions and shares of lines."""

import json
from typing import Any

import asyncpg

from services.redemption.domain.reasons import Reason
from shared.events.redemption import CodeCommissionChangedV1, CodeRedemptionSkippedV1
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import Merchant, checkout, taken_back

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
