"""Statistics are exact at every moment: against the raw tables, whatever happens in whatever order, and who asks."""

import asyncio
import csv
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any, cast
from urllib.parse import urlencode

import asyncpg
import pytest

from services.redemption.app import open_database
from services.redemption.store import retention
from services.redemption.usecases.read_stats import add_up_stats
from shared.database import stats as shared_stats
from shared.database.pool import Database as Pool
from shared.faults import TransientFault
from shared.modes import in_mode
from tests.databases import Database
from tests.dying import Dying
from tests.servers import ROOT
from tests.services.redemption.conftest import Decider, Shop, open_shop
from tests.services.redemption.merchant import NOW, Merchant
from tests.services.redemption.stats_life import RAW, ZONES, Figures, Life, ask, expected, is_exact, shown


@pytest.fixture
async def life(shop: Shop, merchant: Merchant) -> Life:
    seed = random.randrange(10**6)  # noqa: S311 - plays a shop
    sys.stdout.write(f"seed {seed}\n")
    made = Life(shop, merchant, seed)
    await made.stock()
    return made


@pytest.mark.parametrize("part", range(3))
async def test_figures_are_exact_at_every_moment(life: Life, pool: Pool, admin: Any, part: int) -> None:
    """Whether or not the changes were added up, and whatever happens to a redemption later."""
    add_up = add_up_stats(pool)
    for _ in range(4):
        await life.go_on(12)
        if life.random.random() < 0.6:
            await add_up()
        await is_exact(life, admin)
        await is_exact(life, admin, partner_id=life.partners[0])
        await is_exact(life, admin, coupon_id=life.coupons[0])
        await is_exact(life, admin, partner_id=life.partners[1], coupon_id=life.coupons[1])
    await add_up()
    assert await admin.fetchval("SELECT count(*) FROM redemption.stats_changes") == 0
    await is_exact(life, admin)
    rows = await admin.fetch(RAW, life.shop.program_id)
    assert {row["what"] for row in rows} == {"redemption", "void", "refusal"}
    assert sum(row["commission"] for row in rows) > 0


async def test_days_are_whole_where_clocks_change(shop: Shop, merchant: Merchant, pool: Pool, admin: Any) -> None:
    coupon = await merchant.coupon(shop.program_id)
    await merchant.code(shop.program_id, coupon, "MANY", limit=None)
    shop.decider.now = datetime(2026, 3, 28, 18, 0, tzinfo=UTC)
    for nth in range(60):
        shop.decider.now += timedelta(minutes=31)
        await shop.redeem("MANY", ref=f"order-{nth}")
    await add_up_stats(pool)()
    rows = await admin.fetch(RAW, shop.program_id)
    for zone in ZONES:
        data = await ask(shop, zone=zone, step="1d", **{"from": "2026-03-28", "to": "2026-03-30"})
        assert len(data["series"][0]["points"]) == 3
        assert shown(data) == expected(rows, data, None)


async def test_adding_up_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    life: Life, pool: Pool, admin: Any, database: Database
) -> None:
    """Two processes add up, and die again and again, while everything goes on."""
    async with AsyncExitStack() as stack:
        is_over = asyncio.Event()
        processes = []
        for _ in range(2):
            killer = await asyncpg.connect(database.admin)
            stack.push_async_callback(killer.close)
            other = await stack.enter_async_context(open_database(database.redemption, 1))
            processes.append(Dying(other, killer, life.random))

        async def add_up(process: Dying) -> None:
            while not is_over.is_set():
                with suppress(TransientFault):
                    await add_up_stats(cast(Pool, process))()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(add_up(process))
            await life.go_on(80)
            is_over.set()
        assert sum(process.deaths for process in processes) > 5
    await is_exact(life, admin)
    await add_up_stats(pool)()
    await is_exact(life, admin)
    assert await admin.fetchval("SELECT count(*) FROM redemption.stats_changes") == 0


async def test_one_process_adds_up_at_a_time(life: Life, pool: Pool, admin: Any) -> None:
    await life.go_on(10)
    async with admin.transaction():
        await admin.execute("SELECT FROM redemption.stats_rounds FOR UPDATE")
        assert await add_up_stats(pool)() == 0
    assert await add_up_stats(pool)() > 0


async def test_changes_are_added_a_few_per_transaction(life: Life, pool: Pool, admin: Any) -> None:
    """However many were left, no statement takes longer than a bounded number of them does."""
    await life.go_on(20)
    changes = await admin.fetchval("SELECT count(*) FROM redemption.stats_changes")
    assert await replace(add_up_stats(pool), at_once=3)() == changes > 6
    await is_exact(life, admin)


async def test_an_upgrade_counts_what_there_was_once(life: Life, pool: Pool, admin: Any) -> None:
    """What triggers have noted before the migration counts is in both, and counts once."""
    assert (await ask(life.shop))["as_of"] is not None
    await life.go_on(40)
    await admin.execute("SET search_path = redemption")
    await admin.execute((ROOT / "services/redemption/migrations/0341_stats_of_before.sql").read_text())
    await is_exact(life, admin)
    await life.go_on(10)
    await add_up_stats(pool)()
    await is_exact(life, admin)


async def test_a_figure_stays_when_its_refusals_are_gone(life: Life, pool: Pool, admin: Any) -> None:
    for nth in range(6):
        await life.shop.redeem("NONE", ref=f"order-{nth}")
    await admin.execute("UPDATE redemption.rejections SET decided_at = now() - interval '50 days'")
    async with pool.transaction() as connection:
        assert await retention.purge_rejections(connection, NOW + timedelta(days=3_000), 4) == 4
    await life.shop.redeem("NONE", ref="order-5")
    wanted = {"from": (NOW - timedelta(days=1)).isoformat(), "to": (NOW + timedelta(days=1)).isoformat()}
    for _ in range(2):
        data = await ask(life.shop, zone="UTC", **wanted)
        assert sum(point["refusals"] for point in data["series"][0]["points"]) == 7
        await add_up_stats(pool)()


async def test_too_many_changes_are_answered_as_of_the_last_round(
    life: Life, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_stats, "MOST_CHANGES", 0)
    await life.shop.redeem("CODE-0", ref="counted")
    until = (NOW + timedelta(days=1)).isoformat()
    assert (await ask(life.shop, to=until))["as_of"] is None
    await add_up_stats(pool)()
    counted = await ask(life.shop, to=until)
    await life.shop.redeem("CODE-1", ref="one more")
    late = await ask(life.shop, to=until)
    assert late["series"] == counted["series"]
    assert datetime.fromisoformat(late["as_of"]) < datetime.fromisoformat(counted["as_of"])
    monkeypatch.setattr(shared_stats, "MOST_CHANGES", 1)
    assert (await ask(life.shop, to=until))["series"] != counted["series"]


class TestAsking:
    async def test_a_partner_sees_its_own_and_a_test_key_test_mode(
        self, life: Life, pool: Pool, merchant: Merchant, decider: Decider, admin: Any
    ) -> None:
        program = life.shop.program_id
        for nth, code in enumerate(life.codes):
            await life.shop.redeem(code, ref=f"order-{nth}")
        until = {"to": (NOW + timedelta(days=1)).isoformat()}
        own, other = life.partners
        key = await merchant.key(program, "codes:read")
        await admin.execute("UPDATE codes.api_keys SET partner_id = $1 WHERE scopes = '{codes:read}'", own)

        async def seen(**query: object) -> int:
            series = (await ask(life.shop, key, **until, **query))["series"]
            return sum(point["redemptions"] for each in series for point in each["points"])

        assert await seen() == await seen(partner_id=own) == 2
        assert await seen(partner_id=other) == 0
        assert await seen(group_by="partner_id") == 2
        assert await seen(group_by="coupon_id") == 2
        assert await seen(coupon_id=life.coupons[0]) == 1
        stranger = await merchant.program()
        async with open_shop(pool, stranger, await merchant.key(stranger, "manage"), decider) as shop:
            assert shown(await ask(shop, **until)) == shown(await ask(shop, partner_id=own, **until)) == Counter()
        test = in_mode(program, test=True)
        async with open_shop(pool, test, await merchant.key(program, "checkout"), decider) as shop:
            await admin.execute("UPDATE codes.api_keys SET program_id = $1 WHERE scopes = '{checkout}'", test)
            assert shown(await ask(shop, **until)) == Counter()

    async def test_what_is_not_among_the_largest_is_the_rest(self, life: Life) -> None:
        for nth, code in enumerate(life.codes):
            for more in range(nth + 1):
                await life.shop.redeem(code, ref=f"order-{nth}-{more}")
        until = (NOW + timedelta(days=1)).isoformat()
        series = (await ask(life.shop, to=until, group_by="partner_id", groups=1))["series"]
        assert [each["is_rest"] for each in series] == [False, True]
        totals = [sum(point["redemptions"] for point in each["points"]) for each in series]
        everything = await ask(life.shop, to=until)
        assert sum(totals) == sum(point["redemptions"] for point in everything["series"][0]["points"])

    async def test_a_table_says_the_same(self, life: Life) -> None:
        await life.go_on(20)
        until = (life.shop.decider.now + timedelta(days=1)).isoformat()
        path = f"/v1/stats/redemptions?{urlencode({'to': until, 'group_by': 'coupon_id'})}"
        headers = {"Authorization": f"Bearer {life.shop.key}", "Accept": "text/csv"}
        async with life.shop.http.get(path, headers=headers) as response:
            assert response.headers["Content-Type"].startswith("text/csv")
            rows = list(csv.DictReader(StringIO(await response.text())))
        found: Figures = Counter()
        for row in rows:
            for name, value in row.items():
                if name in ("redemptions", "voids", "refusals") or name.endswith("_minor"):
                    found[row["at"][:19], row["coupon_id"] or None, row["currency"] or None, name] += int(value)
        assert +found == shown(await ask(life.shop, to=until, group_by="coupon_id"))

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"step": "15m"}, "step"),
            ({"step": "1h", "from": "2026-01-01T00:00:00Z"}, "step"),
            ({"step": "15m", "from": "2026-03-15", "group_by": "coupon_id", "groups": 100}, "step"),
            ({"step": "5m"}, "step"),
            ({"zone": "Mars/Olympus"}, "zone"),
            ({"from": "2026-03-02", "to": "2026-02-01"}, "to"),
            ({"group_by": "customer_id"}, "group_by"),
            ({"groups": 101}, "groups"),
        ],
    )
    async def test_what_cannot_be_answered_is_named(self, shop: Shop, query: dict[str, object], field: str) -> None:
        answer = await shop.send("GET", f"/v1/stats/redemptions?{urlencode(query)}")
        assert (answer.status, list(answer.body["errors"])) == (422, [field])
