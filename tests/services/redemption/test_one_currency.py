"""An order has one currency: amounts of two must never be added up, whichever way and in whatever order they come."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from tests.services.redemption.conftest import Decider, Shop, told
from tests.services.redemption.merchant import Merchant, checkout, taken_back

EUR = {"currency": "EUR", "subtotal": 1_000}
JPY = {"currency": "JPY", "subtotal": 1_000}


@pytest.fixture
async def codes(shop: Shop, merchant: Merchant) -> None:
    for text in ("ONE", "TWO"):
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=1_000), text, limit=None)


async def shown(shop: Shop) -> tuple[list[str], dict[str, Any]]:
    """Return the order's codes and its money."""
    found = (await shop.send("GET", "/v1/orders/order-1")).data
    return found["codes"], found["totals"]


@pytest.mark.usefixtures("codes")
async def test_an_event_and_a_request_meet_in_one_currency(shop: Shop, decider: Decider) -> None:
    """Discounts, subtotal and commissions of both shared one sum."""
    assert told(await decider.take(checkout(shop.program_id, "ONE", order=EUR))) == ["code.redeemed"]
    refused = await shop.redeem("TWO", order=JPY)
    assert (refused.status, refused.body["code"]) == (409, "currency_mismatch")
    assert told(await decider.take(checkout(shop.program_id, "TWO", order=JPY))) == ["currency_mismatch"]
    rejections = (await shop.send("GET", "/v1/orders/order-1")).data["rejections"]
    assert sorted(row["door"] for row in rejections) == ["event", "redemption"]
    codes, totals = await shown(shop)
    assert (codes, totals["currency"], totals["discount_minor"]) == (["ONE"], "EUR", 100)


@pytest.mark.usefixtures("codes")
async def test_two_events_of_one_batch_meet_in_one_currency(shop: Shop, decider: Decider) -> None:
    bodies = [checkout(shop.program_id, "ONE", order=EUR), checkout(shop.program_id, "TWO", order=JPY)]
    assert told(await decider.take(*bodies)) == ["code.redeemed", "currency_mismatch"]


@pytest.mark.usefixtures("codes")
async def test_a_reservation_says_in_which_currency_its_order_is(shop: Shop) -> None:
    held = await shop.reserve("ONE", order=EUR)
    assert (await shop.reserve("ONE", "TWO", order=JPY)).body["code"] == "currency_mismatch"
    assert (await shop.redeem("ONE", order=JPY)).body["code"] == "currency_mismatch"
    other = await shop.redeem("TWO", ref="other", reservation_id=held.data["id"], order=JPY)
    assert other.body["code"] == "currency_mismatch"
    assert (await shop.send("DELETE", f"/v1/reservations/{held.data['id']}")).status == 204
    assert (await shop.reserve("ONE", order=JPY)).status == 201


@pytest.mark.usefixtures("codes")
async def test_a_reservation_that_has_expired_says_nothing(shop: Shop, decider: Decider) -> None:
    await shop.reserve("ONE", order=EUR, ttl_seconds=60)
    decider.now += timedelta(seconds=61)
    assert (await shop.redeem("ONE", order=JPY)).status == 201


@pytest.mark.usefixtures("codes")
async def test_an_order_that_was_taken_back_may_be_bought_in_another(shop: Shop, decider: Decider) -> None:
    await shop.redeem("ONE", order=EUR)
    await shop.void_order()
    decider.now += timedelta(minutes=2)
    assert (await shop.redeem("ONE", order=JPY)).status == 201
    codes, totals = await shown(shop)
    assert (codes, totals["currency"], totals["discount_minor"]) == (["ONE"], "JPY", 100)


@pytest.mark.usefixtures("codes")
async def test_a_code_that_was_voided_too_early_is_not_redeemed_again_beside_another_currency(
    shop: Shop, decider: Decider
) -> None:
    """A cancellation that arrives late shows that the purchase in euros stands, while one in yen has come since."""
    start = decider.now - timedelta(hours=10)

    def at(hours: int) -> Any:
        return start + timedelta(hours=hours)

    program = shop.program_id
    await decider.take(checkout(program, "ONE", order=EUR, time=at(0)))
    await decider.take(checkout(program, "TWO", order=EUR, time=at(3)))
    back = await decider.take(taken_back(program, "refunded", amount=800, time=at(4)))
    assert sorted(event["code"] for event in back if event["event"] == "code.redemption_voided") == ["ONE", "TWO"]
    yen = checkout(program, "ONE", order=JPY, time=at(5))
    assert told(await decider.take(yen)) == ["code.redeemed"]
    # Without ONE the euros were 900, of which 800 went back: TWO stands, but for the yen.
    assert "code.redeemed" not in told(await decider.take(taken_back(program, time=at(1))))
    codes, totals = await shown(shop)
    assert (codes, totals["currency"], totals["discount_minor"]) == (["ONE"], "JPY", 100)


@pytest.mark.usefixtures("codes")
async def test_requests_at_one_moment_agree_on_one(shop: Shop, decider: Decider) -> None:
    """Which of them is first, nobody can say; only that no other currency joins it."""
    asked = [*(("ONE", order) for order in (EUR, JPY) * 3), *(("TWO", order) for order in (JPY, EUR) * 3)]
    reported = [checkout(shop.program_id, "TWO", order=order) for order in (JPY, EUR)]
    replies, _ = await asyncio.gather(
        asyncio.gather(*(shop.redeem(code, order=order) for code, order in asked)),
        asyncio.gather(*(decider.handle(body) for body in reported)),
    )
    assert {reply.status for reply in replies} <= {200, 201, 409}
    redeemed = [event for event in shop.announced() if event["event"] == "code.redeemed"]
    assert sorted(event["code"] for event in redeemed) == ["ONE", "TWO"]
    assert len({event["discount"]["currency"] for event in redeemed}) == 1


@pytest.mark.parametrize("arrival", list(itertools.permutations(("euros", "cancellation", "yen"))))
async def test_a_purchase_in_another_currency_after_a_cancellation_stands_in_any_order_of_arrival(
    shop: Shop, merchant: Merchant, decider: Decider, arrival: tuple[str, ...]
) -> None:
    """It was refused while the euros stood, and the cancellation that arrived then left nothing of the order."""
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=1_000), "ONE", limit=1)
    events = {
        "euros": checkout(shop.program_id, "ONE", order=EUR, time=decider.now - timedelta(hours=3)),
        "cancellation": taken_back(shop.program_id, time=decider.now - timedelta(hours=2)),
        "yen": checkout(shop.program_id, "ONE", order=JPY, time=decider.now - timedelta(hours=1)),
    }
    for name in arrival:
        await decider.take(events[name])
    codes, totals = await shown(shop)
    assert (codes, totals["discount_minor"]) == (["ONE"], 100)
