"""Time zones of programs: only those by which Python and the database count alike."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from shared.web.models import _TIMEZONES
from tests.databases import Database
from tests.services.codes.bulk import rows
from tests.services.codes.conftest import Service


@pytest.mark.parametrize("timezone", ["localtime", "CET", "Factory", "posixrules", "Nowhere/City", "europe/berlin", ""])
async def test_a_zone_that_not_both_know_is_refused(service: Service, timezone: str) -> None:
    """`localtime`, which Python knows, made every purchase under a daily cap an error of the database."""
    made = await service.send("POST", "/v1/programs", json={"name": "X", "timezone": timezone})
    assert (made.status, list(made.body["errors"])) == (422, ["timezone"])
    program = await service.program(timezone="Europe/Berlin")
    changed = await service.send("PATCH", f"/v1/programs/{program.id}", json={"timezone": timezone})
    assert (changed.status, list(changed.body["errors"])) == (422, ["timezone"])


async def test_every_zone_that_is_taken_shows_the_same_clock_in_python_and_in_the_database(database: Database) -> None:
    """Over ten years that no release of the time zone database changes any more: days and caps are counted by both."""
    moments = [datetime(2014, 1, 1, tzinfo=UTC) + timedelta(days=30 * month) for month in range(120)]
    zones = sorted(_TIMEZONES)
    found = await rows(
        database,
        """SELECT z.name, array_agg(m.moment AT TIME ZONE z.name ORDER BY m.moment) AS shown
           FROM unnest($1::text[]) AS z (name) CROSS JOIN unnest($2::timestamptz[]) AS m (moment) GROUP BY z.name""",
        zones,
        moments,
    )
    shown = {row["name"]: row["shown"] for row in found}
    assert len(shown) == len(zones) > 400
    for name in zones:
        zone = ZoneInfo(name)
        assert shown[name] == [moment.astimezone(zone).replace(tzinfo=None) for moment in moments], name


async def test_an_unchanged_zone_is_not_looked_at(service: Service, database: Database) -> None:
    """A program whose zone has meanwhile become unknown can still be renamed."""
    program = await service.program()
    await rows(database, "UPDATE codes.programs SET timezone = 'Not/AZone' RETURNING id")
    renamed = await service.send("PATCH", f"/v1/programs/{program.id}", json={"name": "Other"})
    assert renamed.status == 200


async def test_a_zone_that_only_python_knows_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.web.models._TIMEZONES", _TIMEZONES | {"Mars/Olympus"})
    made = await service.send("POST", "/v1/programs", json={"name": "X", "timezone": "Mars/Olympus"})
    assert (made.status, list(made.body["errors"])) == (422, ["timezone"])
    program = await service.program()
    changed = await service.send("PATCH", f"/v1/programs/{program.id}", json={"timezone": "Mars/Olympus"})
    assert (changed.status, list(changed.body["errors"])) == (422, ["timezone"])
    shown = await service.send("GET", f"/v1/programs/{program.id}")
    assert shown.data["timezone"] == "UTC"
