"""Bare dates: a day begins and ends where the program is, on every day on which some zone's clocks change."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from services.codes.domain.days import as_end, as_start, check_order, end_of_day, start_of_day

TICK = timedelta(microseconds=1)
FIRST, WEEKS = datetime(2020, 1, 1, tzinfo=UTC), 10 * 53


def days_of_change(zone: ZoneInfo) -> Iterator[date]:
    """Yield the days of the weeks in which a zone's clocks change, over ten years."""
    before = FIRST.astimezone(zone).utcoffset()
    for week in range(1, WEEKS):
        moment = FIRST + timedelta(weeks=week)
        after = moment.astimezone(zone).utcoffset()
        if after != before:
            yield from ((moment - timedelta(days=day)).date() for day in range(-1, 9))
        before = after


def test_days_follow_one_another_without_gap_or_overlap_on_every_change_of_clocks_anywhere() -> None:
    changes = 0
    for name in sorted(available_timezones() - {"localtime"}):
        zone = ZoneInfo(name)
        for day in days_of_change(zone):
            changes += 1
            start, end = start_of_day(day, zone), end_of_day(day, zone)
            assert [moment.astimezone(zone).date() for moment in (start, end)] == [day, day], (name, day)
            assert (start - TICK).astimezone(zone).date() < day, (name, day)
            assert (end + TICK).astimezone(zone).date() > day, (name, day)
            assert start_of_day(day + timedelta(days=1), zone) == end + TICK, (name, day)
    assert changes > 10_000


@pytest.mark.parametrize(
    ("zone", "day", "first", "last"),
    [
        ("Africa/Cairo", "2026-10-29", "2026-10-28T21:00:00Z", "2026-10-29T21:59:59.999999Z"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z", "2026-04-24T20:59:59.999999Z"),
        ("America/Santiago", "2026-04-04", "2026-04-04T03:00:00Z", "2026-04-05T03:59:59.999999Z"),
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z", "2026-09-07T02:59:59.999999Z"),
        ("Asia/Beirut", "2026-10-24", "2026-10-23T21:00:00Z", "2026-10-24T21:59:59.999999Z"),
        ("America/Nuuk", "2026-10-24", "2026-10-24T01:00:00Z", "2026-10-25T01:59:59.999999Z"),
        ("America/Nuuk", "2026-03-28", "2026-03-28T02:00:00Z", "2026-03-29T00:59:59.999999Z"),
    ],
)
def test_a_day_on_which_an_hour_comes_twice_or_never(zone: str, day: str, first: str, last: str) -> None:
    assert as_start(date.fromisoformat(day), zone) == datetime.fromisoformat(first)
    assert as_end(date.fromisoformat(day), zone) == datetime.fromisoformat(last)


def test_a_time_stays_as_it_is_and_nothing_stays_nothing() -> None:
    assert as_start(FIRST, "Asia/Tokyo") == as_end(FIRST, "Asia/Tokyo") == FIRST
    assert as_start(None, "Asia/Tokyo") is as_end(None, "Asia/Tokyo") is None


def test_what_would_end_before_it_starts_is_refused() -> None:
    for starts_at, expires_at in ((FIRST, FIRST), (FIRST + TICK, FIRST)):
        with pytest.raises(ValueError, match="must be later than starts_at"):
            check_order(starts_at, expires_at)
    check_order(FIRST, FIRST + TICK)
    check_order(None, FIRST)
    check_order(FIRST, None)
