"""How long a discount is granted: days, months and years on the program's calendar, in every time zone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from services.redemption.domain.terms import discount_ends_at
from tests.services.redemption.test_decision import TERMS

FIRST = datetime(2020, 1, 31, 4, 26, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ends(moment: str, timezone: str, kind: str, value: int | None = None) -> str | None:
    terms = replace(TERMS, timezone=timezone, duration_type=kind, duration_value=value)
    found = discount_ends_at(terms, datetime.fromisoformat(moment))
    return None if found is None else found.astimezone(UTC).isoformat(timespec="minutes").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("moment", "timezone", "kind", "value", "end"),
    [
        # Bought on 28 November at 23:26 in New York: three months end on 28 February there.
        ("2026-11-29T04:26Z", "America/New_York", "months", 3, "2027-03-01T04:26Z"),
        ("2026-11-29T04:26Z", "UTC", "months", 3, "2027-02-28T04:26Z"),
        ("2026-01-31T12:00Z", "Europe/Berlin", "months", 1, "2026-02-28T12:00Z"),
        ("2028-02-29T12:00Z", "Europe/Berlin", "years", 1, "2029-02-28T12:00Z"),
        # A day on which the clocks change is one all the same; hours are hours.
        ("2026-10-24T12:00Z", "Europe/Berlin", "days", 1, "2026-10-25T13:00Z"),
        ("2026-10-24T12:00Z", "Europe/Berlin", "hours", 24, "2026-10-25T12:00Z"),
        # 02:30 comes twice on 25 October, and never on 29 March.
        ("2026-10-24T00:30Z", "Europe/Berlin", "days", 1, "2026-10-25T01:30Z"),
        ("2026-03-28T01:30Z", "Europe/Berlin", "days", 1, "2026-03-29T01:30Z"),
        ("2026-03-28T01:30Z", "Not/AZone", "days", 1, "2026-03-29T01:30Z"),
        ("2026-03-28T01:30Z", "Europe/Berlin", "once", None, "2026-03-28T01:30Z"),
        ("2026-03-28T01:30Z", "Europe/Berlin", "lifetime", None, None),
        ("2026-03-28T01:30Z", "Europe/Berlin", "years", 9_000, None),
    ],
)
def test_a_discount_ends_on_the_programs_calendar(
    moment: str, timezone: str, kind: str, value: int | None, end: str | None
) -> None:
    assert ends(moment, timezone, kind, value) == end


def test_it_ends_on_the_same_day_of_the_month_at_the_same_time_everywhere() -> None:
    """Over ten years in all zones, every clock change included: the same wall time, or up to an hour later."""
    for nth, name in enumerate(sorted(available_timezones() - {"localtime"})):
        zone = ZoneInfo(name)
        for month in range(0, 120, 3):
            bought = FIRST + timedelta(days=30.4 * month, hours=(nth + month) % 24)
            for kind, value in (("days", 1 + month % 40), ("months", 1 + nth % 14)):
                terms = replace(TERMS, timezone=name, duration_type=kind, duration_value=value)
                end = discount_ends_at(terms, bought)
                assert end is not None
                local, start = end.astimezone(zone), bought.astimezone(zone)
                skipped = local.replace(tzinfo=None) - datetime.combine(local.date(), start.time())
                assert timedelta(0) <= skipped <= HOUR or local.date().day == 1, (name, bought)
                if kind == "days":
                    assert (local.date() - start.date()).days - value in ((0, 1) if skipped else (0,)), (name, bought)
                else:
                    months = 12 * (local.year - start.year) + local.month - start.month
                    assert months == value, (name, bought)
                    assert local.day == start.day or (local + timedelta(days=1)).day == 1, (name, bought)


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "UTC"])
def test_more_of_the_same_never_ends_sooner(timezone: str) -> None:
    for kind in ("hours", "days", "months", "years"):
        found = [ends("2026-01-31T23:59Z", timezone, kind, value) or "9999" for value in range(1, 60)]
        assert found == sorted(found)
