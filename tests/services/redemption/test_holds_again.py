"""A reservation asked for again: never shorter, and not longer once a code of it has ended."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.reserving import hold_until
from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import NOW, Merchant

MINUTE = timedelta(minutes=1)
TIMES = st.integers(0, 10_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(TIMES, st.none() | TIMES, st.booleans())
def test_no_asking_shortens_it_and_none_after_the_end_lengthens_it(asked: Any, held: Any, has_ended: bool) -> None:
    until = hold_until(asked, held, has_ended=has_ended)
    assert until in (asked, held)
    if held is not None:
        assert until >= held
        assert until >= asked or has_ended
        assert not has_ended or until == held


async def test_asking_again_for_less_keeps_what_was_promised(shop: Shop, merchant: Merchant) -> None:
    """A customer's second visit to the checkout page would release the code to others."""
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
    first = await shop.reserve("ONCE", ttl_seconds=3600)
    again = await shop.reserve("ONCE", ttl_seconds=60)
    assert (again.status, again.data["expires_at"]) == (200, first.data["expires_at"])
    shop.decider.now += 2 * MINUTE
    assert (await shop.redeem("ONCE", ref="other")).body["code"] == "code_held"


async def test_a_code_is_not_carried_past_its_end_for_ever(shop: Shop, merchant: Merchant) -> None:
    for name, coupon in (
        ("CODE", await merchant.coupon(shop.program_id)),
        ("COUPON", await merchant.coupon(shop.program_id, expires_at=NOW + 5 * MINUTE)),
    ):
        shop.decider.now = NOW
        expires_at = NOW + 5 * MINUTE if name == "CODE" else None
        await merchant.code(shop.program_id, coupon, name, expires_at=expires_at)
        made = await shop.reserve(name, ref=name, ttl_seconds=600)
        shop.decider.now += 4 * MINUTE
        before = await shop.reserve(name, ref=name, ttl_seconds=900)
        assert before.data["expires_at"] > made.data["expires_at"]
        shop.decider.now += 2 * MINUTE
        after = await shop.reserve(name, ref=name, ttl_seconds=86_400)
        assert (after.status, after.data["expires_at"]) == (200, before.data["expires_at"])
        assert (await shop.redeem(name, ref=name)).status == 201
        lost = await shop.reserve(name, ref="other")
        assert lost.body["code"] in ("code_expired", "code_used")


async def test_its_time_over_nothing_holds_an_ended_code(shop: Shop, merchant: Merchant) -> None:
    coupon = await merchant.coupon(shop.program_id)
    await merchant.code(shop.program_id, coupon, "SOON", expires_at=NOW + MINUTE)
    await shop.reserve("SOON", ttl_seconds=120)
    shop.decider.now += 2 * MINUTE
    assert (await shop.reserve("SOON")).body["code"] == "code_expired"
    assert (await shop.redeem("SOON")).body["code"] == "code_expired"
