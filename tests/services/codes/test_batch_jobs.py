"""Batches created by jobs: chunk by chunk, despite killed processes, and how they are shown and cancelled."""

import asyncio
import random
import uuid

import pytest

from services.codes.store import jobs
from services.codes.usecases import batches, run_jobs
from services.codes.usecases.run_jobs import RunJobs
from shared.events.codes import CodesBatchCompletedV1
from shared.events.envelope import decode_data, decode_envelope
from tests.databases import Database
from tests.services.codes.batch_requests import create, queued
from tests.services.codes.bulk import job, make_coupon, rows, work_through
from tests.services.codes.conftest import Owner, Service

CODES = "SELECT * FROM codes.promotion_codes WHERE batch_id = $1 ORDER BY id"


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


class TestJob:
    async def test_makes_exactly_the_count_and_says_so(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        job_id = await queued(service, program, 12_345)
        await work_through(service)
        shown = await job(service, program, job_id)
        assert (shown["state"], shown["requested"], shown["created"]) == ("done", 12_345, 12_345)
        assert shown["result_url"] == f"/v1/jobs/{job_id}/result"
        [count] = await rows(
            database,
            "SELECT count(*), count(DISTINCT canonical) AS different FROM codes.promotion_codes WHERE batch_id = $1",
            uuid.UUID(job_id),
        )
        assert (count["count"], count["different"]) == (12_345, 12_345)
        [event] = service.handed_over
        assert decode_data(decode_envelope(event.body), CodesBatchCompletedV1).count == 12_345
        [pending] = await rows(database, "SELECT count(*) FROM codes.outbox")
        assert pending["count"] == 1

    async def test_ends_with_the_count_wherever_it_is_killed(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """A process that dies leaves a lease and perhaps half a transaction; another goes on from the last commit."""
        job_id = await queued(service, program, 30_000)
        chance = random.Random(3)  # noqa: S311 - where to kill is no secret
        for _ in range(6):
            runner = _runner(service, lease_seconds=0.0)
            task = asyncio.create_task(runner.work_once())
            # Every few turns of the loop is somewhere between two statements, or in the middle of one.
            for _ in range(chance.randrange(1, 120)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await _work_with(_runner(service, lease_seconds=0.0))
        shown = await job(service, program, job_id)
        assert (shown["state"], shown["created"]) == ("done", 30_000)
        [count] = await rows(
            database, "SELECT count(*) FROM codes.promotion_codes WHERE batch_id = $1", uuid.UUID(job_id)
        )
        assert count["count"] == 30_000
        assert len(service.handed_over) == 1

    async def test_two_replicas_that_both_believe_to_hold_it_make_no_code_too_many(
        self, service: Service, second: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """With leases that end at once each takes the job from the other all the time; the fence decides."""
        job_id = await queued(service, program, 40_000)
        runners = [_runner(each, lease_seconds=0.0) for each in (service, second, service, second)]
        await asyncio.gather(*(_work_with(runner) for runner in runners))
        [count] = await rows(
            database, "SELECT count(*) FROM codes.promotion_codes WHERE batch_id = $1", uuid.UUID(job_id)
        )
        assert count["count"] == 40_000
        assert (await job(service, program, job_id))["created"] == 40_000
        assert len(service.handed_over) + len(second.handed_over) == 1

    async def test_a_lost_lease_writes_nothing_more(
        self, service: Service, second: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await queued(service, program)
        async with service.pool.connection() as connection:
            lost = await jobs.claim_job(connection, 0.0, service.clock())
            assert lost is not None
            assert await jobs.claim_job(connection, 30.0, service.clock()) is not None
        assert await service.runner.step(lost) is None
        [count] = await rows(database, "SELECT count(*) FROM codes.promotion_codes")
        assert count["count"] == 0

    async def test_a_job_that_is_worked_on_is_not_taken_by_another(
        self, service: Service, second: Service, program: Owner, coupon: str
    ) -> None:
        await queued(service, program)
        async with service.pool.connection() as connection:
            assert await jobs.claim_job(connection, 30.0, service.clock()) is not None
        assert not await second.runner.work_once()

    async def test_a_short_job_does_not_wait_for_a_long_one(
        self, service: Service, program: Owner, coupon: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_jobs, "_SLICE_SECONDS", 0.0)
        monkeypatch.setattr(batches, "STATEMENTS_PER_CHUNK", 1)
        long = await queued(service, program, 100_000)
        assert await service.runner.work_once()
        short = await queued(service, program, 1_001)
        for _ in range(4):
            await service.runner.work_once()
        assert (await job(service, program, short))["state"] == "done"
        shown = await job(service, program, long)
        assert shown["state"] == "running"
        assert 0 < shown["created"] < 100_000

    async def test_cancel_keeps_what_was_made_and_makes_no_more(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        job_id = await queued(service, program, 30_000)
        runner = service.runner
        async with service.pool.connection() as connection:
            claimed = await jobs.claim_job(connection, 30.0, service.clock())
        assert claimed is not None
        going = await runner.step(claimed)
        assert going is not None
        cancelled = await service.send("POST", f"/v1/jobs/{job_id}/cancel", program.key)
        assert (cancelled.status, cancelled.data["state"], cancelled.data["created"]) == (200, "cancelled", 10_000)
        assert await runner.step(going) is None
        again = await service.send("POST", f"/v1/jobs/{job_id}/cancel", program.key)
        assert (again.status, again.data) == (200, cancelled.data)
        await work_through(service)
        [count] = await rows(database, "SELECT count(*) FROM codes.promotion_codes")
        assert count["count"] == 10_000
        assert service.handed_over == []

    async def test_a_job_that_is_done_cannot_be_cancelled(self, service: Service, program: Owner, coupon: str) -> None:
        made = await create(service, program, {"count": 1})
        refused = await service.send("POST", f"/v1/jobs/{made.data['job']['id']}/cancel", program.key)
        assert (refused.status, refused.body["code"]) == (409, "job_finished")

    async def test_a_space_that_others_filled_meanwhile_ends_the_job_and_keeps_its_codes(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """The check beforehand cannot see what is made afterwards; without an end the job would run for ever."""
        job_id = await queued(service, program, 1_500, pattern="T###", alphabet="0123456789ABCDEF", allow_weak=True)
        await rows(
            database,
            """INSERT INTO codes.promotion_codes (id, program_id, coupon_id, code, canonical, created_at, updated_at)
               SELECT gen_random_uuid(), $1, $2, upper('T' || lpad(to_hex(n), 3, '0')),
                      upper('T' || lpad(to_hex(n), 3, '0')), now(), now() FROM generate_series(0, 3999) n""",
            uuid.UUID(program.id),
            uuid.UUID(coupon),
        )
        await work_through(service)
        shown = await job(service, program, job_id)
        assert (shown["state"], shown["failure"]) == ("failed", "code_space_exhausted")
        # The 4096 there are, less those of the others and those that read as an obscenity.
        assert 50 < shown["created"] <= 96
        assert service.handed_over == []

    async def test_a_coupon_that_is_archived_meanwhile_ends_the_job(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """A live code of an archived coupon would be one that nobody can find any more, and yet redeem."""
        job_id = await queued(service, program)
        await rows(database, "UPDATE codes.coupons SET archived_at = now() WHERE id = $1", uuid.UUID(coupon))
        await work_through(service)
        shown = await job(service, program, job_id)
        assert (shown["state"], shown["failure"], shown["created"]) == ("failed", "coupon_archived", 0)

    async def test_a_job_that_always_fails_is_given_up(
        self, service: Service, program: Owner, coupon: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_jobs, "_RETRY_SECONDS", 0.0)
        monkeypatch.setattr(run_jobs, "MAX_ATTEMPTS", 3)

        async def broken(*_: object) -> int:
            raise LookupError("planted")

        monkeypatch.setattr(batches, "make_codes", broken)
        job_id = await queued(service, program)
        await work_through(service)
        shown = await job(service, program, job_id)
        assert (shown["state"], shown["failure"], shown["created"]) == ("failed", "internal_error", 0)


class TestJobs:
    async def test_are_listed_newest_first_by_kind_and_state(
        self, service: Service, program: Owner, coupon: str
    ) -> None:
        made = [(await create(service, program, {"count": 1})).data["job"]["id"] for _ in range(3)]
        waiting = await queued(service, program)
        listed = await service.send("GET", "/v1/jobs?limit=2", program.key)
        assert [each["id"] for each in listed.data] == [waiting, made[2]]
        after = listed.body["meta"]["next_cursor"]
        listed = await service.send("GET", f"/v1/jobs?limit=2&cursor={after}", program.key)
        assert [each["id"] for each in listed.data] == [made[1], made[0]]
        assert listed.body["meta"]["next_cursor"] is None
        listed = await service.send("GET", "/v1/jobs?state=queued&kind=batch", program.key)
        assert [each["id"] for each in listed.data] == [waiting]
        assert (await service.send("GET", "/v1/jobs?kind=import", program.key)).data == []

    async def test_of_others_are_missing(self, service: Service, program: Owner, coupon: str) -> None:
        job_id = await queued(service, program)
        other = await service.program()
        assert (await service.send("GET", f"/v1/jobs/{job_id}", other.key)).status == 404
        assert (await service.send("POST", f"/v1/jobs/{job_id}/cancel", other.key)).status == 404
        assert (await service.send("GET", "/v1/jobs", other.key)).data == []

    async def test_a_partners_key_may_not_see_them(
        self, service: Service, program: Owner, partner: Owner, coupon: str
    ) -> None:
        assert (await service.send("GET", "/v1/jobs", partner.key)).status == 403
        assert (await create(service, partner, {"count": 1})).status == 403


async def test_the_runner_works_through_what_comes_and_stops_between_chunks(
    service: Service, program: Owner, coupon: str
) -> None:
    running = asyncio.create_task(service.runner.task.run())
    try:
        job_id = await queued(service, program, 2_000)
        async with asyncio.timeout(60):
            while (await job(service, program, job_id))["state"] != "done":  # noqa: ASYNC110 - asked as a client asks
                await asyncio.sleep(0.01)
        await service.runner.stop()
        await queued(service, program, 2_000)
        assert not running.done()
        [waiting] = (await service.send("GET", "/v1/jobs?state=queued", program.key)).data
        assert waiting["created"] == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _runner(service: Service, lease_seconds: float) -> RunJobs:
    made = service.runner
    return RunJobs(made.database, made.clock, made.hand_over, made.chunks, lease_seconds)


async def _work_with(runner: RunJobs) -> None:
    while await runner.work_once():
        pass
