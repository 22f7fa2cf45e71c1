"""Imports by jobs: they end the same wherever they are killed, and lose and repeat no line."""

import asyncio
import dataclasses
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from services.codes.domain.access import Actor
from services.codes.domain.coupons import CouponRef
from services.codes.domain.imports import ImportOptions
from services.codes.domain.jobs import Job
from services.codes.usecases import import_codes
from shared.faults import TransientFault
from shared.idempotency import Answer, Once
from tests.databases import Database
from tests.services.codes.bulk import job, make_coupon, rows, work_through
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.files import CSV, all_codes, download, refused, upload


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


def many_lines(count: int, chance: random.Random) -> tuple[bytes, dict[int, str]]:
    """Return a file of which about one line in a hundred is bad, and the reasons by line."""
    lines, bad = [b"code,expires_at,customer_id"], {}
    for number in range(2, count + 2):
        if chance.random() < 0.01:
            line, bad[number] = chance.choice(
                [
                    (b"X%d,never," % number, "invalid_value"),
                    (b"X%d,\xff," % number, "invalid_utf8"),
                    (b"X%d,,a,b" % number, "wrong_column_count"),
                    (b",,x", "missing_code"),
                ]
            )
        else:
            line = b"C-%d,2026-04-01T00:00:00Z,Somebody %d" % (number, number)
        lines.append(line)
    return b"\n".join(lines), bad


class TestLargeImport:
    async def test_all_good_lines_are_in_and_each_bad_one_is_reported(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        body, bad = many_lines(12_000, random.Random(7))  # noqa: S311 - which lines are bad is no secret
        pieces = [body[start : start + 10_007] for start in range(0, len(body), 10_007)]
        taken = await upload(service, program, b"", pieces=pieces)
        assert (taken.status, taken.data["state"], taken.data["processed"]) == (202, "queued", 0), taken.body
        assert taken.headers["Location"] == f"/v1/jobs/{taken.data['id']}"
        await work_through(service)
        shown = await job(service, program, taken.data["id"])
        assert (shown["state"], shown["created"], shown["refused"]) == ("done", 12_000 - len(bad), len(bad))
        reported = await refused(service, program, taken.data["id"])
        assert {line: reason for line, (_, reason) in reported.items()} == bad
        [count] = await rows(database, "SELECT count(*) FROM codes.promotion_codes")
        assert count["count"] == 12_000 - len(bad)

    async def test_killed_anywhere_it_ends_the_same(
        self, service: Service, program: Owner, coupon: str, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_codes, "LINES_PER_CHUNK", 300)
        service.runner.lease_seconds = 0.0
        chance = random.Random(11)  # noqa: S311 - where to kill is no secret
        body, bad = many_lines(6_000, chance)
        taken = await upload(service, program, body)
        for _ in range(8):
            task = asyncio.create_task(service.runner.work_once())
            for _ in range(chance.randrange(1, 60)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await work_through(service)
        shown = await job(service, program, taken.data["id"])
        assert (shown["state"], shown["created"], shown["refused"]) == ("done", 6_000 - len(bad), len(bad))
        assert {line: why for line, (_, why) in (await refused(service, program, shown["id"])).items()} == bad
        [count] = await rows(database, "SELECT count(*) FROM codes.promotion_codes")
        assert count["count"] == 6_000 - len(bad)

    async def test_a_duplicate_far_away_is_told_with_its_first_line(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        lines = [f"D{number},{'x' * 20}" for number in range(5_000)]
        lines[4_990] = "d-3,again"
        taken = await upload(service, program, "\n".join(["code,customer_id", *lines]).encode())
        await work_through(service)
        text = await download(service, program, f"/v1/jobs/{taken.data['id']}/errors")
        [_, line, _] = text.splitlines()
        assert line == "4992,d-3,duplicate_in_file,Line 5 has the same code."

    async def test_the_upload_is_removed_when_the_job_is_over(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        body, _ = many_lines(4_000, random.Random(1))  # noqa: S311 - which lines are bad is no secret
        taken = await upload(service, program, body)
        await service.purge()
        [left] = await rows(database, "SELECT count(*) FROM codes.job_uploads")
        assert left["count"] > 0
        await work_through(service)
        await service.purge()
        [left] = await rows(
            database, "SELECT (SELECT count(*) FROM codes.job_uploads) + (SELECT count(*) FROM codes.job_lines)"
        )
        assert left[0] == 0
        assert await refused(service, program, taken.data["id"])
        service.clock.advance(days=31)
        await service.purge()
        assert (await service.send("GET", f"/v1/jobs/{taken.data['id']}", program.key)).status == 404
        [left] = await rows(
            database, "SELECT (SELECT count(*) FROM codes.job_errors) + (SELECT count(*) FROM codes.jobs)"
        )
        assert left[0] == 0

    async def test_one_whose_commit_was_not_heard_of_is_worked_on_all_the_same(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """A connection lost after the commit looks like a failure; what is queued must not lose its file."""
        real = service.use_cases.start_import

        async def unheard(once: Once[Job], work: Any) -> Answer:
            await real.answer_once(once, work)
            raise TransientFault("the answer was lost")

        async def body() -> AsyncIterator[bytes]:
            yield many_lines(4_000, random.Random(1))[0]  # noqa: S311 - which lines are bad is no secret

        program_id, key_id = uuid.UUID(program.id), uuid.UUID(program.key_id)
        options = ImportOptions("csv", "fail", is_dry_run=False)
        once: Once[Job] = Once(None, lambda _: Answer(202, b""))
        start = dataclasses.replace(real, answer_once=cast("Any", unheard))
        with pytest.raises(TransientFault):
            await start(
                Actor(program_id, "key", key_id), program_id, CouponRef("spring"), options, body(), lambda: once
            )
        await work_through(service)
        [shown] = (await service.send("GET", "/v1/jobs", program.key)).data
        assert (shown["state"], shown["processed"]) == ("done", 4_000)

    async def test_one_that_is_cancelled_while_it_is_uploaded_is_not_worked_on(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        body, _ = many_lines(10_000, random.Random(1))  # noqa: S311 - which lines are bad is no secret
        cancelled = asyncio.Event()

        async def slowly() -> Any:
            yield body[:200_000]
            await cancelled.wait()
            yield body[200_000:]

        headers = {"Authorization": f"Bearer {program.key}", "Content-Type": CSV}
        url = "/v1/coupons/spring/promotion-codes/import"
        sending = asyncio.create_task(service.http.post(url, data=slowly(), headers=headers).__aenter__())
        async with asyncio.timeout(60):
            while not (found := await rows(database, "SELECT id FROM codes.jobs")):  # noqa: ASYNC110 - it is there
                await asyncio.sleep(0.01)
        await service.send("POST", f"/v1/jobs/{found[0]['id']}/cancel", program.key)
        cancelled.set()
        response = await sending
        assert (response.status, (await response.json())["code"]) == (409, "job_finished")
        await work_through(service)
        assert not await all_codes(database)

    async def test_an_upload_that_breaks_off_leaves_nothing(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        body, _ = many_lines(20_000, random.Random(1))  # noqa: S311 - which lines are bad is no secret
        url = service.http.make_url("/v1/coupons/spring/promotion-codes/import")
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = (
            f"POST {url.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {program.key}\r\n"
            f"Content-Type: text/csv\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[: len(body) // 2])
        await writer.drain()
        async with asyncio.timeout(60):
            while not await rows(database, "SELECT FROM codes.job_uploads"):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.01)
            writer.close()
            while await rows(database, "SELECT FROM codes.jobs"):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.01)
        assert not await rows(database, "SELECT FROM codes.job_uploads")
        assert not await all_codes(database)
