"""Bulk actions: each code that is meant is changed once, whatever is killed."""

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.codes.domain.jobs import MAX_OPEN_JOBS
from services.codes.usecases import change_many_codes, run_jobs, walk_codes
from tests.databases import Database
from tests.services.codes.bulk import job, make_coupon, rows, work_through
from tests.services.codes.conftest import Owner, Reply, Service

EXPIRY = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


async def make(service: Service, program: Owner, count: int, coupon: str = "spring", **members: Any) -> str:
    body = {"count": count, "expires_at": EXPIRY.isoformat(), **members}
    made = await service.send("POST", f"/v1/coupons/{coupon}/promotion-codes/batch", program.key, body)
    assert made.status == 201, made.body
    return str(made.data["job"]["id"])


async def change(service: Service, program: Owner, **body: Any) -> Reply:
    return await service.send("POST", "/v1/promotion-codes/bulk", program.key, body)


async def done(service: Service, program: Owner, **body: Any) -> Any:
    queued = await change(service, program, **body)
    assert queued.status == 202, queued.body
    assert queued.headers["Location"] == f"/v1/jobs/{queued.data['id']}"
    await work_through(service)
    shown = await job(service, program, queued.data["id"])
    assert shown["state"] == "done"
    return shown


async def counted(database: Database, condition: str) -> int:
    [row] = await rows(database, f"SELECT count(*) FROM codes.promotion_codes WHERE {condition}")  # noqa: S608 - our own words
    return int(row["count"])


class TestActions:
    async def test_deactivate_and_activate(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        batch = await make(service, program, 30)
        await make(service, program, 20)
        shown = await done(service, program, action="deactivate", filter={"batch_id": batch})
        assert (shown["requested"], shown["updated"], shown["skipped"]) == (30, 30, 0)
        assert await counted(database, "NOT is_active") == 30
        shown = await done(service, program, action="activate", filter={"coupon_id": "spring"})
        assert (shown["requested"], shown["updated"], shown["skipped"]) == (50, 30, 20)
        assert await counted(database, "NOT is_active") == 0

    async def test_expire(self, service: Service, program: Owner, coupon: str, database: Database) -> None:
        await make(service, program, 5, expires_at="2999-01-01T00:00:00Z")
        await make(service, program, 5, expires_at=None)
        await make(service, program, 5, expires_at="2001-01-01T00:00:00Z")
        shown = await done(service, program, action="expire", filter={"coupon_id": coupon})
        assert (shown["updated"], shown["skipped"]) == (10, 5)
        [row] = await rows(database, "SELECT max(expires_at) FROM codes.promotion_codes")
        assert row["max"] == service.clock()

    async def test_extend_to_a_time_never_shortens(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 5)
        await make(service, program, 5, expires_at="2999-01-01T00:00:00Z")
        await make(service, program, 5, expires_at=None)
        shown = await done(
            service, program, action="extend", expires_at="2026-05-01T00:00:00Z", filter={"coupon_id": coupon}
        )
        assert (shown["updated"], shown["skipped"]) == (5, 10)
        assert await counted(database, "expires_at = '2026-05-01Z'") == 5
        assert await counted(database, "expires_at IS NULL") == 5

    async def test_assign(
        self, service: Service, program: Owner, partner: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 5)
        shown = await done(service, program, action="assign", partner_id=partner.id, filter={"active": True})
        assert shown["updated"] == 5
        [row] = await rows(database, "SELECT DISTINCT partner_id FROM codes.promotion_codes")
        assert str(row["partner_id"]) == partner.id

    async def test_a_job_says_what_it_was_asked_for(
        self, service: Service, program: Owner, partner: Owner, coupon: str
    ) -> None:
        """In the words of the request; a coupon or partner that was found is named by its id."""
        batch = await make(service, program, 2)
        wanted = {
            "coupon_id": "spring",
            "partner_email": "dev@acme.example",
            "customer_id": "c",
            "batch_id": batch,
            "active": True,
            "created_from": "2026-01-01T00:00:00Z",
            "expires_before": "2026-12-31T00:00:00Z",
        }
        shown = await done(service, program, action="deactivate", filter=wanted)
        assert (shown["action"], shown["dry_run"]) == ("deactivate", False)
        found = {name: value for name, value in shown["filter"].items() if not name.endswith(("from", "before"))}
        assert found == {
            "coupon_id": coupon,
            "partner_id": partner.id,
            "customer_id": "c",
            "batch_id": batch,
            "active": True,
        }
        assert {name for name in shown["filter"] if name not in found} == {"created_from", "expires_before"}
        named = await done(service, program, action="activate", ids=[str(uuid.uuid4())])
        assert (named["action"], named["filter"], named["requested"]) == ("activate", None, 1)
        made = await job(service, program, batch)
        assert (made["action"], made["filter"], made["dry_run"]) == (None, None, False)

    async def test_archive_frees_the_strings(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 400, pattern="T##", allow_weak=True)
        assert (await done(service, program, action="archive", filter={"coupon_id": coupon}))["updated"] == 400
        await make(service, program, 400, pattern="T##", allow_weak=True)
        assert await counted(database, "archived_at IS NOT NULL") == 400

    async def test_by_ids_others_are_left_alone_and_strangers_reported(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 5)
        other = await service.program()
        await make_coupon(database, other.id)
        await make(service, other, 1)
        found = await rows(database, "SELECT id, program_id FROM codes.promotion_codes")
        own = [str(row["id"]) for row in found if str(row["program_id"]) == program.id]
        [theirs] = [str(row["id"]) for row in found if str(row["program_id"]) == other.id]
        ids = [own[0], theirs, own[1], own[0], str(uuid.uuid4())]
        counted_ = await change(service, program, action="deactivate", ids=ids, dry_run=True)
        assert counted_.data == {"dry_run": True, "matched": 2, "is_whole": True}
        shown = await done(service, program, action="deactivate", ids=ids)
        assert (shown["requested"], shown["updated"], shown["refused"]) == (4, 2, 2)
        inactive = await rows(database, "SELECT id FROM codes.promotion_codes WHERE NOT is_active")
        assert {str(row["id"]) for row in inactive} == set(own[:2])
        headers = {"Authorization": f"Bearer {program.key}"}
        async with service.http.get(shown["errors_url"], headers=headers) as response:
            text = await response.text()
        assert f"2,{theirs},not_found" in text


class TestJob:
    async def test_a_dry_run_counts_and_changes_nothing(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 40)
        other = await service.program()
        answer = await change(service, program, action="archive", filter={"active": True}, dry_run=True)
        assert (answer.status, answer.data) == (200, {"dry_run": True, "matched": 40, "is_whole": True})
        answer = await change(service, other, action="archive", filter={"active": True}, dry_run=True)
        assert answer.data["matched"] == 0
        assert await counted(database, "archived_at IS NOT NULL") == 0
        [jobs] = await rows(database, "SELECT count(*) FROM codes.jobs WHERE kind = 'bulk'")
        assert jobs["count"] == 0

    async def test_a_dry_run_counts_no_further_than_a_request_can(
        self, service: Service, program: Owner, coupon: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walk_codes, "SCANNED_PER_PAGE", 10)
        monkeypatch.setattr(change_many_codes, "MOST_STRETCHES", 3)
        await make(service, program, 40)
        answer = await change(service, program, action="archive", filter={"coupon_id": coupon}, dry_run=True)
        assert (answer.data["matched"], answer.data["is_whole"]) == (30, False)
        answer = await change(
            service, program, action="archive", filter={"coupon_id": coupon, "active": False}, dry_run=True
        )
        assert (answer.data["matched"], answer.data["is_whole"]) == (0, False)
        monkeypatch.setattr(change_many_codes, "MOST_STRETCHES", 5)
        answer = await change(service, program, action="archive", filter={"coupon_id": coupon}, dry_run=True)
        assert (answer.data["matched"], answer.data["is_whole"]) == (40, True)

    async def test_killed_and_taken_over_it_changes_each_code_once(
        self,
        service: Service,
        second: Service,
        program: Owner,
        coupon: str,
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An extension by a duration shows it: done twice, a code would live a day too long."""
        monkeypatch.setattr(walk_codes, "SCANNED_PER_PAGE", 100)
        for _ in range(3):
            await make(service, program, 1_000)
        await make_coupon(database, program.id, "other")
        await make(service, program, 500, "other")
        queued = await change(service, program, action="extend", extend_by_seconds=86_400, filter={"active": True})
        chance = random.Random(5)  # noqa: S311 - where to kill is no secret
        for each in (service, second):
            each.runner.lease_seconds = 0.0
        for _ in range(6):
            tasks = [asyncio.create_task(each.runner.work_once()) for each in (service, second)]
            for _ in range(chance.randrange(1, 80)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(work_through(service), work_through(second))
        shown = await job(service, program, queued.data["id"])
        assert (shown["state"], shown["updated"], shown["processed"]) == ("done", 3_500, 3_500)
        [row] = await rows(database, "SELECT min(expires_at), max(expires_at) FROM codes.promotion_codes")
        assert row["min"] == row["max"] == EXPIRY + timedelta(days=1)

    async def test_what_is_made_after_the_request_is_left_alone(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 10)
        queued = await change(service, program, action="deactivate", filter={"active": True})
        service.clock.advance(seconds=1)
        await make(service, program, 10)
        await work_through(service)
        assert (await job(service, program, queued.data["id"]))["updated"] == 10
        assert await counted(database, "is_active") == 10

    async def test_cancelled_before_it_begins_it_changes_nothing(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make(service, program, 10)
        queued = await change(service, program, action="deactivate", filter={"active": True})
        await service.send("POST", f"/v1/jobs/{queued.data['id']}/cancel", program.key)
        await work_through(service)
        assert await counted(database, "is_active") == 10


class TestManyJobs:
    async def test_a_program_has_a_bounded_number_under_way_and_leaves_others_theirs(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """Whichever kind they are; and the refusal is not kept for who asks again under the same key."""
        queued = [
            await change(service, program, action="activate", filter={"active": True}) for _ in range(MAX_OPEN_JOBS)
        ]
        assert {each.status for each in queued} == {202}
        path = "/v1/coupons/spring/promotion-codes"
        body = {"count": 2_000, "pattern": "####-####-####"}
        refused = [
            await change(service, program, action="activate", filter={"active": True}),
            await service.send("POST", f"{path}/batch", program.key, body, idempotency="later"),
        ]
        headers = {"Authorization": f"Bearer {program.key}", "Content-Type": "text/csv"}
        async with service.http.post(f"{path}/import", headers=headers, data=b"code\nA\n") as response:
            refused.append(Reply(response.status, response.headers.copy(), b"", await response.json(content_type=None)))
        assert [(each.status, each.body["code"]) for each in refused] == [(429, "too_many_jobs")] * 3
        assert all(int(each.headers["Retry-After"]) for each in refused)
        assert (
            await change(service, await service.program(), action="activate", filter={"active": True})
        ).status == 202
        assert (await service.send("POST", f"/v1/jobs/{queued[0].data['id']}/cancel", program.key)).status == 200
        assert (await service.send("POST", f"{path}/batch", program.key, body, idempotency="later")).status == 202
        [row] = await rows(database, "SELECT count(*) FROM codes.jobs")
        assert row["count"] == MAX_OPEN_JOBS + 2

    async def test_ever_new_jobs_of_one_program_keep_nobody_else_s_from_going_on(
        self, service: Service, program: Owner, coupon: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_jobs, "_SLICE_SECONDS", 0.0)
        monkeypatch.setattr(walk_codes, "SCANNED_PER_PAGE", 100)
        await make(service, program, 1_000)
        other = await service.program()
        queued = await change(service, program, action="extend", extend_by_seconds=60, filter={"active": True})
        await service.runner.work_once()
        before = (await job(service, program, queued.data["id"]))["processed"]
        for _ in range(4):
            assert (await change(service, other, action="activate", filter={"active": True})).status == 202
            await service.runner.work_once()
        assert (await job(service, program, queued.data["id"]))["processed"] > before


async def test_refusals_name_the_field(service: Service, program: Owner) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"action": "deactivate"}, "filter"),
        ({"action": "deactivate", "filter": {}}, "filter"),
        ({"action": "deactivate", "filter": {"active": True}, "ids": [str(uuid.uuid4())]}, "filter"),
        ({"action": "delete", "filter": {"active": True}}, "action"),
        ({"action": "deactivate", "ids": []}, "ids"),
        ({"action": "deactivate", "ids": ["x"]}, "ids.0"),
        ({"action": "deactivate", "ids": [str(uuid.uuid4())] * 1_001}, "ids"),
        ({"action": "deactivate", "filter": {"colour": "red"}}, "filter.colour"),
        ({"action": "extend", "filter": {"active": True}}, "expires_at"),
        (
            {
                "action": "extend",
                "filter": {"active": True},
                "expires_at": "2026-04-01T00:00:00Z",
                "extend_by_seconds": 5,
            },
            "expires_at",
        ),
        ({"action": "expire", "filter": {"active": True}, "expires_at": "2026-04-01T00:00:00Z"}, "expires_at"),
        ({"action": "archive", "filter": {"active": True}, "extend_by_seconds": 5}, "extend_by_seconds"),
        ({"action": "assign", "filter": {"active": True}}, "partner_id"),
        ({"action": "archive", "filter": {"active": True}, "partner_id": str(uuid.uuid4())}, "partner_id"),
        ({"action": "assign", "filter": {"active": True}, "partner_id": str(uuid.uuid4())}, "partner_id"),
    ]
    for body, field in cases:
        refused = await change(service, program, **body)
        assert refused.status == 422, (body, refused.body)
        assert list(refused.body["errors"]) == [field], body
