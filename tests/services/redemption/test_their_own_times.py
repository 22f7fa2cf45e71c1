"""What came first is told by the events' own times: any order of arrival, any delay and any clock end in the same."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.redemption.domain.books import Books
from services.redemption.domain.decision import decide
from services.redemption.domain.moments import CLOCK_ALLOWANCE, Moment, is_later, is_newer, moment
from services.redemption.domain.purchase import Cancellation, Purchase, WantedCode, effective_time
from services.redemption.domain.voiding import cancel
from shared.ids import new_id
from tests.services.redemption.conftest import Decider, Shop
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back
from tests.services.redemption.test_decision import PROGRAM, books, nth_code

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
USD = {"currency": "USD", "subtotal": 2500}
ONE, OTHER = "/shop", "/warehouse"

Clocks = st.sampled_from((ONE, OTHER, None))
Times = st.integers(-300, 300).map(lambda seconds: NOW + seconds * SECOND)
# The events of an order: at which of its times, by whom, what, how much.
Kinds = st.sampled_from(("bought", "bought", "cancelled", 800, 1700, 2500))
Stories = st.lists(st.tuples(Kinds, st.sampled_from((ONE, OTHER)), st.booleans()), min_size=2, max_size=6)


@given(Times, Times, Clocks, Clocks)
def test_one_clock_is_exact_and_two_are_a_minute_apart_in_favour_of_what_takes_back(
    bought: datetime, back: datetime, clock: str | None, other: str | None
) -> None:
    is_one_clock = clock is not None and clock == other
    allowance = timedelta(0) if is_one_clock else CLOCK_ALLOWANCE
    found = is_later(Moment(bought, bought, clock), Moment(back, back, other))
    assert found == (bought > back + allowance)


@given(Times, Times, Times)
def test_the_clamp_moves_no_moment_past_another_of_the_same_clock(
    first: datetime, second: datetime, heard: datetime
) -> None:
    moments = [moment(each, effective_time(each, heard), ONE) for each in (first, second)]
    assert is_later(*moments) == is_newer(*moments) == (first > second)
    assert all(each.known_at <= heard for each in moments)


def tell(story: Sequence[tuple[Any, str, bool]], arrivals: Sequence[int], delays: Sequence[int]) -> tuple[bool, int]:
    """Let the events of an order arrive, and return whether its purchase stands and how many uses are counted."""
    ledger: Books = books(nth_code(0, code_limit=None, percent_hundredths=0, code_created_at=NOW - 99 * DAY))
    arrived = NOW
    for place in arrivals:
        arrived += delays[place] * MINUTE
        kind, clock, _ = story[place]
        claimed = NOW - 30 * DAY + place * HOUR
        at = effective_time(claimed, arrived)
        if kind == "bought":
            codes = (WantedCode("A0", "A0"),)
            decide(
                Purchase(PROGRAM, clock, str(place), "1", codes, at, 2500, "USD", claimed_at=claimed, clock=clock),
                ledger,
            )
            continue
        amount = None if kind == "cancelled" else kind
        cancel(Cancellation(new_id(), PROGRAM, "1", at, amount_minor=amount, claimed_at=claimed, clock=clock), ledger)
    found = ledger.orders[PROGRAM, "1"]
    standing = [redemption for redemption in found.redemptions if redemption.voided_at is None]
    return bool(standing), next(iter(ledger.code_counts.values())).uses


@given(Stories, st.data())
def test_any_order_of_arrival_and_any_delay_end_as_the_order_of_the_times(
    story: list[tuple[Any, str, bool]], data: st.DataObject
) -> None:
    """A purchase at -30 h and its cancellation at -29 h, heard in reverse, left the order standing and counted."""
    places = range(len(story))
    arrivals = data.draw(st.permutations(places))
    delays = data.draw(st.lists(st.integers(0, 34 * 24 * 60), min_size=len(story), max_size=len(story)))
    in_order = tell(story, places, [0] * len(story))
    assert in_order[1] == int(in_order[0])
    assert tell(story, arrivals, delays) == in_order


class TestExamples:
    @pytest.mark.parametrize("is_refund", [False, True], ids=["cancelled", "refunded"])
    @pytest.mark.parametrize("is_reversed", [False, True])
    async def test_long_ago_and_heard_in_any_order(
        self, decider: Decider, merchant: Merchant, is_reversed: bool, is_refund: bool
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE", created_at=NOW - 9 * DAY)
        back = taken_back(program, "refunded" if is_refund else "cancelled", time=NOW - 29 * HOUR)
        events = [checkout(program, "ONCE", order=USD, time=NOW - 30 * HOUR), back]
        for body in reversed(events) if is_reversed else events:
            told = await decider.take(body)
            decider.now += MINUTE
        assert told[-1]["event"] == "code.redemption_voided"
        assert (await decider.take(checkout(program, "ONCE", ref="other")))[0]["event"] == "code.redeemed"

    @pytest.mark.parametrize("is_reversed", [False, True])
    async def test_what_took_back_before_it_was_bought_leaves_it_alone(
        self, decider: Decider, merchant: Merchant, is_reversed: bool
    ) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program, percent=2000), "ONCE", created_at=NOW - 9 * DAY)
        bodies = [
            taken_back(program, "refunded", amount=2000, time=NOW - 40 * HOUR),
            taken_back(program, time=NOW - 35 * HOUR),
            checkout(program, "ONCE", order=USD, time=NOW - 30 * HOUR),
        ]
        told = [await decider.take(body) for body in (reversed(bodies) if is_reversed else bodies)]
        assert [event["event"] for events in told for event in events] == ["code.redeemed"]

    @pytest.mark.parametrize("is_reversed", [False, True])
    async def test_by_a_clock_that_is_far_off(self, decider: Decider, merchant: Merchant, is_reversed: bool) -> None:
        program = await merchant.program()
        await merchant.code(program, await merchant.coupon(program), "ONCE")
        bodies = [checkout(program, "ONCE", time=NOW + 5 * MINUTE), taken_back(program, time=NOW + 6 * MINUTE)]
        told = [await decider.take(body) for body in (reversed(bodies) if is_reversed else bodies)]
        assert told[-1][0]["event"] == "code.redemption_voided"

    async def test_from_a_host_that_is_a_little_behind(self, shop: Shop, merchant: Merchant) -> None:
        """Bought over HTTP and cancelled a second later by an event: nothing happened, and nothing was said."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        assert (await shop.redeem("ONCE")).status == 201
        (event,) = await shop.decider.take(taken_back(shop.program_id, time=NOW - 2 * SECOND))
        assert event["event"] == "code.redemption_voided"

    async def test_over_http_takes_back_what_a_fast_clock_has_bought(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        await shop.decider.take(checkout(shop.program_id, "ONCE", time=NOW + 5 * MINUTE))
        shop.decider.now += MINUTE
        voided = await shop.void_order()
        assert [each["status"] for each in voided.data["redemptions"]] == ["voided"]
        assert voided.data["notice"] is None


class TestWhatTakesNothingBack:
    async def test_is_said_in_the_log_and_in_the_orders_view(
        self, shop: Shop, merchant: Merchant, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        assert (await shop.redeem("ONCE")).status == 201
        capsys.readouterr()
        assert await shop.decider.take(taken_back(shop.program_id, time=NOW - HOUR, reason="late")) == []
        assert "nothing_taken_back" in capsys.readouterr().out
        seen = (await shop.send("GET", "/v1/orders/order-1")).data
        assert (seen["cancelled_at"], seen["cancel_reason"]) == ("2026-03-18T11:00:00.000000Z", "late")
        assert "bought after it was taken back" in seen["notice"]
        assert [each["status"] for each in seen["redemptions"]] == ["redeemed"]

    async def test_is_said_to_who_asks(self, shop: Shop, merchant: Merchant) -> None:
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=2000), "ONCE")
        assert "recorded as taken back" in (await shop.void_order("unknown")).data["notice"]
        assert "recorded as taken back" in (await shop.send("GET", "/v1/orders/unknown")).data["notice"]
        await shop.redeem("ONCE", order=USD)
        part = await shop.void_order(amount=500, refund_ref="1")
        assert "less than the payment" in part.data["notice"]
        seen = (await shop.send("GET", "/v1/orders/order-1")).data
        assert ([each["amount"] for each in seen["refunds"]], "less than the payment" in seen["notice"]) == (
            [500],
            True,
        )
        assert (await shop.void_order()).data["notice"] is None
        assert (await shop.send("GET", "/v1/orders/order-1")).data["notice"] is None

    @pytest.mark.parametrize(("order", "said"), [(USD, "Nothing was paid"), ({}, "order's subtotal is unknown")])
    async def test_no_order_is_said_to_have_been_paid_that_was_not(
        self, shop: Shop, merchant: Merchant, order: dict[str, Any], said: str
    ) -> None:
        """A merchant would look for the part of a free order that is still to be refunded."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ALL")
        await shop.redeem("ALL", order=order)
        part = await shop.void_order(amount=500, refund_ref="1")
        assert said in part.data["notice"]
        assert said in (await shop.send("GET", "/v1/orders/order-1")).data["notice"]

    async def test_that_a_refund_of_an_order_that_is_not_known_yet_is_kept(
        self, shop: Shop, merchant: Merchant
    ) -> None:
        """It said that the purchase would be taken back, of which a part was paid back."""
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id, percent=1_000), "TEN")
        for _ in range(2):
            part = await shop.void_order(amount=500, refund_ref="re-1")
            assert "the refund is recorded" in part.data["notice"]
        assert "the refund is recorded" in (await shop.send("GET", "/v1/orders/order-1")).data["notice"]
        sold: dict[str, Any] = {
            "order": {"currency": "EUR", "subtotal": 1_000},
            "occurred_at": (NOW - timedelta(hours=1)).isoformat(),
        }
        assert (await shop.redeem("TEN", **sold)).status == 201
        again = await shop.void_order(amount=500, refund_ref="re-1")
        assert "less than the payment" in again.data["notice"]

    async def test_an_order_of_which_nothing_is_known_is_not_shown(self, shop: Shop) -> None:
        assert (await shop.send("GET", "/v1/orders/nobody")).status == 404


async def test_rows_of_before_have_a_clock_like_no_other(
    shop: Shop, merchant: Merchant, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
    await shop.decider.take(checkout(shop.program_id, "ONCE", time=NOW - 2 * MINUTE))
    await admin.execute("UPDATE redemption.redemptions SET claimed_at = NULL, clock = NULL")
    assert await shop.decider.take(taken_back(shop.program_id, time=NOW - 4 * MINUTE)) == []
    (event,) = await shop.decider.take(taken_back(shop.program_id, time=NOW - 3 * MINUTE))
    assert event["event"] == "code.redemption_voided"
