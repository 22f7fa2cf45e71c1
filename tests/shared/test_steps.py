"""Steps cover a span without gap or overlap, and begin where the clocks of the zone say so."""

from bisect import bisect_left, bisect_right
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.steps import (
    LEVELS,
    MOST_STEPS,
    QUARTER,
    BeginsLate,
    Piece,
    Span,
    Step,
    TooManySteps,
    bounds_of,
    pieces_of,
    quarter_of,
)

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
MOMENTS = st.datetimes(datetime(2005, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(
    MOMENTS,
    st.timedeltas(timedelta(0), timedelta(days=9)),
    st.sampled_from(("15m", "1h", "1d")),
    st.sampled_from(ZONES),
)
def test_steps_are_whole_and_follow_each_other(since: datetime, span: timedelta, step: Step, zone: str) -> None:
    place, until = ZoneInfo(zone), since + span
    bounds = bounds_of(since, until, step, place)
    assert bounds[0] <= since < bounds[1]
    assert bounds[-2] < max(until, since + timedelta(microseconds=1)) <= max(bounds[-1], since + QUARTER)
    assert all(first < second for first, second in pairwise(bounds))
    assert all(bound == quarter_of(bound) for bound in bounds)
    clocks = [bound.astimezone(place) for bound in bounds]
    if step == "1d":
        assert all(clock.date() < after.date() for clock, after in pairwise(clocks))
        assert all((clock - timedelta(minutes=1)).date() < clock.date() for clock in clocks)
    if step == "1h":
        assert {clock.minute for clock in clocks} == {0}


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC), 23.0),
        ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC), 25.0),
        ("Australia/Lord_Howe", datetime(2026, 10, 4, tzinfo=UTC), 23.5),
        ("Asia/Kathmandu", datetime(2026, 10, 4, tzinfo=UTC), 24.0),
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(zone: str, day: datetime, hours: float) -> None:
    noon = day.replace(hour=12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    first, second = bounds_of(noon, noon, "1d", ZoneInfo(zone))
    assert (second - first) == timedelta(hours=hours)


def test_a_day_that_the_calendar_leaves_out_is_no_step() -> None:
    """Samoa went from the 29th of December 2011 to the 31st."""
    zone = ZoneInfo("Pacific/Apia")
    start = datetime(2011, 12, 29, 12, tzinfo=zone).astimezone(UTC)
    bounds = bounds_of(start, start + timedelta(days=1), "1d", zone)
    assert [bound.astimezone(zone).day for bound in bounds] == [29, 31, 1]


def test_a_thousand_steps_are_the_most() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(bounds_of(start, start + MOST_STEPS * QUARTER, "15m", UTC)) == MOST_STEPS + 1
    for step in ("15m", "1h", "1d"):
        with pytest.raises(TooManySteps):
            bounds_of(start, start + timedelta(days=1001), step, UTC)
    with pytest.raises(TooManySteps):
        bounds_of(datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC), "1d", UTC)


def test_a_span_until_now_that_begins_later_is_refused() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = Span(since=now + QUARTER, until=None, step="15m", zone=None)
    with pytest.raises(BeginsLate):
        later.bounds(UTC, now)
    assert len(replace(later, since=now).bounds(UTC, now)) == 2
    assert len(replace(later, until=now + 2 * QUARTER).bounds(UTC, now)) == 2


@given(
    MOMENTS,
    st.timedeltas(timedelta(0), timedelta(days=40)),
    st.sampled_from(("15m", "1h", "1d")),
    st.sampled_from(ZONES),
)
def test_pieces_cover_their_steps_exactly_and_with_the_largest_figures(
    since: datetime, span: timedelta, step: Step, zone: str
) -> None:
    """A figure that reached beyond its step would be counted in a wrong one; too many small ones would be slow."""
    bounds = bounds_of(since, since + min(span, 900 * QUARTER if step == "15m" else span), step, ZoneInfo(zone))
    pieces = pieces_of(bounds)
    assert [piece.since for piece in pieces[1:]] == [piece.until for piece in pieces[:-1]]
    assert (pieces[0].since, pieces[-1].until) == (bounds[0], bounds[-1])
    figures = [(at, level) for level, since, until in map(_as_tuple, pieces) for at in _figures(since, until, level)]
    steps = [bisect_right(bounds, at) for at, _ in figures]
    ends = [bisect_left(bounds, at + LEVELS[level] * QUARTER) for at, level in figures]
    assert steps == ends
    a_step = (bounds[-1] - bounds[0]) / (len(bounds) - 1)
    assert len(figures) <= len(bounds) * (16 if a_step > timedelta(hours=6) else 4) + 16


def _as_tuple(piece: Piece) -> tuple[int, datetime, datetime]:
    return piece.level, piece.since, piece.until


def _figures(since: datetime, until: datetime, level: int) -> list[datetime]:
    size = LEVELS[level] * QUARTER
    assert (until - since) % size == timedelta(0) == (since - datetime(1970, 1, 1, tzinfo=UTC)) % size
    return [since + n * size for n in range((until - since) // size)]
