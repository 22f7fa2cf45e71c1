"""Batches: exactly the count asked for, whatever is killed, cancelled or run twice."""

import asyncio
import random
import uuid
from typing import Any

import pytest

from services.codes.domain.code_patterns import DEFAULT_ALPHABET, is_check_right
from services.codes.store import jobs
from services.codes.usecases import batches, run_jobs
from services.codes.usecases.run_jobs import RunJobs
from shared.canonical import canonical_code
from shared.events.codes import CodesBatchCompletedV1
from shared.events.envelope import decode_data, decode_envelope
from tests.databases import Database
from tests.services.codes.bulk import job, make_coupon, rows, work_through
from tests.services.codes.conftest import Owner, Reply, Service

CODES = "SELECT * FROM codes.promotion_codes WHERE batch_id = $1 ORDER BY id"


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


async def create(service: Service, program: Owner, body: Any, coupon: str = "spring", **more: Any) -> Reply:
    return await service.send("POST", f"/v1/coupons/{coupon}/promotion-codes/batch", program.key, body, **more)


async def queued(service: Service, program: Owner, count: int = 25_000, **members: Any) -> str:
    made = await create(service, program, {"count": count, **members})
    assert made.status == 202, made.body
    job_id = made.data["job"]["id"]
    assert made.headers["Location"] == f"/v1/jobs/{job_id}"
    assert made.data["codes"] is None
    assert made.data["job"]["state"] == "queued"
    return str(job_id)


class TestInline:
    async def test_codes_are_made_with_all_their_terms(
        self, service: Service, program: Owner, partner: Owner, coupon: str, database: Database
    ) -> None:
        made = await create(
            service,
            program,
            {
                "count": 50,
                "pattern": "Spring-####-########",
                "check_symbol": True,
                "partner_id": partner.id,
                "partner_only": True,
                "active": False,
                "starts_at": "2026-03-01T00:00:00Z",
                "expires_at": "2026-04-01T00:00:00+02:00",
                "redemption_limit": 3,
                "first_time_order": True,
                "commission_percent": 12.5,
                "metadata": {"campaign": "spring"},
            },
        )
        assert made.status == 201, made.body
        codes, shown = made.data["codes"], made.data["job"]
        assert len(set(codes)) == 50
        assert all(code.startswith("Spring-") and len(code) == 21 for code in codes)
        assert all(is_check_right(canonical_code(code)) for code in codes)
        assert (shown["state"], shown["created"], shown["requested"]) == ("done", 50, 50)
        assert await job(service, program, shown["id"]) == shown
        for row in await rows(database, CODES, uuid.UUID(shown["id"])):
            assert row["code"] in codes
            assert row["canonical"] == canonical_code(row["code"])
            assert str(row["coupon_id"]) == coupon
            assert str(row["partner_id"]) == partner.id
            assert (row["is_limited_to_partner"], row["is_active"], row["is_first_order_only"]) == (True, False, True)
            assert (row["redemption_limit"], row["commission_hundredths"]) == (3, 1250)
            assert row["starts_at"].isoformat() == "2026-03-01T00:00:00+00:00"
            assert row["expires_at"].isoformat() == "2026-03-31T22:00:00+00:00"
            assert row["metadata"] == '{"campaign": "spring"}'
            assert str(row["created_by_key_id"]) == program.key_id
            assert row["is_auto_generated"]

    async def test_the_default_is_twelve_symbols_of_the_alphabet_without_lookalikes(
        self, service: Service, program: Owner, coupon: str
    ) -> None:
        for code in (await create(service, program, {"count": 20}, coupon)).data["codes"]:
            assert [len(part) for part in code.split("-")] == [4, 4, 4]
            assert set(code) <= {*DEFAULT_ALPHABET, "-"}

    async def test_prefix_length_suffix_and_alphabet_make_a_pattern(
        self, service: Service, program: Owner, coupon: str
    ) -> None:
        body = {"count": 5, "prefix": "VIP-", "length": 16, "suffix": "-X", "alphabet": "ACDEF234"}
        for code in (await create(service, program, body)).data["codes"]:
            assert code.startswith("VIP-")
            assert code.endswith("-X")
            assert len(code) == 22
            assert set(code[4:-2]) <= set("ACDEF234")

    async def test_a_repeat_makes_nothing_twice(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        first = await create(service, program, {"count": 10}, idempotency="k")
        again = await create(service, program, {"count": 10}, idempotency="k")
        assert (again.status, again.raw) == (201, first.raw)
        assert again.headers["Idempotent-Replayed"] == "true"
        [count] = await rows(database, "SELECT count(*) FROM codes.promotion_codes")
        assert count["count"] == 10

    async def test_a_nearly_full_space_is_filled_up_to_the_count(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """Random codes meet those that exist; each that does must be made up for."""
        for _ in range(5):
            made = await create(service, program, {"count": 100, "pattern": "T##", "allow_weak": True})
            assert made.status == 201, made.body
            assert len(set(made.data["codes"])) == 100
        refused = await create(service, program, {"count": 100, "pattern": "T##", "allow_weak": True})
        assert (refused.status, refused.body["code"]) == (422, "code_space_too_small")
        [count] = await rows(database, "SELECT count(DISTINCT canonical) FROM codes.promotion_codes")
        assert count["count"] == 500

    async def test_the_event_is_written_and_handed_over(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        made = await create(service, program, {"count": 3})
        [event] = service.handed_over
        said = decode_data(decode_envelope(event.body), CodesBatchCompletedV1)
        assert (str(said.job_id), said.count, str(said.coupon_id)) == (made.data["job"]["id"], 3, coupon)
        assert (str(said.program_id), said.partner_id) == (program.id, None)
        [pending] = await rows(database, "SELECT count(*) FROM codes.outbox")
        assert pending["count"] == 1

    async def test_a_bare_date_and_a_minimum_are_read_as_the_program_has_them(
        self, service: Service, database: Database
    ) -> None:
        program = await service.program(timezone="America/New_York", currency="JPY")
        await make_coupon(database, program.id)
        made = await create(service, program, {"count": 1, "expires_at": "2026-07-01", "minimum_order_value": 500})
        assert made.status == 201, made.body
        [row] = await rows(database, "SELECT * FROM codes.promotion_codes")
        assert row["expires_at"].isoformat() == "2026-07-02T03:59:59.999999+00:00"
        assert (row["minimum_minor"], row["minimum_currency"]) == (500, "JPY")

    async def test_the_audit_log_tells_who_made_and_who_cancelled(
        self, service: Service, program: Owner, coupon: str
    ) -> None:
        job_id = await queued(service, program, 2_000)
        await service.send("POST", f"/v1/jobs/{job_id}/cancel", program.key)
        told = await service.send("GET", f"/v1/audit-log?object_id={job_id}", program.key)
        assert [entry["action"] for entry in told.data] == ["job.cancelled", "job.created"]
        assert told.data[1]["changes"]["requested"] == {"to": 2_000}
        assert told.data[1]["actor"] == f"key {program.key_id}"


class TestRefusals:
    async def test_name_the_field_and_make_nothing(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        for body, field, code in [
            ({}, "count", "invalid_fields"),
            ({"count": 0}, "count", "invalid_fields"),
            ({"count": 5_000_001}, "count", "invalid_fields"),
            ({"count": "5"}, "count", "invalid_fields"),
            ({"count": 5, "pattern": "NONE"}, "pattern", "invalid_fields"),
            ({"count": 5, "pattern": "A ####"}, "pattern", "invalid_fields"),
            ({"count": 5, "pattern": "A####", "prefix": "B"}, "pattern", "invalid_fields"),
            ({"count": 5, "prefix": "A#"}, "prefix", "invalid_fields"),
            ({"count": 5, "length": 0}, "length", "invalid_fields"),
            ({"count": 5, "alphabet": "0O12"}, "alphabet", "invalid_fields"),
            ({"count": 5, "alphabet": "abc"}, "alphabet", "invalid_fields"),
            ({"count": 5, "partner_id": "nobody"}, "partner_id", "invalid_fields"),
            ({"count": 5, "partner_id": str(uuid.uuid4())}, "partner_id", "invalid_fields"),
            ({"count": 5, "partner_only": True}, "partner_id", "invalid_fields"),
            ({"count": 5, "expires_at": "2026-03-01T00:00:00"}, "expires_at", "invalid_fields"),
            (
                {"count": 5, "starts_at": "2026-03-01T00:00:00Z", "expires_at": "2026-03-01T00:00:00Z"},
                "expires_at",
                "invalid_fields",
            ),
            ({"count": 5, "redemption_limit": 0}, "redemption_limit", "invalid_fields"),
            ({"count": 5, "commission_percent": 100.01}, "commission_percent", "invalid_fields"),
            ({"count": 5, "colour": "red"}, "colour", "invalid_fields"),
            ({"count": 600, "pattern": "T##"}, "count", "code_space_too_small"),
            ({"count": 600, "pattern": "T##", "allow_weak": True}, "count", "code_space_too_small"),
            ({"count": 5, "pattern": "T######"}, "count", "guessable"),
            ({"count": 5_000_000, "length": 10}, "count", "guessable"),
            ({"count": 5, "pattern": "#", "alphabet": "XZ", "check_symbol": True}, "count", "code_space_too_small"),
            ({"count": 5, "prefix": "A" * 60, "length": 40}, "length", "invalid_fields"),
            ({"count": 5, "minimum_order_value": 1.005}, "minimum_order_value", "invalid_fields"),
            ({"count": 5, "minimum_order_currency": "EUR"}, "minimum_order_value", "invalid_fields"),
            ({"count": 5, "metadata": {"a": []}}, "metadata.a", "invalid_fields"),
        ]:
            refused = await create(service, program, body)
            assert (refused.status, refused.body["code"]) == (422, code), (body, refused.body)
            assert list(refused.body["errors"]) == [field], body
        for body in ({"pattern": "ВЕСНА-##"}, {"prefix": "10 % "}, {"suffix": "Ü"}):
            refused = await create(service, program, {"count": 5, **body})
            [field] = body
            assert list(refused.body["errors"]) == [field]
            assert "letters A to Z and a to z, digits, - and _" in refused.body["errors"][field][0]
        [count] = await rows(database, "SELECT (SELECT count(*) FROM codes.promotion_codes) + count(*) FROM codes.jobs")
        assert count[0] == 0

    async def test_tell_the_length_that_is_needed(self, service: Service, program: Owner, coupon: str) -> None:
        refused = await create(service, program, {"count": 5_000_000, "pattern": "T##"})
        assert "use 11 random symbols instead of 2" in refused.body["detail"]
        made = await create(service, program, {"count": 5_000_000, "pattern": "T###########"})
        assert made.status == 202

    async def test_a_foreign_or_archived_coupon_and_a_foreign_partner(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        other = await service.program()
        theirs = await make_coupon(database, other.id, "theirs")
        foreign = await service.partner(other, name="Other")
        for ref in ("nothing", theirs, "theirs", str(uuid.uuid4())):
            assert (await create(service, program, {"count": 1}, ref)).status == 404
        refused = await create(service, program, {"count": 1, "partner_id": foreign.id})
        assert list(refused.body["errors"]) == ["partner_id"]
        await rows(database, "UPDATE codes.coupons SET archived_at = now() WHERE id = $1", uuid.UUID(coupon))
        refused = await create(service, program, {"count": 1}, coupon)
        assert (refused.status, refused.body["code"]) == (409, "coupon_archived")


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
