"""Imports and exports: every good line in, every bad one reported, and what was exported can be imported."""

import asyncio
import csv
import dataclasses
import hashlib
import io
import json
import random
import uuid
from collections.abc import AsyncIterator, Iterable
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
from tests.services.codes.conftest import Owner, Reply, Service

NDJSON, CSV = "application/x-ndjson", "text/csv"


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


async def upload(
    service: Service,
    program: Owner,
    body: bytes,
    content_type: str = CSV,
    query: str = "",
    *,
    coupon: str = "spring",
    idempotency: str | None = None,
    pieces: Iterable[bytes] | None = None,
) -> Reply:
    headers = {"Authorization": f"Bearer {program.key}", "Content-Type": content_type}
    if idempotency is not None:
        headers["Idempotency-Key"] = idempotency

    async def stream() -> Any:
        for piece in pieces or ():
            yield piece

    async with service.http.post(
        f"/v1/coupons/{coupon}/promotion-codes/import{query}",
        data=body if pieces is None else stream(),
        headers=headers,
    ) as response:
        raw = await response.read()
        return Reply(response.status, response.headers.copy(), raw, json.loads(raw))


async def download(service: Service, program: Owner, path: str) -> str:
    async with service.http.get(path, headers={"Authorization": f"Bearer {program.key}"}) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def refused(service: Service, program: Owner, job_id: str) -> dict[int, tuple[str | None, str]]:
    text = await download(service, program, f"/v1/jobs/{job_id}/errors?format=ndjson")
    found = [json.loads(line) for line in text.splitlines()]
    assert found.pop()["export"]["count"] == len(found)
    assert all(each["detail"] for each in found)
    return {each["line"]: (each["code"], each["reason"]) for each in found}


async def all_codes(database: Database) -> list[Any]:
    return await rows(database, "SELECT * FROM codes.promotion_codes ORDER BY canonical")


class TestSmallImport:
    async def test_takes_every_member_of_a_line(
        self, service: Service, program: Owner, partner: Owner, coupon: str, database: Database
    ) -> None:
        body = (
            "code,external_id,active,starts_at,expires_at,redemption_limit,first_time_order,minimum_order_value,"
            "minimum_order_currency,customer_id,customer_name,partner_id,partner_only,commission_percent,metadata\n"
            f'Vip-1,ext,false,2026-03-01T00:00:00Z,2026-04-01,5,true,12.50,EUR,c1,"Doe, Jane",{partner.id},true,7.5,'
            '"{""a"": 1, ""b"": ""ü""}"\n'
        )
        done = await upload(service, program, body.encode())
        assert done.status == 200, done.body
        assert (done.data["state"], done.data["created"], done.data["requested"]) == ("done", 1, 1)
        [code] = await all_codes(database)
        assert (code["code"], code["canonical"], code["external_id"]) == ("Vip-1", "V1P1", "ext")
        assert (code["is_active"], code["redemption_limit"], code["is_first_order_only"]) == (False, 5, True)
        assert (code["minimum_minor"], code["minimum_currency"]) == (1250, "EUR")
        assert (code["is_limited_to_customer"], code["customer_id"], code["customer_name"]) == (True, "c1", "Doe, Jane")
        assert (str(code["partner_id"]), code["is_limited_to_partner"]) == (partner.id, True)
        assert (code["commission_hundredths"], json.loads(code["metadata"])) == (750, {"a": 1, "b": "ü"})
        assert code["starts_at"].isoformat() == "2026-03-01T00:00:00+00:00"
        assert code["expires_at"].isoformat() == "2026-04-01T23:59:59.999999+00:00"
        assert (str(code["batch_id"]), str(code["coupon_id"])) == (done.data["id"], coupon)
        assert not code["is_auto_generated"]

    async def test_a_bare_date_ends_in_the_programs_time_zone(self, service: Service, database: Database) -> None:
        program = await service.program(timezone="America/New_York")
        await make_coupon(database, program.id)
        await upload(service, program, b"code,expires_at\nA1,2026-07-01\n")
        [code] = await all_codes(database)
        assert code["expires_at"].isoformat() == "2026-07-02T03:59:59.999999+00:00"

    async def test_reports_each_bad_line_and_takes_the_others(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        stranger = uuid.uuid4()
        body = b"\n".join(
            [
                b"\xef\xbb\xbfcode,expires_at,partner_id,external_id",
                b"GOOD-1,,,e1",
                b"BAD\xff,,,",
                b"GOOD1,,,",
                b"",
                b"# no comment",
                b"D1,tomorrow,,",
                b"D2,,nobody,",
                f"D3,,{stranger},".encode(),
                b"D\x004,,,",
                b'"GOOD2",,,"a\nb"',
                b"D5,,",
                "D 6€,,,".encode(),
                b"D7," + b"x" * 20_000 + b",,",
                b'"D8,,,',
                b",,,x",
                b"D9,,,e1",
                b"GOOD-3,,,",
            ]
        )
        done = await upload(service, program, body)
        assert done.status == 200, done.body
        assert (done.data["created"], done.data["refused"], done.data["processed"]) == (3, 13, 16)
        assert await refused(service, program, done.data["id"]) == {
            3: (None, "invalid_utf8"),
            4: ("GOOD1", "duplicate_in_file"),
            6: (None, "wrong_column_count"),
            7: ("D1", "invalid_value"),
            8: ("D2", "invalid_value"),
            9: ("D3", "unknown_partner"),
            10: (None, "nul_character"),
            13: (None, "wrong_column_count"),
            14: ("D 6€", "invalid_value"),
            15: (None, "line_too_long"),
            16: (None, "invalid_csv"),
            17: (None, "missing_code"),
            18: ("D9", "external_id_taken"),
        }
        assert [code["canonical"] for code in await all_codes(database)] == ["G00D1", "G00D2", "G00D3"]

    async def test_a_code_for_its_partner_alone_needs_one(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """No one could ever use it, so every other door refuses it too."""
        done = await upload(service, program, b"code,partner_only\nA1,true\nB1,false\n")
        assert await refused(service, program, done.data["id"]) == {2: ("A1", "invalid_value")}
        done = await upload(service, program, b"code,partner_only\nB1,true\n", query="?on_conflict=update")
        assert await refused(service, program, done.data["id"]) == {2: ("B1", "invalid_value")}
        assert [(code["canonical"], code["is_limited_to_partner"]) for code in await all_codes(database)] == [
            ("B1", False)
        ]

    async def test_a_customer_s_name_needs_the_customer(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """A code for Jo, whose id the line leaves out, was everybody's."""
        done = await upload(service, program, b"code,customer_id,customer_name\nA1,,Jo\nB1,c-1,Jo\nC1,,\n")
        assert await refused(service, program, done.data["id"]) == {2: ("A1", "invalid_value")}
        done = await upload(service, program, b"code,customer_name\nB1,Joan\nC1,Jo\n", query="?on_conflict=update")
        assert await refused(service, program, done.data["id"]) == {3: ("C1", "invalid_value")}
        named = [(code["canonical"], code["customer_id"], code["customer_name"]) for code in await all_codes(database)]
        assert named == [("B1", "c-1", "Joan"), ("C1", None, None)]

    async def test_ndjson(self, service: Service, program: Owner, coupon: str, database: Database) -> None:
        body = b'{"code":"A1","metadata":{"a":1}}\n{"code":"A1"}\n{"code":"B1","colour":"red"}\nnonsense\n{"code":"C1"}'
        done = await upload(service, program, body, NDJSON)
        assert (done.data["created"], done.data["refused"]) == (2, 3)
        assert await refused(service, program, done.data["id"]) == {
            2: ("A1", "duplicate_in_file"),
            3: ("B1", "unknown_column"),
            4: (None, "invalid_json"),
        }

    async def test_a_dry_run_counts_and_writes_nothing(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await upload(service, program, b"code,external_id\nA1,e1\n")
        body = b"code,external_id\nA1,\nB1,\nB-1,\nC1,e1\nD1,e2\nE1,e2\n"
        done = await upload(service, program, body, query="?dry_run=true")
        assert (done.data["created"], done.data["refused"]) == (2, 4)
        assert await refused(service, program, done.data["id"]) == {
            2: ("A1", "code_taken"),
            4: ("B-1", "duplicate_in_file"),
            5: ("C1", "external_id_taken"),
            7: ("E1", "external_id_taken"),
        }
        assert done.data["result_url"] is None
        assert [code["code"] for code in await all_codes(database)] == ["A1"]
        again = await upload(service, program, body)
        assert (again.data["created"], again.data["refused"]) == (2, 4)

    async def test_codes_that_exist_are_refused_left_or_changed(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        await make_coupon(database, program.id, "other")
        await upload(service, program, b'code,redemption_limit,metadata\nA1,5,"{""a"": 1}"\nB1,5,\nC1,5,\nD1,,\n')
        await upload(service, program, b"code\nX1\n", coupon="other")
        await rows(database, "UPDATE codes.promotion_codes SET times_redeemed = 1 WHERE code IN ('C1', 'D1')")
        body = b"code,redemption_limit,customer_id,active\na-1,7,,false\nB1,5,,\nC1,4,,\nD1,1,c,\nX1,1,,\nNEW,1,,\n"
        skipped = await upload(service, program, body.replace(b"NEW", b"N1"), query="?on_conflict=skip")
        assert (skipped.data["created"], skipped.data["skipped"], skipped.data["refused"]) == (1, 5, 0)
        counted = await upload(service, program, body, query="?on_conflict=update&dry_run=true")
        changed = await upload(service, program, body, query="?on_conflict=update")
        assert (counted.data["dry_run"], changed.data["dry_run"], changed.data["action"]) == (True, False, None)
        for done in (counted, changed):
            tally = {name: done.data[name] for name in ("created", "updated", "skipped", "refused")}
            assert tally == {"created": 1, "updated": 1, "skipped": 1, "refused": 3}
            assert await refused(service, program, done.data["id"]) == {
                4: ("C1", "terms_frozen"),
                5: ("D1", "terms_frozen"),
                6: ("X1", "code_of_another_coupon"),
                3: ("B1", "unchanged"),
            }
        by_code = {code["code"]: code for code in await all_codes(database)}
        assert (by_code["A1"]["redemption_limit"], by_code["A1"]["is_active"]) == (7, False)
        assert json.loads(by_code["A1"]["metadata"]) == {"a": 1}
        assert by_code["C1"]["redemption_limit"] == 5

    async def test_takes_what_spreadsheets_and_shops_write(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """Each oddity of a file by itself, in one: nothing of it is lost and no line goes without a word."""
        await service.send("PATCH", f"/v1/programs/{program.id}", json={"timezone": "America/New_York"})
        lines = [
            '"Coupon Code";ACTIVE;Redemption Limit;Ends;Notes;;opening uses',
            "#1 OFF;yes;5.0;2026-06-30 23:59:59;said Ana;;3",
            ";;;;;;",
            "Zwei%;0;;2026-06-30;;x;",
            "",
            "DREI;n;7;1782878399;;;0;;",
            "VIER;maybe;;;;;",
            "# FÜNF;1;1.00;2026-06-30 23:59:59 -0700;;;",
        ]
        names = "map=Coupon%20Code=code,Ends=expires_at&ignore_unknown_columns=true"
        for ends in (["\r"], ["\n"], ["\r\n"], ["\n", "\r", "\r\n"], ["\r\n", "\r"]):
            text = "".join(line + ends[nth % len(ends)] for nth, line in enumerate(lines))
            answer = await upload(service, program, text.encode(), query=f"?dry_run=true&{names}")
            assert (answer.data["processed"], answer.data["created"], answer.data["refused"]) == (5, 4, 1), ends
            assert await refused(service, program, answer.data["id"]) == {7: ("VIER", "invalid_value")}
        answer = await upload(service, program, "\r".join(lines).encode(), query=f"?{names}")
        assert (answer.data["created"], answer.data["refused"]) == (4, 1)
        by_code = {row["code"]: row for row in await all_codes(database)}
        first = by_code["#1 OFF"]
        assert (first["is_active"], first["redemption_limit"]) == (True, 5)
        assert (first["opening_uses"], first["times_redeemed"]) == (3, 3)
        # 23:59:59 in New York, as the program's zone is.
        assert first["expires_at"].isoformat() == "2026-07-01T03:59:59+00:00"
        assert by_code["Zwei%"]["is_active"] is False
        assert by_code["DREI"]["expires_at"].isoformat() == "2026-07-01T03:59:59+00:00"
        assert by_code["# FÜNF"]["expires_at"].isoformat() == "2026-07-01T06:59:59+00:00"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
    @pytest.mark.parametrize("before", ["", "sep=;\n", ";;\n\n", "\n\n;;\nsep=;\n;;;;\n"])
    @pytest.mark.parametrize("count", [3, 4_000], ids=["at once", "by a job"])
    async def test_takes_what_stands_before_the_header_and_excel_s_encoding(
        self, service: Service, program: Owner, coupon: str, count: int, before: str, encoding: str
    ) -> None:
        """Line numbers stay those of the file."""
        lines = [f"ÄÖ-{n};yes;said {n}" for n in range(count)]
        lines[1] = "АЯ€;yes;"
        text = before + "\n".join(['Code;"Ac\ntive"', *lines]).replace("Ac\ntive", "Active\n")
        text = text.replace('"Active\n"', '"Active\n";Customer ID')
        raw = (("\ufeff" + text).encode("utf-16-be")) if encoding == "utf-16-be" else text.encode(encoding)
        answer = await upload(service, program, raw)
        assert answer.status in (200, 202), answer.body
        await work_through(service)
        done = (await service.send("GET", f"/v1/jobs/{answer.data['id']}", program.key)).data
        assert (done["state"], done["created"], done["refused"]) == ("done", count - 1, 1), done
        line = before.count("\n") + 2 + 2
        assert await refused(service, program, done["id"]) == {line: ("АЯ€", "invalid_value")}

    async def test_lines_that_are_skipped_are_named(self, service: Service, program: Owner, coupon: str) -> None:
        await upload(service, program, b"code,active\nA1,true\nB2,true\n")
        answer = await upload(service, program, b"code,active\nA1,true\nC3,true\n", query="?on_conflict=skip")
        assert (answer.data["skipped"], answer.data["refused"]) == (1, 0)
        assert await refused(service, program, answer.data["id"]) == {2: ("A1", "code_kept")}
        answer = await upload(service, program, b"code,active\nA1,true\nB2,false\n", query="?on_conflict=update")
        assert (answer.data["updated"], answer.data["skipped"]) == (1, 1)
        assert await refused(service, program, answer.data["id"]) == {2: ("A1", "unchanged")}

    async def test_opening_uses_are_for_new_codes_alone(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        """A counter that is in use must not be set by a file."""
        await upload(service, program, b"code,opening_uses\nA1,4\n")
        again = await upload(service, program, b"code,opening_uses\nA1,9\n", query="?on_conflict=update")
        assert again.data["skipped"] == 1
        assert [row["opening_uses"] for row in await all_codes(database)] == [4]
        exported = await download(service, program, "/v1/promotion-codes/export?format=ndjson")
        row = json.loads(exported.splitlines()[0])
        assert (row["opening_uses"], row["times_redeemed"]) == (4, 4)

    async def test_names_that_are_none_are_refused(self, service: Service, program: Owner, coupon: str) -> None:
        answer = await upload(service, program, b"code\nA1\n", query="?map=Ende%3Dend")
        assert (answer.status, list(answer.body["errors"])) == (422, ["map"])

    async def test_a_mapped_column_must_be_there(self, service: Service, program: Owner, coupon: str) -> None:
        """With a slip of the pen in its name the codes would have no end."""
        query = "?map=Ends%3Dexpires_at&ignore_unknown_columns=true"
        answer = await upload(service, program, b"code,Ende\nA1,2027-01-01\n", query=query)
        assert (answer.status, "'ends'" in answer.body["message"]) == (422, True)

    async def test_a_repeat_takes_nothing_in_twice(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        first = await upload(service, program, b"code\nA1\n", idempotency="k")
        again = await upload(service, program, b"code\nA1\n", idempotency="k")
        assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (200, first.raw, "true")
        other = await upload(service, program, b"code\nB1\n", idempotency="k")
        assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
        [left] = await rows(database, "SELECT count(*) FROM codes.jobs")
        assert left["count"] == 1
        assert len(await all_codes(database)) == 1

    async def test_what_is_no_file_is_refused_and_leaves_nothing(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        for body, content_type, query, status, code in [
            (b"", CSV, "", 422, "invalid_file"),
            (b"name\nA1\n", CSV, "", 422, "invalid_file"),
            (b"code,colour\nA1,red\n", CSV, "", 422, "invalid_file"),
            (b"code,code\nA1,A1\n", CSV, "", 422, "invalid_file"),
            (b"\xff\n", CSV, "", 422, "invalid_file"),
            (b"sep=;\n;;\n\n", CSV, "", 422, "invalid_file"),
            (b"PK\x03\x04" + b"x" * 50, CSV, "", 422, "invalid_file"),
            (b"x" * 100_000, CSV, "", 422, "invalid_file"),
            (b"[]", "application/json", "", 415, "unsupported_media_type"),
            (b"code\nA1\n", CSV, "?on_conflict=ask", 422, "invalid_fields"),
            (b"code\nA1\n", CSV, "?dry_run=perhaps", 422, "invalid_fields"),
            (b"code\nA1\n", CSV, "?colour=red", 422, "invalid_fields"),
        ]:
            answer = await upload(service, program, body, content_type, query)
            assert (answer.status, answer.body["code"]) == (status, code), (body[:50], query)
        [left] = await rows(database, "SELECT count(*) FROM codes.jobs")
        assert left["count"] == 0

    async def test_a_coupon_of_others_and_an_archived_one(
        self, service: Service, program: Owner, coupon: str, database: Database
    ) -> None:
        other = await service.program()
        assert (await upload(service, other, b"code\nA1\n", coupon=coupon)).status == 404
        await rows(database, "UPDATE codes.coupons SET archived_at = now()")
        assert (await upload(service, program, b"code\nA1\n", coupon=coupon)).status == 409


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


def parsed_csv(text: str) -> list[dict[str, str]]:
    """Read an export, check its trailer, and return its rows."""
    body, trailer = text[: text.rindex("#")], text[text.rindex("#") :]
    found = list(csv.DictReader(io.StringIO(body)))
    assert trailer == f"# count={len(found)} sha256={hashlib.sha256(body.encode()).hexdigest()}\n"
    return found


def parsed_ndjson(text: str) -> list[dict[str, Any]]:
    """Read an export, check its trailer, and return its objects."""
    *lines, trailer = text.splitlines(keepends=True)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert json.loads(trailer) == {"export": {"count": len(lines), "sha256": digest}}
    return [json.loads(line) for line in lines]


class TestExport:
    @pytest.fixture
    async def codes(self, service: Service, program: Owner, partner: Owner, coupon: str, database: Database) -> str:
        await make_coupon(database, program.id, "other")
        body = (
            "code,external_id,active,starts_at,expires_at,redemption_limit,first_time_order,minimum_order_value,"
            "minimum_order_currency,customer_id,customer_name,partner_id,partner_only,commission_percent,metadata\n"
            f'"-A,1",=e,false,2026-03-01T00:00:00Z,2026-04-01T00:00:00Z,5,true,1000,JPY,c1,"\'=Doe, ""Jane""\nII",'
            f'{partner.id},true,7.25,"{{""a"": 1, ""b"": ""ü""}}"\n'
            "B1,,,,,,,,,,,,,,\n"
        ).replace('"-A,1"', "-A-1")
        assert (await upload(service, program, body.encode())).data["created"] == 2
        assert (await upload(service, program, b"code\nX1\n", coupon="other")).data["created"] == 1
        return partner.id

    async def test_csv_and_ndjson_say_the_same(self, service: Service, program: Owner, codes: str) -> None:
        objects = parsed_ndjson(await download(service, program, "/v1/promotion-codes/export?format=ndjson"))
        assert {each["code"] for each in objects} == {"-A-1", "B1", "X1"}
        [first] = [each for each in objects if each["code"] == "-A-1"]
        assert (first["external_id"], first["customer_name"]) == ("=e", '=Doe, "Jane"\nII')
        assert (first["minimum_order_value"], first["minimum_order_currency"], first["commission_percent"]) == (
            1000,
            "JPY",
            7.25,
        )
        assert (first["coupon"], first["metadata"]) == ("spring", {"a": 1, "b": "ü"})
        assert first["url"] == "https://cinematiccard.com/?promo=-A-1"
        written = parsed_csv(await download(service, program, "/v1/promotion-codes/export"))
        [guarded] = [each for each in written if each["id"] == first["id"]]
        assert (guarded["code"], guarded["external_id"]) == ("'-A-1", "'=e")
        assert guarded["customer_name"] == '\'=Doe, "Jane"\nII'

    @pytest.mark.parametrize("kind", ["csv", "ndjson"])
    async def test_what_is_exported_can_be_imported(
        self, service: Service, program: Owner, codes: str, database: Database, kind: str
    ) -> None:
        text = await download(service, program, f"/v1/promotion-codes/export?coupon_id=spring&format={kind}")
        before = await all_codes(database)
        same = await upload(service, program, text.encode(), CSV if kind == "csv" else NDJSON, "?on_conflict=update")
        assert (same.data["skipped"], same.data["updated"], same.data["refused"]) == (2, 0, 0)
        await rows(database, "UPDATE codes.promotion_codes SET archived_at = now() WHERE code <> 'X1'")
        again = await upload(service, program, text.encode(), CSV if kind == "csv" else NDJSON)
        assert (again.data["created"], again.data["refused"]) == (2, 0)
        after = [code for code in await all_codes(database) if code["archived_at"] is None]
        own = ("id", "batch_id", "created_at", "updated_at")
        assert [{k: v for k, v in code.items() if k not in own} for code in after] == [
            {k: v for k, v in code.items() if k not in own} for code in before
        ]

    async def test_filters(self, service: Service, program: Owner, codes: str) -> None:
        for query, expected in [
            ("coupon_id=other", {"X1"}),
            ("active=false", {"-A-1"}),
            ("active=true&coupon_id=spring", {"B1"}),
            ("customer_id=c1", {"-A-1"}),
            ("partner_id={partner}", {"-A-1"}),
            ("expires_before=2026-04-02T00:00:00Z", {"-A-1"}),
            ("expires_from=2026-04-02T00:00:00Z", set()),
            ("created_from=2001-01-01T00:00:00Z", {"-A-1", "B1", "X1"}),
            ("batch_id=0192d3f0-0000-7000-8000-000000000000", set()),
            ("partner_email=DEV@acme.example", {"-A-1"}),
            ("partner_email=dev@acme.example&partner_id=0192d3f0-0000-7000-8000-000000000000", set()),
            ("external_id=%3De", {"-A-1"}),
            ("code=a 1", {"-A-1"}),
            ("code=%21", set()),
            ("partner_id=nobody", set()),
        ]:
            path = "/v1/promotion-codes/export?format=ndjson&" + query.format(partner=codes)
            assert {each["code"] for each in parsed_ndjson(await download(service, program, path))} == expected, query

    async def test_is_for_the_program_alone(self, service: Service, program: Owner, codes: str) -> None:
        other = await service.program()
        assert parsed_csv(await download(service, other, "/v1/promotion-codes/export")) == []
        for query in ("coupon_id=spring", "partner_email=dev@acme.example"):
            refused_ = await service.send("GET", f"/v1/promotion-codes/export?{query}", other.key)
            assert refused_.status == 404
        for query in ("format=xml", "active=perhaps", "created_from=2026-01-01T10:00:00", "colour=red"):
            refused_ = await service.send("GET", f"/v1/promotion-codes/export?{query}", program.key)
            assert refused_.status == 422, query

    async def test_every_code_of_many_pages_is_there_once(self, service: Service, program: Owner, coupon: str) -> None:
        for _ in range(5):
            made = await service.send("POST", "/v1/coupons/spring/promotion-codes/batch", program.key, {"count": 1_000})
            assert made.status == 201
        written = parsed_csv(await download(service, program, "/v1/promotion-codes/export"))
        assert len({each["code"] for each in written}) == len(written) == 5_000
        result = parsed_csv(await download(service, program, made.data["job"]["result_url"]))
        assert {each["code"] for each in result} == set(made.data["codes"])
        assert {each["batch_id"] for each in result} == {made.data["job"]["id"]}

    async def test_head_sends_no_file(self, service: Service, program: Owner, codes: str) -> None:
        headers = {"Authorization": f"Bearer {program.key}"}
        async with service.http.head("/v1/promotion-codes/export", headers=headers) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert response.content_type == "text/csv"
