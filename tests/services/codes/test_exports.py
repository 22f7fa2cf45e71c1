"""Exports: both formats say the same, and what was exported can be imported."""

import pytest

from tests.databases import Database
from tests.exported import parsed_csv, parsed_ndjson
from tests.services.codes.bulk import make_coupon, rows
from tests.services.codes.conftest import Owner, Service
from tests.services.codes.files import CSV, NDJSON, all_codes, download, upload


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


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
