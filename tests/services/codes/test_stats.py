"""Statistics of codes are exact at every moment: against the raw table, whatever happens to codes, and who asks."""

import asyncio
import csv
import random
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any, cast
from urllib.parse import urlencode

import asyncpg
import pytest

from services.codes.usecases.read_stats import add_up_stats
from shared.database import stats as shared_stats
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.faults import TransientFault
from shared.modes import in_mode
from tests.clocks import step_of
from tests.databases import Database
from tests.dying import Dying
from tests.servers import ROOT
from tests.services.codes.bulk import make_coupon, work_through
from tests.services.codes.conftest import HeldClock, Owner, Service
from tests.services.codes.redemptions import redeem

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns")
START = datetime(2026, 3, 27, 20, tzinfo=UTC)
RAW = "SELECT created_at AS at, partner_id, coupon_id, times_redeemed FROM codes.promotion_codes WHERE program_id = $1"
# As the migration finds it: quarters of an hour, and changes that were not added to them yet.
COUNTED_BEFORE = """
DROP TABLE stats_totals;
CREATE TABLE stats AS
    SELECT program_id, quarter, 3 - GROUPING(partner_id, coupon_id) AS slice, partner_id, coupon_id,
           sum(minted)::bigint AS minted, sum(redeemed)::bigint AS redeemed
    FROM stats_changes GROUP BY program_id, quarter, CUBE (partner_id, coupon_id);
DELETE FROM stats_changes;
"""
Figures = Counter[tuple[str, str | None, str]]


async def ask(service: Service, key: str, **query: Any) -> Any:
    answer = await service.send("GET", f"/v1/stats/codes?{urlencode(query)}", key)
    assert answer.status == 200, answer.body
    return answer.data


def shown(data: Any) -> Figures:
    found: Figures = Counter()
    for series in data["series"]:
        for point in series["points"]:
            for measure in ("minted", "redeemed"):
                found[point["at"][:19], series["key"], measure] += point[measure]
    return +found


def expected(rows: list[asyncpg.Record], data: Any, group_by: str | None, **only: Any) -> Figures:
    """Add up the raw rows in the steps of an answer, by the clocks of the zone."""
    found: Figures = Counter()
    for row in rows:
        at = step_of(row["at"], data)
        if at is None or any(row[name] != value for name, value in only.items()):
            continue
        key = None if group_by is None or row[group_by] is None else str(row[group_by])
        found[at, key, "minted"] += 1
        found[at, key, "redeemed"] += row["times_redeemed"] > 0
    return +found


class Life:
    """A program whose codes are made, moved, archived and used in every way."""

    def __init__(self, service: Service, database: Database, program: Owner, admin: Any) -> None:
        self.service, self.database, self.program, self.admin = service, database, program, admin
        seed = random.randrange(10**6)  # noqa: S311 - plays a merchant
        sys.stdout.write(f"seed {seed}\n")
        self.random = random.Random(seed)  # noqa: S311 - plays a merchant
        self.uses: dict[str, int] = {}

    async def stock(self) -> None:
        self.service.clock.now = START
        self.partners = [
            await self.service.partner(self.program, quota=100_000, email=f"p{n}@acme.example", prefix=f"P{n}")
            for n in range(2)
        ]
        self.coupons = [await make_coupon(self.database, self.program.id, name) for name in ("spring", "summer")]

    async def raw(self) -> list[asyncpg.Record]:
        return list(await self.admin.fetch(RAW, uuid.UUID(self.program.id)))

    async def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.service.clock.advance(minutes=self.random.choice((0, 1, 7, 44, 700)))
            await self._step()

    async def _step(self) -> None:
        service, key, choice = self.service, self.program.key, self.random.choice
        coupon = choice(("spring", "summer"))
        match self.random.randrange(9):
            case 0 | 1:
                made = await asyncio.gather(*(service.generate(choice(self.partners)) for _ in range(4)))
                assert {each.status for each in made} == {200}
            case 2:
                taken = {"coupon_uuid": coupon, "code": f"ONE-{self.random.randrange(200)}"}
                await service.send("POST", "/v1/promotion-codes", key, taken)
            case 3:
                owner = choice(({"partner_id": choice(self.partners).id}, {}))
                batch = {"count": 15, **owner}
                made_batch = await service.send("POST", f"/v1/coupons/{coupon}/promotion-codes/batch", key, batch)
                assert made_batch.status == 201, made_batch.body
            case 4:
                ids = [str(each) for each in await self._some(6)]
                if ids:
                    action = choice(
                        ({"action": "assign", "partner_id": choice(self.partners).id}, {"action": "archive"})
                    )
                    await service.send("POST", "/v1/promotion-codes/bulk", key, {"ids": ids, **action})
                    await work_through(service)
            case 5:
                for code_id in await self._some(1):
                    await service.send("DELETE", f"/v1/promotion-codes/{code_id}", key)
            case _:
                # The version is the count, so a use that goes back needs a higher one.
                for code_id in await self._some(3):
                    await redeem(self.database, str(code_id), service.clock())

    async def _some(self, most: int) -> list[uuid.UUID]:
        rows = await self.admin.fetch("SELECT id FROM codes.promotion_codes WHERE archived_at IS NULL")
        return self.random.sample([row["id"] for row in rows], k=min(most, len(rows)))

    async def take_back(self) -> None:
        """Let some codes be unused again, as a void does."""
        await self.admin.execute("UPDATE codes.promotion_codes SET times_redeemed = 0 WHERE random() < 0.3")

    async def is_exact(self, **query: Any) -> None:
        rows = await self.raw()
        for step, span in (("15m", 2), ("1h", 20), ("1d", 60)):
            for group_by in (None, "coupon_id", "partner_id"):
                until = self.service.clock() + timedelta(hours=1)
                asked = {"step": step, "from": (until - timedelta(days=span)).isoformat(), "to": until.isoformat()}
                groups: dict[str, Any] = {} if group_by is None else {"group_by": group_by, "groups": 8}
                data = await ask(
                    self.service, self.program.key, zone=self.random.choice(ZONES), **asked, **groups, **query
                )
                only = {name: uuid.UUID(value) for name, value in query.items()}
                assert shown(data) == expected(rows, data, group_by, **only)


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def life(service: Service, database: Database, program: Owner, admin: Any) -> Life:
    made = Life(service, database, program, admin)
    await made.stock()
    return made


@pytest.mark.parametrize("part", range(2))
async def test_figures_are_exact_at_every_moment(life: Life, part: int) -> None:
    """Whether or not the changes were added up, and whatever happens to a code later."""
    for _ in range(4):
        await life.go_on(12)
        await life.take_back()
        if life.random.random() < 0.6:
            await add_up_stats(life.service.pool)()
        await life.is_exact()
        await life.is_exact(partner_id=life.partners[0].id)
        await life.is_exact(coupon_id=life.coupons[0])
        await life.is_exact(partner_id=life.partners[1].id, coupon_id=life.coupons[1])
    await add_up_stats(life.service.pool)()
    assert await life.admin.fetchval("SELECT count(*) FROM stats_changes") == 0
    await life.is_exact()
    rows = await life.raw()
    assert any(row["times_redeemed"] for row in rows)
    assert {row["partner_id"] is None for row in rows} == {False, True}


async def test_adding_up_that_is_killed_at_any_moment_loses_and_doubles_nothing(life: Life, database: Database) -> None:
    async with AsyncExitStack() as stack:
        is_over = asyncio.Event()
        processes = []
        for _ in range(2):
            killer = await asyncpg.connect(database.admin)
            stack.push_async_callback(killer.close)
            other = await stack.enter_async_context(connect(database.codes, "codes", 1))
            processes.append(Dying(other, killer, life.random))

        async def add_up(process: Dying) -> None:
            while not is_over.is_set():
                with suppress(TransientFault):
                    await add_up_stats(cast(Pool, process))()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(add_up(process))
            await life.go_on(50)
            is_over.set()
        assert sum(process.deaths for process in processes) > 5
    await life.is_exact()
    await add_up_stats(life.service.pool)()
    await life.is_exact()


async def test_an_upgrade_counts_what_there_was_once(life: Life) -> None:
    """What was counted by quarters alone is a change like any other, beside what triggers have noted since."""
    await life.go_on(30)
    await life.admin.execute(COUNTED_BEFORE)
    await life.go_on(10)
    await life.admin.execute((ROOT / "services/codes/migrations/0340_stats_totals.sql").read_text())
    await life.is_exact()
    await add_up_stats(life.service.pool)()
    await life.is_exact()


async def test_one_process_adds_up_at_a_time(life: Life) -> None:
    await life.service.generate(life.partners[0])
    async with life.admin.transaction():
        await life.admin.execute("SELECT FROM stats_rounds FOR UPDATE")
        assert await add_up_stats(life.service.pool)() == 0
    assert await add_up_stats(life.service.pool)() == 1


async def test_too_many_changes_are_answered_as_of_the_last_round(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    until = (life.service.clock() + timedelta(days=1)).isoformat()
    await life.service.generate(life.partners[0])
    await add_up_stats(life.service.pool)()
    added_up = await ask(life.service, life.program.key, to=until)
    await life.service.generate(life.partners[0])
    monkeypatch.setattr(shared_stats, "MOST_CHANGES", 0)
    late = await ask(life.service, life.program.key, to=until)
    assert late["series"] == added_up["series"]
    assert datetime.fromisoformat(late["as_of"]) < datetime.fromisoformat(added_up["as_of"])


class TestAsking:
    async def test_a_partner_sees_its_own_and_a_test_key_test_mode(self, life: Life, admin: Any) -> None:
        service, until = life.service, {"to": (START + timedelta(days=1)).isoformat()}
        own, other = life.partners
        for partner in (own, own, other):
            await service.generate(partner)

        async def seen(key: str, **query: Any) -> int:
            return sum(shown(await ask(service, key, **until, **query)).values())

        assert [await seen(partner.key) for partner in life.partners] == [2, 1]
        assert await seen(own.key, partner_id=other.id) == 0
        assert await seen(own.key, group_by="partner_id") == 2
        assert await seen(life.program.key) == 3
        stranger = await service.program(name="Other")
        assert await seen(stranger.key) == await seen(stranger.key, partner_id=own.id) == 0
        moved = "UPDATE api_keys SET program_id = $2, partner_id = $3 WHERE id = $1"
        test = [in_mode(uuid.UUID(each), test=True) for each in (life.program.id, other.id)]
        await admin.execute(moved, uuid.UUID(other.key_id), *test)
        service.clock.advance(seconds=10)
        assert await seen(other.key) == 0

    async def test_a_table_says_the_same(self, life: Life) -> None:
        await life.go_on(15)
        until = (life.service.clock() + timedelta(days=1)).isoformat()
        path = f"/v1/stats/codes?{urlencode({'to': until, 'group_by': 'coupon_id'})}"
        headers = {"Authorization": f"Bearer {life.program.key}", "Accept": "text/csv"}
        async with life.service.http.get(path, headers=headers) as response:
            assert response.headers["Content-Type"].startswith("text/csv")
            rows = list(csv.DictReader(StringIO(await response.text())))
        found: Figures = Counter()
        for row in rows:
            for measure in ("minted", "redeemed"):
                found[row["at"][:19], row["coupon_id"] or None, measure] += int(row[measure])
        assert +found == shown(await ask(life.service, life.program.key, to=until, group_by="coupon_id"))

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"step": "15m"}, "step"),
            (
                {"step": "15m", "from": (START - timedelta(days=3)).date(), "group_by": "coupon_id", "groups": 100},
                "step",
            ),
            ({"zone": "Mars/Olympus"}, "zone"),
            ({"from": "2026-03-02", "to": "2026-02-01"}, "to"),
            ({"group_by": "reason"}, "group_by"),
        ],
    )
    async def test_what_cannot_be_answered_is_named(
        self, service: Service, program: Owner, clock: HeldClock, query: dict[str, object], field: str
    ) -> None:
        clock.now = START
        answer = await service.send("GET", f"/v1/stats/codes?{urlencode(query)}", program.key)
        assert (answer.status, list(answer.body["errors"])) == (422, [field])
