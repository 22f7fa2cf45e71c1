"""The pure rules of the dashboard: permissions, words, times, numbers, plots, passwords, waits."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.domain import (
    coupons,
    customers,
    navigation,
    numbers,
    passwords,
    plots,
    quotas,
    series,
    throttle,
    times,
    words,
)
from services.dashboard.domain.accounts import device_of, shortened
from services.dashboard.domain.health import verdict
from services.dashboard.domain.permissions import ACTIONS, may, weight
from shared.accounts import Role

NOW = datetime(2026, 11, 24, 13, 34, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "just now"),
        (NOW - timedelta(seconds=59), "just now"),
        (NOW - timedelta(minutes=2), "2 min ago"),
        (NOW - timedelta(hours=5, minutes=59), "5 h ago"),
        (NOW - timedelta(hours=48), "22 Nov 14:34"),
        (NOW + timedelta(hours=47, minutes=54), "in 47 h 54 m"),
        (NOW + timedelta(minutes=8), "in 8 m"),
        (NOW + timedelta(days=40), "3 Jan 2027"),
    ],
)
def test_times_are_relative_for_two_days_and_then_dates_of_the_zone(moment: datetime, text: str) -> None:
    assert times.relative(moment, NOW, "Europe/Berlin") == text


def test_an_exact_time_names_its_zone_and_utc() -> None:
    assert times.exact(NOW, "Europe/Berlin") == "24 Nov 2026, 14:34:00 Europe/Berlin (24 Nov 2026, 13:34:00 UTC)"
    assert times.exact(NOW, "No/Such") == "24 Nov 2026, 13:34:00 No/Such (24 Nov 2026, 13:34:00 UTC)"


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "Europe/Berlin"])
def test_a_period_begins_on_a_day_of_the_zone(zone: str) -> None:
    """In Kiritimati it is tomorrow already."""
    local = NOW.astimezone(times.zone(zone)).date()
    assert times.days_before(NOW, 0, zone) == local.isoformat()
    assert times.days_before(NOW, 29, zone) == (local - timedelta(days=29)).isoformat()


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(seconds=5), "5 s"),
        (timedelta(minutes=90), "1 h 30 m"),
        (timedelta(hours=47, minutes=54), "47 h 54 m"),
        (timedelta(days=2), "2 d"),
        (timedelta(days=6, hours=3), "6 d 3 h"),
        (timedelta(seconds=-5), "0 s"),
    ],
)
def test_durations_have_their_two_largest_units(length: timedelta, text: str) -> None:
    assert times.duration(length) == text


def test_numbers_money_and_shares_as_people_write_them() -> None:
    assert numbers.number(999_999) == "999,999"
    assert numbers.number(1_240_000) == "1.2 million"
    assert numbers.number(-5) == "\u22125"
    assert numbers.money(2248, "EUR") == "EUR 22.48"
    assert numbers.money(-1_234_567, "JPY") == "JPY \u22121,234,567"
    assert numbers.share(656, 1000) == "65.6 %"
    assert numbers.share(3, 7) == "3 of 7"
    assert numbers.share(0, 0) == "0 of 0"
    assert (numbers.plural(1, "code"), numbers.plural(2, "code")) == ("1 code", "2 codes")


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False))
def test_an_axis_is_round_holds_its_data_and_wastes_little(most: float) -> None:
    top = plots.round_top(most)
    # To within the rounding of floats: nobody sees a billionth of a plot.
    assert top >= most * (1 - 1e-8)
    assert most < 1 or top <= max(4.0, most * 2.6)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_parts_fill_the_whole_and_none_above_nought_is_invisible(counts: list[int]) -> None:
    found = plots.parts([(str(number), "f", count) for number, count in enumerate(counts)])
    if sum(counts):
        assert sum(part.width for part in found) == pytest.approx(100, abs=0.1)
    for part in found:
        assert (part.width == 0) if part.count == 0 else part.width >= 0.99


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=366))
def test_bars_stay_on_the_plot(days: list[tuple[int, int]]) -> None:
    whole = [max(day) for day in days]
    part = [min(day) for day in days]
    names = [str(number) for number in range(len(days))]
    plot = plots.bars([whole, part], names, names)
    assert plot.is_empty is not any(whole)
    for bar in plot.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= 100.001
        assert all(0 <= height <= plot.ground - plots.TOP + 0.1 for height in bar.heights)
    assert plot.bars[-1].label == names[-1]
    assert not plot.bars[-1].is_minor
    assert not any(bar.is_minor and not bar.label for bar in plot.bars)
    assert 1 <= sum(bool(bar.label) for bar in plot.bars) <= 6


def test_a_line_breaks_where_nothing_is_known() -> None:
    plot = plots.lines([("p1", [1.0, None, 2.0, 3.0])], limit=2.0, limit_text="limit 2 s")
    assert [line.points for line in plot.lines] == ["0,69.7", "667,39.4 1000,9.1"]
    assert plot.limit_y is not None
    assert plots.lines([("p1", [None, None])]).is_empty


def test_a_strip_without_deliveries_is_empty() -> None:
    assert plots.strip([(0, 0)], ["0:00"]).is_empty
    assert plots.strip([(3, 1)], ["0:00"]).bars[0].heights == (33.0, 11.0)


def test_the_last_day_of_a_series_is_today() -> None:
    days = [series.MintedDay(NOW - timedelta(days=1), 3, 2), series.MintedDay(NOW, 5, 1)]
    plot = series.minted_plot(days, "UTC")
    assert plot.bars[0].title == "23 Nov: 3 minted, 2 of them redeemed"
    assert plot.bars[1].label == "today"
    assert series.minted_plot([], "UTC").is_empty
    assert [series.period_of(text) for text in ("7", "30", "90", "31", "x", "")] == [7, 30, 90, 30, 30, 30]


def test_a_quota_lasts_as_long_as_last_week_s_pace_says() -> None:
    quota = quotas.Quota(granted=1000, adjusted=-100, minted=300, refunded=0, remaining=600)
    assert quota.whole == 900
    # Today is not over and does not count.
    assert quotas.lasts_until(quota, [0, *([20] * 7), 999], NOW) == NOW + timedelta(days=30)
    assert quotas.lasts_until(quota, [0] * 8, NOW) is None
    assert quotas.lasts_until(quota, [], NOW) is None


@pytest.mark.parametrize(
    ("password", "is_right"),
    [
        ("correct horse", True),
        ("x" * 11 + "y", True),
        ("elevenchars", False),
        ("a" * 12, False),
        ("y" + "x" * 128, False),
        ("Q1W2E3R4T5Y6", False),
        ("my-Northwind-mara", False),
        ("päßwörter sind gut", True),
    ],
)
def test_which_passwords_are_accepted(password: str, is_right: bool) -> None:
    assert (passwords.fault_of(password, "mara@northwind.example") is None) is is_right


def test_waits_double_up_to_a_quarter_of_an_hour() -> None:
    waits = [throttle.wait_after(tries, 5) for tries in range(4, 12)]
    seconds = [None if wait is None else int(wait.total_seconds()) for wait in waits]
    assert seconds == [None, 30, 60, 120, 240, 480, 900, 900]
    assert throttle.wait_after(10**9, 5) == timedelta(minutes=15)


def test_counters_of_different_things_never_share_a_key() -> None:
    one = throttle.sign_in_counters("a@x.example", "203.0.113.1", is_known_device=False)
    two = throttle.sign_in_counters("203.0.113.1", "a@x.example", is_known_device=False)
    assert len({counter.key for counter in (*one, *two)}) == 6
    assert len(throttle.sign_in_counters("a@x.example", "203.0.113.1", is_known_device=True)) == 2


def test_what_changes_something_needs_the_grade_for_it() -> None:
    for name, action in ACTIONS.items():
        for role in get_args(Role):
            assert may(role, "look", name) is (role in action.weights and not action.changes)
            assert may(role, "change", name) is (role in action.weights)
    assert weight("operator", "queues.purge") == 2
    with pytest.raises(KeyError):
        weight("partner", "queues.purge")


def test_navigation_shows_only_pages_that_exist() -> None:
    found = navigation.entries("partner", {"/partner", "/partner/deliveries"})
    assert [entry.label for entry in found] == ["Overview", "Webhooks", "Deliveries"]
    assert navigation.entries("operator", {"/operator"})[0].label == "Health"
    assert navigation.current(found, "/partner/deliveries/x") == "/partner/deliveries"
    assert navigation.current(found, "/partner") == "/partner"
    assert navigation.current(found, "/account") == ""


def test_every_state_has_one_word_and_an_unknown_one_is_never_well() -> None:
    for states in words.STATES.values():
        assert all(state.word and state.icon for state in states.values())
    assert words.state("delivery", "no such state").tone == "off"


def test_the_verdict_is_well_only_when_all_is_known() -> None:
    assert verdict([], []).text == "All is well"
    assert verdict([], ["codes"]).tone == "off"
    assert verdict(["x"], ["codes"]).text == "One thing needs you"
    assert verdict(["x", "y"], []).text == "2 things need you"


def test_devices_and_networks_in_words() -> None:
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36"
    assert device_of(chrome) == "Chrome on Linux"
    assert device_of(f"{chrome} Edg/156.0") == "Edge on Linux"
    assert device_of("<script>") == "A browser"
    assert shortened("203.0.113.9") == "203.0.x.x"
    assert shortened("2001:db8:1:2::/64") == "2001:db8:x"
    assert shortened("unknown") == "unknown"


COUPON = {
    "deleted_at": None,
    "active": True,
    "starts_at": None,
    "redemption_specific_date_value": None,
    "redemption_times_value": None,
    "times_redeemed": 3,
    "coupon_discount_type": "percent",
    "coupon_discount_amount": 12.5,
    "coupon_discount_currency": None,
    "coupon_duration_type": "days",
    "coupon_duration_value": 45,
}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "live"),
        ({"redemption_times_value": 4}, "live"),
        ({"redemption_times_value": 3}, "used_up"),
        ({"starts_at": "2026-11-24T13:34:01Z"}, "starts"),
        ({"starts_at": "2026-11-24T13:34:00Z"}, "live"),
        ({"redemption_specific_date_value": "2026-11-24T13:34:00Z"}, "ended"),
        ({"active": False, "redemption_times_value": 3}, "inactive"),
        ({"active": False, "deleted_at": "2026-11-01T00:00:00Z"}, "archived"),
    ],
)
def test_a_coupon_has_one_state_with_a_word(changes: dict[str, object], state: str) -> None:
    assert coupons.state_of(COUPON | changes, NOW) == state
    assert words.state("coupon", state) is not words.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "12.5 % off for 45 days"),
        ({"coupon_discount_amount": 100, "coupon_duration_type": "once"}, "100 % off once"),
        ({"coupon_duration_type": "months", "coupon_duration_value": 1}, "12.5 % off for 1 month"),
        ({"coupon_discount_type": "static", "coupon_duration_type": "lifetime"}, "12.5 off for ever"),
        ({"coupon_discount_type": "static", "coupon_discount_currency": "EUR"}, "EUR 12.50 off for 45 days"),
    ],
)
def test_terms_are_one_phrase(changes: dict[str, object], text: str) -> None:
    assert coupons.terms(COUPON | changes) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sara@example.org", "s…@example.org"),
        ("s@example.org", "s…@example.org"),
        ('"a@b"@example.org', '"…@example.org'),
        ("@example.org", "…@example.org"),
        ("cust-4471", "cust-4471"),
    ],
)
def test_an_address_is_masked_and_another_id_stays(text: str, shown: str) -> None:
    assert customers.masked(text) == shown
