"""Statistics of webhooks are exact at every moment: against the raw tables, whatever happens, and who asks."""

import asyncio
import csv
import random
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any, cast
from urllib.parse import urlencode

import asyncpg
import pytest

from services.webhooks.usecases.read_stats import add_up_stats
from shared.database import stats as shared_stats
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.faults import TransientFault
from shared.modes import in_mode
from tests.databases import Database
from tests.dying import Dying
from tests.servers import ROOT
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_merchant
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.stats_life import Life, ask, expected, shown

TAKE_PARTNERS_FORMS = """
CREATE TEMP TABLE form AS SELECT * FROM webhooks.messages WHERE format LIKE '%-partner' OR format = 'flat';
DELETE FROM webhooks.messages m USING form f WHERE f.id = m.id AND f.format = m.format;
"""
MIGRATIONS = ROOT / "services/webhooks/migrations"


@pytest.fixture
async def life(service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver) -> Life:
    seed = random.randrange(10**6)  # noqa: S311 - plays a merchant
    sys.stdout.write(f"seed {seed}\n")
    made = Life(service, merchant, [receiver, second_receiver], seed)
    await made.stock()
    return made


@pytest.mark.parametrize("part", range(2))
async def test_figures_are_exact_at_every_moment(life: Life, part: int) -> None:
    """Whether or not the changes were added up, and whatever happens to a delivery later."""
    for _ in range(3):
        await life.go_on(20)
        if life.random.random() < 0.6:
            await add_up_stats(life.service.pool)()
        await life.is_exact()
        await life.is_exact(partner_id=life.merchant.partner_id)
        await life.is_exact(endpoint_id=life.endpoints[0]["id"])
        await life.is_exact(event_type="code.redeemed", partner_id=life.other.partner_id)
        await life.is_exact(reason="http_500")
    await add_up_stats(life.service.pool)()
    assert await life.service.query("SELECT FROM webhooks.stats_changes") == []
    await life.is_exact()
    rows = await life.raw()
    assert {row["what"] for row in rows} == {"message", "delivery", "attempt"}
    assert len({row["answer"] for row in rows}) > 3
    assert len({row["status"] for row in rows}) > 3


async def test_adding_up_that_is_killed_at_any_moment_loses_and_doubles_nothing(life: Life, database: Database) -> None:
    async with AsyncExitStack() as stack:
        is_over = asyncio.Event()
        processes = []
        for _ in range(2):
            killer = await asyncpg.connect(database.admin)
            stack.push_async_callback(killer.close)
            other = await stack.enter_async_context(connect(database.webhooks, "webhooks", 1))
            processes.append(Dying(other, killer, life.random))

        async def add_up(process: Dying) -> None:
            while not is_over.is_set():
                with suppress(TransientFault):
                    await add_up_stats(cast(Pool, process))()
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(add_up(process))
            await life.go_on(60)
            is_over.set()
        assert sum(process.deaths for process in processes) > 5
    await life.is_exact()
    await add_up_stats(life.service.pool)()
    await life.is_exact()


async def test_an_upgrade_counts_what_there_was_once(life: Life) -> None:
    """What triggers have noted before the migration counts is in both, and counts once."""
    await life.go_on(40)
    await life.service.admin.execute("SET search_path = webhooks")
    await life.service.admin.execute((MIGRATIONS / "0341_stats_of_before.sql").read_text())
    await life.is_exact()
    await life.go_on(10)
    assert await replace(add_up_stats(life.service.pool), at_once=7)() > 14
    await life.is_exact()


async def test_a_form_that_is_stored_later_makes_no_second_message(life: Life) -> None:
    """It only lets the partner see the message, if it is the partner's form."""
    service, merchant = life.service, life.merchant
    await service.consume(code_redeemed(merchant))
    await life.rest()
    await service.admin.execute(TAKE_PARTNERS_FORMS)
    await service.admin.execute("DELETE FROM webhooks.stats_changes")
    await service.admin.execute("SET search_path = webhooks")
    await service.admin.execute((MIGRATIONS / "0341_stats_of_before.sql").read_text())
    await life.is_exact()
    assert await service.admin.execute("INSERT INTO webhooks.messages SELECT * FROM form") != "INSERT 0 0"
    await life.is_exact()
    assert any(row["what"] == "message" and row["partner_id"] is not None for row in await life.raw())


async def test_figures_stay_when_what_they_count_is_gone(life: Life) -> None:
    await life.go_on(25)
    until = life.service.clock() + timedelta(hours=1)
    asked = {"step": "1d", "from": (until - timedelta(days=60)).isoformat(), "to": until.isoformat()}
    before = shown(await ask(life.service, life.merchant.program_key, **asked))
    for table in ("attempts", "dead_letters", "delivery_queue", "deliveries", "messages"):
        await life.service.admin.execute(f"DELETE FROM webhooks.{table}")  # noqa: S608 - names of the schema
    assert shown(await ask(life.service, life.merchant.program_key, **asked)) == before
    await add_up_stats(life.service.pool)()
    assert shown(await ask(life.service, life.merchant.program_key, **asked)) == before


async def test_too_many_changes_are_answered_as_of_the_last_round(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    service, key = life.service, life.merchant.program_key
    monkeypatch.setattr(shared_stats, "MOST_CHANGES", 0)
    await service.consume(code_redeemed(life.merchant))
    await life.rest()
    until = (service.clock() + timedelta(days=1)).isoformat()
    assert (await ask(service, key, to=until))["as_of"] is None
    await add_up_stats(service.pool)()
    added_up = await ask(service, key, to=until)
    assert shown(added_up)
    await service.consume(code_redeemed(life.merchant))
    await life.rest()
    late = await ask(service, key, to=until)
    assert late["series"] == added_up["series"]
    assert datetime.fromisoformat(late["as_of"]) < datetime.fromisoformat(added_up["as_of"])


class TestAsking:
    async def test_a_partner_sees_its_own_and_a_test_key_test_mode(self, life: Life) -> None:
        service, merchant = life.service, life.merchant
        to = {"to": (service.clock() + timedelta(days=1)).isoformat()}
        await service.consume(code_redeemed(merchant), code_redeemed(merchant, partner_id=life.other.partner_id))
        await life.rest()

        async def seen(key: str, measure: str = "deliveries.created", **query: Any) -> int:
            found = shown(await ask(service, key, **to, **query))
            return sum(value for (_, _, name), value in found.items() if name == measure)

        own, other = merchant.partner_key, life.other.partner_key
        assert await seen(merchant.program_key) == 7
        assert [await seen(own), await seen(other)] == [2, 1]
        assert [await seen(own, "messages"), await seen(other, "messages")] == [1, 1]
        assert await seen(own, partner_id=life.other.partner_id) == 0
        assert await seen(own, endpoint_id=life.endpoints[0]["id"]) == 0
        assert await seen(own, endpoint_id=life.endpoints[2]["id"]) == 1
        assert await seen(own, group_by="partner_id") == 2
        assert await seen(own, event_type="code.*") == 2
        assert await seen(own, event_type="quota.low") == 0
        stranger = await make_merchant(service.admin, service.clock())
        assert await seen(stranger.program_key) == await seen(stranger.program_key, partner_id=merchant.partner_id) == 0
        assert await seen(stranger.program_key, endpoint_id=life.endpoints[0]["id"]) == 0
        test = [in_mode(each, test=True) for each in (merchant.program_id, life.other.partner_id)]
        moved = "UPDATE codes.api_keys SET program_id = $2, partner_id = $3 WHERE partner_id = $1"
        await service.admin.execute(moved, life.other.partner_id, *test)
        service.clock.advance(seconds=10)
        assert await seen(other) == 0

    async def test_days_are_those_of_the_program(self, life: Life) -> None:
        changed = "UPDATE codes.programs SET timezone = 'Asia/Kolkata' WHERE id = $1"
        await life.service.admin.execute(changed, life.merchant.program_id)
        data = await ask(life.service, life.merchant.program_key)
        assert (data["zone"], data["from"][11:16]) == ("Asia/Kolkata", "18:30")

    async def test_an_endpoint_shows_its_own_in_steps(self, life: Life) -> None:
        await life.go_on(30)
        endpoint = life.endpoints[0]["id"]
        since, until = life.service.clock() - timedelta(days=9), life.service.clock() + timedelta(days=1)
        asked = {"step": "1d", "zone": "Asia/Kolkata", "since": since.isoformat(), "until": until.isoformat()}
        path = f"/endpoints/{endpoint}/stats?{urlencode(asked)}"
        answer = await life.service.send("GET", path, life.merchant.program_key)
        assert answer.status == 200, answer.body
        span = {"from": since.isoformat(), "to": until.isoformat(), "step": "1d", "zone": "Asia/Kolkata"}
        over_time = await ask(life.service, life.merchant.program_key, endpoint_id=endpoint, **span)
        assert answer.data["points"] == over_time["series"][0]["points"]
        without = await life.service.send("GET", f"/endpoints/{endpoint}/stats", life.merchant.program_key)
        assert without.data["points"] is None

    async def test_a_table_says_the_same(self, life: Life) -> None:
        await life.go_on(20)
        to = (life.service.clock() + timedelta(days=1)).isoformat()
        path = f"/v1/stats/webhooks?{urlencode({'to': to, 'group_by': 'endpoint_id'})}"
        headers = {"Authorization": f"Bearer {life.merchant.program_key}", "Accept": "text/csv"}
        async with life.service.http.get(path, headers=headers) as response:
            assert response.headers["Content-Type"].startswith("text/csv")
            rows = list(csv.DictReader(StringIO(await response.text())))
        data = await ask(life.service, life.merchant.program_key, to=to, group_by="endpoint_id")
        figures_, _ = expected(await life.raw(), data, "endpoint_id")
        for measure, column in (
            ("deliveries.created", "deliveries"),
            ("deliveries.pending", "pending"),
            ("attempts.total", "attempts"),
            ("answers.5xx", "answers_5xx"),
        ):
            found = {(row["at"][:19], row["endpoint_id"]): int(row[column]) for row in rows if int(row[column])}
            assert found == {(at, key): n for (at, key, name), n in figures_.items() if name == measure}
        assert any(row["p95_ms"] for row in rows)

    async def test_a_cell_is_no_formula(self, life: Life) -> None:
        """A program names the types of its own events, and a spreadsheet opens the table."""
        headers = {"Authorization": f"Bearer {life.merchant.program_key}", "Accept": "text/csv"}
        insert = (
            "INSERT INTO webhooks.stats_changes (program_id, quarter, event_type, messages)"
            " VALUES ($1, date_bin('15 minutes', now(), 'epoch'), '=1+1', 1)"
        )
        await life.service.admin.execute(insert, life.merchant.program_id)
        async with life.service.http.get("/v1/stats/webhooks?group_by=event_type", headers=headers) as response:
            assert "'=1+1" in await response.text()

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"step": "15m"}, "step"),
            ({"step": "5m"}, "step"),
            ({"step": "1h", "group_by": "reason", "groups": 100}, "step"),
            ({"zone": "Mars/Olympus"}, "zone"),
            ({"from": "2026-03-02", "to": "2026-02-01"}, "to"),
            ({"group_by": "coupon_id"}, "group_by"),
            ({"groups": 101}, "groups"),
            ({"endpoint_id": "none"}, "endpoint_id"),
        ],
    )
    async def test_what_cannot_be_answered_is_named(
        self, service: Service, merchant: Merchant, query: dict[str, object], field: str
    ) -> None:
        headers = {"Authorization": f"Bearer {merchant.program_key}"}
        async with service.http.get(f"/v1/stats/webhooks?{urlencode(query)}", headers=headers) as response:
            body = await response.json()
        assert (response.status, list(body["errors"])) == (422, [field])
