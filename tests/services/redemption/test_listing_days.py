"""Bare dates in filters: days of the program's own calendar, so that a merchant may type what it reads there."""

from datetime import UTC, date, datetime

import pytest

from services.redemption.domain.listing import first_moment, moment_after
from tests.services.redemption.conftest import Shop
from tests.services.redemption.merchant import NOW, Merchant


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]  # parts are few


@pytest.mark.parametrize(
    ("day", "timezone", "first", "after"),
    [
        (date(2026, 11, 1), "UTC", utc(2026, 11, 1), utc(2026, 11, 2)),
        # The clocks go back on that day, which has 25 hours.
        (
            date(2026, 11, 1),
            "America/New_York",
            utc(2026, 11, 1, 4),
            utc(2026, 11, 2, 5),
        ),
        # The first hour of that day is skipped.
        (
            date(2026, 9, 6),
            "America/Santiago",
            utc(2026, 9, 6, 4),
            utc(2026, 9, 7, 3),
        ),
    ],
)
def test_a_day_is_the_program_s(day: date, timezone: str, first: datetime, after: datetime) -> None:
    assert first_moment(day, timezone) == first
    assert moment_after(day, timezone) == after


class TestFilters:
    @pytest.fixture(autouse=True)
    async def use(self, shop: Shop, merchant: Merchant) -> None:
        """One redemption and one refused try at noon UTC of 18 March, which is the 19th on Kiritimati."""
        await merchant.restrict_program(shop.program_id, timezone="Pacific/Kiritimati")
        await merchant.code(shop.program_id, await merchant.coupon(shop.program_id), "ONCE")
        assert (await shop.redeem("ONCE", ref="a")).status == 201
        assert (await shop.redeem("ONCE", ref="b")).status == 409
        assert utc(2026, 3, 18, 12) == NOW

    @pytest.mark.parametrize(
        ("path", "query", "found"),
        [
            ("redemptions", "occurred_from=2026-03-19", 1),
            ("redemptions", "occurred_from=2026-03-20", 0),
            ("redemptions", "occurred_before=2026-03-19", 0),
            ("redemptions", "occurred_before=2026-03-20", 1),
            ("redemptions", "occurred_from=2026-03-19&occurred_before=2026-03-18T12:00:01Z", 1),
            ("rejections", "from=2026-03-19", 1),
            ("rejections", "from=2026-03-20", 0),
            ("rejections", "to=2026-03-18", 0),
            ("rejections", "to=2026-03-19", 1),
            ("rejections", "from=2026-03-18T12:00:00Z&to=2026-03-19", 1),
        ],
    )
    async def test_take_a_bare_date(self, shop: Shop, path: str, query: str, found: int) -> None:
        reply = await shop.send("GET", f"/v1/{path}?{query}")
        assert (reply.status, len(reply.data)) == (200, found)

    @pytest.mark.parametrize("value", ["2026-02-30", "2026-03-18T12:00:00", "18.03.2026", "1795951834"])
    async def test_say_which_forms_they_take(self, shop: Shop, value: str) -> None:
        for path in ("redemptions?occurred_from", "rejections?from"):
            reply = await shop.send("GET", f"/v1/{path}={value}")
            assert reply.status == 422
            (texts,) = reply.body["errors"].values()
            assert value == "2026-02-30" or "or a date, such as 2026-03-18" in texts[0]

    async def test_a_purchase_is_made_at_a_time(self, shop: Shop) -> None:
        """No day is a moment at which an order was paid."""
        reply = await shop.redeem("ONCE", ref="c", occurred_at="2026-03-18")
        assert (reply.status, list(reply.body["errors"])) == (422, ["occurred_at"])
        assert "with an offset" in reply.body["errors"]["occurred_at"][0]
