"""Imports of small files: every good line in, every bad one reported."""

import json
import uuid

import pytest

from tests.databases import Database
from tests.services.codes.bulk import make_coupon, rows, work_through
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.files import CSV, NDJSON, all_codes, download, refused, upload


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


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
