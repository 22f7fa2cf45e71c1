"""Caps per day, week and month: where periods begin and end, and what counts in them."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.services.redemption.conftest import Decider, told
from tests.services.redemption.merchant import NOW, Merchant, checkout, taken_back

Connection = asyncpg.Connection

DAY = timedelta(days=1)


class TestPeriods:
    async def test_begin_and_end_in_the_programs_time_zone(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        """In Kiritimati (UTC+14) the day of these purchases begins at 10:00 UTC."""
        program = await merchant.program()
        await admin.execute("UPDATE codes.programs SET timezone = 'Pacific/Kiritimati'")
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, daily_redemption_limit=1)
        await merchant.code(program, coupon, "MANY", limit=None)
        times = [
            datetime(2026, 3, 18, hour, minute, tzinfo=UTC) for hour, minute in ((9, 58), (9, 59), (10, 0), (11, 0))
        ]
        bodies = [checkout(program, "MANY", ref=str(n), time=time) for n, time in enumerate(times)]
        assert told(await decider.take(*bodies)) == ["code.redeemed", "period_limit_reached"] * 2

    @pytest.mark.parametrize(
        ("zone", "column", "first", "last", "next_one"),
        [
            # The day on which the clocks go forward has 23 hours, and the one on which they go back 25.
            ("Europe/Berlin", "daily", "2026-03-28T23:00", "2026-03-29T21:59", "2026-03-29T22:00"),
            ("Europe/Berlin", "daily", "2026-10-24T22:00", "2026-10-25T22:59", "2026-10-25T23:00"),
            # Here the day begins at 01:00, since there is no midnight.
            ("America/Santiago", "daily", "2026-09-06T04:00", "2026-09-07T02:59", "2026-09-07T03:00"),
            ("America/New_York", "weekly", "2026-03-02T05:00", "2026-03-09T03:59", "2026-03-09T04:00"),
            ("Asia/Kathmandu", "monthly", "2026-02-28T18:15", "2026-03-31T18:14", "2026-03-31T18:15"),
        ],
    )
    async def test_are_as_long_as_the_program_s_clock_says(
        self,
        decider: Decider,
        merchant: Merchant,
        admin: "Connection[asyncpg.Record]",
        zone: str,
        column: str,
        first: str,
        last: str,
        next_one: str,
    ) -> None:
        """Both ends of a period are in it, whether it is counted by its counter or, the first time, by its uses."""
        program = await merchant.program()
        await admin.execute("UPDATE codes.programs SET timezone = $1", zone)
        coupon = await merchant.coupon(program)
        code = await merchant.code(program, coupon, "MANY", limit=None)
        await merchant.restrict_code(code, created_at=NOW - 99 * DAY)
        moments = [datetime.fromisoformat(f"{text}:00+00:00") for text in (first, last, next_one)]
        reasons = []
        for n, moment in enumerate((moments[0], *moments, moments[2])):
            if n == 1:
                await merchant.restrict_coupon(coupon, **{f"{column}_redemption_limit": 2})
            decider.now = moment
            reasons += told(await decider.take(checkout(program, "MANY", ref=str(n), time=moment)))
            if n == 2:
                decider.now = moments[0] - timedelta(minutes=1)
                earlier = await decider.take(checkout(program, "MANY", ref="earlier", time=decider.now))
                assert told(earlier) == ["code.redeemed"]
        full, done = "period_limit_reached", "code.redeemed"
        assert reasons == [done, done, full, done, done]

    @pytest.mark.parametrize(
        ("column", "before", "after"),
        [
            ("daily", "2026-03-17T23:59:59+00:00", "2026-03-18T00:00:00+00:00"),
            ("weekly", "2026-03-15T23:59:59+00:00", "2026-03-16T00:00:00+00:00"),
            ("monthly", "2026-02-28T23:59:59+00:00", "2026-03-01T00:00:00+00:00"),
        ],
    )
    async def test_each_has_its_own_count(
        self, decider: Decider, merchant: Merchant, column: str, before: str, after: str
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, **{f"{column}_redemption_limit": 1})
        await merchant.restrict_code(
            await merchant.code(program, coupon, "MANY", limit=None), created_at=NOW - 99 * DAY
        )
        reasons = []
        for n, text in enumerate((before, before, after, after)):
            moment = datetime.fromisoformat(text)
            reasons += told(await decider.take(checkout(program, "MANY", ref=str(n), time=moment), received_at=moment))
        assert reasons == ["code.redeemed", "period_limit_reached"] * 2

    async def test_are_counted_anew_when_the_program_moves_to_another_time_zone(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        """Once there and back: neither way is a use forgotten that was counted by the other clock."""
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, daily_redemption_limit=3)
        await merchant.code(program, coupon, "MANY", limit=None)
        reasons = []
        for n, zone in enumerate(("UTC", "Asia/Kathmandu", "UTC", "Asia/Kathmandu", "UTC")):
            await admin.execute("UPDATE codes.programs SET timezone = $1", zone)
            reasons += told(await decider.take(checkout(program, "MANY", ref=str(n))))
        assert reasons == ["code.redeemed"] * 3 + ["period_limit_reached"] * 2

    async def test_give_back_a_use_that_another_time_zone_had_in_the_next(
        self, decider: Decider, merchant: Merchant, admin: "Connection[asyncpg.Record]"
    ) -> None:
        """In London it was April already; by UTC the use is one of March, whose counter does not include it."""
        program = await merchant.program()
        await admin.execute("UPDATE codes.programs SET timezone = 'Europe/London'")
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, monthly_redemption_limit=2)
        await merchant.code(program, coupon, "MANY", limit=None)
        for ref, text in (("a", "2026-03-31T22:59"), ("b", "2026-03-31T23:01")):
            decider.now = datetime.fromisoformat(f"{text}:00+00:00")
            await decider.take(checkout(program, "MANY", ref=ref, time=decider.now))
        await admin.execute("UPDATE codes.programs SET timezone = 'UTC'")
        assert told(await decider.take(checkout(program, "MANY", ref="c", time=decider.now))) == [
            "period_limit_reached"
        ]
        for ref in ("a", "b"):
            assert told(await decider.take(taken_back(program, ref=ref, time=decider.now))) == [
                "code.redemption_voided"
            ]
        march = await admin.fetchval("SELECT uses FROM redemption.period_counters WHERE period = 'month'")
        assert march == 0

    async def test_a_cap_counts_what_was_before_it_and_between_two_of_it(
        self, decider: Decider, merchant: Merchant
    ) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.code(program, coupon, "MANY", limit=None)
        for n, limit in enumerate((None, 2, None, 4, 4)):
            await merchant.restrict_coupon(coupon, daily_redemption_limit=limit)
            await decider.take(checkout(program, "MANY", ref=str(n)))
        events = [json.loads(e.body)["data"].get("reason") or e.type for e in decider.handed_over]
        assert events == [*["code.redeemed"] * 4, "period_limit_reached"]

    async def test_a_void_gives_its_own_day_back(self, decider: Decider, merchant: Merchant) -> None:
        program = await merchant.program()
        coupon = await merchant.coupon(program)
        await merchant.restrict_coupon(coupon, daily_redemption_limit=1)
        await merchant.code(program, coupon, "MANY", limit=None)
        await decider.take(
            checkout(program, "MANY", ref="a", time=NOW - 23 * timedelta(hours=1)), checkout(program, "MANY", ref="b")
        )
        await decider.take(taken_back(program, ref="a"))
        today = await decider.take(checkout(program, "MANY", ref="c"))
        yesterday = await decider.take(checkout(program, "MANY", ref="d", time=NOW - 22 * timedelta(hours=1)))
        assert (told(today), told(yesterday)) == (["period_limit_reached"], ["code.redeemed"])
