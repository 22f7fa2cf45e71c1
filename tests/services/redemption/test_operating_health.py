"""The operators' API about a replica: its tasks, its outbox, and one document that answers whatever is missing."""

import asyncio
import os
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from shared import VERSION
from shared.accounts import Grade
from shared.clock import utc_now
from shared.database.outbox import OutboxTable, insert_events
from shared.database.outbox_state import OutboxOverview
from shared.database.pool import Database as Pool
from shared.database.schema_version import SchemaVersion
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.ids import new_id
from shared.periodic import Periodic
from shared.times import parse_time
from shared.web.health import Report
from tests.accounts import DASHBOARD
from tests.architecture.source import ROOT as REPOSITORY
from tests.services.redemption.conftest import Decider, open_shop
from tests.services.redemption.merchant import Merchant
from tests.shared.broker.tools import until

ROOT = "/v1/operator/redemption"
TOKEN = "operator-token-for-tests"
GRADES: tuple[Grade, ...] = ("look", "change")
AGE_EVENT = "UPDATE redemption.events SET created_at = created_at - interval '1 hour' WHERE id = $1"


async def write(pool: Pool, count: int) -> list[OutboxEvent]:
    events = [OutboxEvent(new_id(), "code.redeemed", b"{}") for _ in range(count)]
    async with pool.transaction() as connection:
        await insert_events(connection, events)
    return events


async def test_the_outbox_is_counted_and_what_was_refused_is_tried_at_once(
    pool: Pool, merchant: Merchant, decider: Decider, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with open_shop(pool, await merchant.program(), "", decider, operator_token=TOKEN) as shop:
        empty = {"waiting": 0, "refused": 0, "oldest_at": None}
        assert (await shop.send("GET", f"{ROOT}/outbox", key=TOKEN)).data == empty
        oldest, *others = await write(pool, 3)
        await admin.execute(AGE_EVENT, oldest.id)
        outbox = OutboxTable(pool)
        await outbox.defer([each.id for each in others], 120)
        found = (await shop.send("GET", f"{ROOT}/outbox", key=TOKEN)).data
        assert (found["waiting"], found["refused"]) == (3, 2)
        oldest_at = parse_time(found["oldest_at"])
        assert oldest_at is not None
        assert timedelta(minutes=59) < utc_now() - oldest_at < timedelta(minutes=61)
        # Who may only look tries nothing again.
        looks = DASHBOARD.token("redemption", decider.now, "operator", "look")
        assert (await shop.send("POST", f"{ROOT}/outbox/retry", key=looks)).body["code"] == "look_only"
        assert await outbox.claim(10, 10) == []
        assert (await shop.send("POST", f"{ROOT}/outbox/retry", key=TOKEN)).data == {"retried": 2}
        # The one that another process has in hand stays its own.
        assert {each.id for each in await outbox.claim(10, 10)} == {each.id for each in others}
        [entry] = (await shop.send("GET", f"{ROOT}/log", key=TOKEN)).data
        assert (entry["action"], entry["target"], entry["details"]) == ("outbox.retried", "outbox", {"retried": 2})


async def test_tasks_say_when_they_ran_and_how_that_ended(pool: Pool, merchant: Merchant, decider: Decider) -> None:
    async def work() -> None:
        pass

    async def fail() -> None:
        raise ValueError("the text may name a customer")

    tasks = [Periodic("works", 30.0, work), Periodic("fails", 30.0, fail), Periodic("never_ran", 30.0, work)]
    running = [asyncio.create_task(task.run()) for task in tasks[:2]]
    try:
        await until(lambda: all(task.report().last_ended_at for task in tasks[:2]))
        async with open_shop(pool, await merchant.program(), "", decider, operator_token=TOKEN, tasks=tasks) as shop:
            answer = (await shop.send("GET", f"{ROOT}/tasks", key=TOKEN)).data
    finally:
        for each in running:
            each.cancel()
        await asyncio.wait(running)
    works, fails, never = answer["tasks"]
    assert answer["replica"].endswith(f":{os.getpid()}")
    assert (works["name"], works["last_result"], works["failing_since"], works["kinds"]) == (
        "works",
        "worked",
        None,
        [],
    )
    assert works["last_started_at"] <= works["last_ended_at"] < works["next_at"]
    assert (fails["last_result"], fails["failures"], fails["kinds"]) == ("failed", 1, ["ValueError"])
    assert fails["failing_since"] is not None
    assert "customer" not in str(answer)
    assert {never[name] for name in ("last_started_at", "last_ended_at", "last_result", "next_at")} == {None}


async def test_one_document_says_how_a_replica_does(pool: Pool, merchant: Merchant, decider: Decider) -> None:
    await write(pool, 1)

    async def ready() -> Report:
        return Report({"database": "ok", "publisher": "not connected"}, {"sweep_outbox": "ok", "publishing": "blocked"})

    program = await merchant.program()
    async with open_shop(pool, program, "", decider, operator_token=TOKEN, ready=ready) as shop:
        answer = await shop.send("GET", f"{ROOT}/health", key=TOKEN)
    found: dict[str, Any] = answer.data
    assert answer.status == 200
    assert (found["service"], found["is_ready"], found["missing"]) == (
        "redemption",
        False,
        {"publisher": "not connected"},
    )
    assert found["details"] == {"publishing": "blocked"}
    assert found["outbox"]["waiting"] == 1
    assert found["version"] == VERSION
    migrations = (REPOSITORY / "services" / "redemption" / "migrations").glob("*.sql")
    assert found["schema_version"] == f"redemption/{max(each.stem for each in migrations)}"
    assert parse_time(found["since"]) == decider.now
    assert (found["due"], found["tasks"]) == (None, [])


async def test_it_answers_without_the_database(
    pool: Pool, merchant: Merchant, decider: Decider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise TransientFault("The database is away.")

    monkeypatch.setattr(OutboxOverview, "state", away)
    monkeypatch.setattr(SchemaVersion, "__call__", away)
    async with open_shop(pool, await merchant.program(), "", decider, operator_token=TOKEN) as shop:
        answer = await shop.send("GET", f"{ROOT}/health", key=TOKEN)
    assert (answer.status, answer.data["outbox"], answer.data["schema_version"]) == (200, None, None)


async def test_jobs_of_all_programs_are_listed_without_whom_they_are_about(
    pool: Pool, merchant: Merchant, decider: Decider
) -> None:
    programs = [await merchant.program() for _ in range(2)]
    for program in programs:
        key = await merchant.key(program, "manage", "checkout", "webhooks")
        async with open_shop(pool, program, key, decider, operator_token=TOKEN) as shop:
            assert (await shop.send("POST", "/v1/customers/export", {"customer_id": "c-17"})).status == 202
            listed = await shop.send("GET", f"{ROOT}/jobs", key=TOKEN)
            path = f"{ROOT}/jobs/{listed.data[0]['id']}/cancel"
            # An export or erasure ends by itself.
            assert (await shop.send("POST", path, key=TOKEN)).status == 404
    assert [(each["kind"], each["state"], each["program_id"]) for each in listed.data] == [
        ("export", "running", str(program)) for program in reversed(programs)
    ]
    assert "c-17" not in listed.raw.decode()


async def test_who_may_only_look_sees_no_content_of_the_history(
    pool: Pool, merchant: Merchant, decider: Decider
) -> None:
    """It may be about customers."""
    await write(pool, 1)
    async with open_shop(pool, await merchant.program(), "", decider, operator_token=TOKEN) as shop:
        looks, changes = (DASHBOARD.token("redemption", decider.now, "operator", grade) for grade in GRADES)
        for key, body in ((TOKEN, "e30="), (changes, "e30="), (looks, None)):
            [event] = (await shop.send("GET", f"{ROOT}/events", key=key)).data
            assert (event["type"], event["body_base64"]) == ("code.redeemed", body)


def test_the_version_is_that_of_the_package() -> None:
    assert f'\nversion = "{VERSION}"\n' in (REPOSITORY / "pyproject.toml").read_text("utf-8")
