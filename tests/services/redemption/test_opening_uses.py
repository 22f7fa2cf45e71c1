"""Uses elsewhere before: a code and its coupon begin with them, and limits hold as if they had been redeemed here."""

import asyncio
from typing import Any

import asyncpg

from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import Merchant, checkout


class TestACode:
    async def test_has_as_many_uses_left_as_it_had_elsewhere(self, shop: Shop, merchant: Merchant) -> None:
        code = await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "TEN", limit=10)
        await merchant.restrict_code(code, opening_uses=7)
        answers = await asyncio.gather(*(shop.redeem("TEN", ref=str(n)) for n in range(8)))
        assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 5
        assert {answer.body["code"] for answer in answers if answer.status == 409} == {"code_used"}
        redeemed = [event for event in shop.announced() if event["event"] == "code.redeemed"]
        assert sorted(event["times_redeemed"] for event in redeemed) == [8, 9, 10]
        # What is taken back is free again, and no more than that.
        won = next(str(n) for n, answer in enumerate(answers) if answer.status == 201)
        await shop.void_order(won)
        assert (await shop.redeem("TEN", ref="late")).status == 201
        assert (await shop.redeem("TEN", ref="later")).status == 409

    async def test_that_was_used_up_there_is_refused_at_every_door(self, shop: Shop, merchant: Merchant) -> None:
        """Shops let a code be used more often than its limit, when it was lowered."""
        code = await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "OVER", limit=10)
        await merchant.restrict_code(code, opening_uses=12)
        assert (await shop.validate("OVER")).data["codes"][0]["reason"] == "code_used"
        assert (await shop.reserve("OVER")).body["code"] == "code_used"
        assert (await shop.redeem("OVER")).body["code"] == "code_used"
        (event,) = await shop.decider.take(checkout(shop.program_id, "OVER"))
        assert (event["event"], event["reason"]) == ("code.redemption_rejected", "code_used")

    async def test_with_a_hold_counts_both(self, shop: Shop, merchant: Merchant) -> None:
        code = await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "TWO", limit=2)
        await merchant.restrict_code(code, opening_uses=1)
        assert (await shop.reserve("TWO", ref="held")).status == 201
        assert (await shop.redeem("TWO", ref="other")).status == 409
        assert (await shop.redeem("TWO", ref="held")).status == 201


async def test_a_coupon_s_limit_counts_them_too(
    shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    coupon = await merchant.coupon(shop.program_id)
    await merchant.restrict_coupon(coupon, opening_uses=5, redemption_limit=7)
    for text in ("A1", "B2"):
        await merchant.code(shop.program_id, coupon, text, limit=None)
    statuses = [(await shop.redeem(text, ref=f"{text}-{n}")).status for n in range(2) for text in ("A1", "B2")]
    assert statuses == [201, 201, 409, 409]
    assert await admin.fetchval("SELECT uses FROM redemption.coupon_counters WHERE coupon_id = $1", coupon) == 7


async def test_a_limit_that_comes_later_counts_them(shop: Shop, merchant: Merchant) -> None:
    """Without a limit a coupon is not counted; the first decision under one counts what was before."""
    coupon = await merchant.coupon(shop.program_id)
    await merchant.restrict_coupon(coupon, opening_uses=5)
    await merchant.code(shop.program_id, coupon, "A1", limit=None)
    first: Any = await shop.redeem("A1", ref="first")
    await merchant.restrict_coupon(coupon, redemption_limit=7)
    assert [first.status, (await shop.redeem("A1", ref="2")).status, (await shop.redeem("A1", ref="3")).status] == [
        201,
        201,
        409,
    ]
