"""Times from outside: whatever the calendar holds can be compared, moved and shown."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.times import EARLIEST, LATEST, format_microseconds, format_milliseconds, in_utc, parse_time

OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=OFFSETS))
def test_every_time_can_be_compared_moved_and_shown(moment: datetime) -> None:
    found = in_utc(moment)
    assert found.tzinfo is UTC
    assert EARLIEST <= found <= LATEST
    assert found == moment or not EARLIEST <= moment <= LATEST
    for day in (timedelta(days=-1), timedelta(days=1)):
        for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
            assert (found + day).astimezone(ZoneInfo(zone)) == found + day
    assert parse_time(format_microseconds(found)) == found
    assert format_milliseconds(found).endswith("Z")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0001-01-01T00:00:00+14:00", EARLIEST),
        ("0001-01-01T00:00:00Z", EARLIEST),
        ("9999-12-31T23:59:59.999999-23:59", LATEST),
        ("2026-03-18T23:29:28+02:00", datetime(2026, 3, 18, 21, 29, 28, tzinfo=UTC)),
        ("2026-03-18T23:29:28", None),
        ("0000-01-01T00:00:00Z", None),
        ("2026-03-18T23:29:28+24:00", None),
        ("2026-13-18", None),
        ("2026-12-31T23:59:60Z", datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-12-31t18:59:60.25-05:00", datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-12-31T23:59:60+02:00", None),
        ("2026-12-31T10:30:60Z", None),
        ("2026-12-31T23:59:61Z", None),
        ("1795951834", None),
        ("1795951834.5", None),
        ("20261231T235959Z", None),
        ("2026-12-31T23:59Z", None),
        ("\u0662026-12-31T23:59:59Z", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_a_text_is_read_as_the_nearest_time_that_we_use_or_not_at_all(text: str, found: datetime | None) -> None:
    assert parse_time(text) == found
