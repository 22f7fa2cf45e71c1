"""Batches: exactly the count asked for, whatever is killed, cancelled or run twice."""

import uuid

import pytest

from services.codes.domain.code_patterns import DEFAULT_ALPHABET, is_check_right
from shared.canonical import canonical_code
from shared.events.codes import CodesBatchCompletedV1
from shared.events.envelope import decode_data, decode_envelope
from tests.databases import Database
from tests.services.codes.batch_requests import create, queued
from tests.services.codes.bulk import job, make_coupon, rows
from tests.services.codes.conftest import Owner, Service

CODES = "SELECT * FROM codes.promotion_codes WHERE batch_id = $1 ORDER BY id"


@pytest.fixture
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


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
