"""Codes' part of a customer's export and erasure: codes made for the customer, what the log and kept answers say."""

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.codes.domain.usage import Usage, UsageReport
from services.codes.usecases.customer_parts import steps_of
from services.codes.usecases.record_usage import RecordUsage
from shared.database.customer_parts import CustomerParts, Outside
from shared.ids import new_id
from tests.canary import found_in
from tests.customer_jobs import NOW, ready_for_others
from tests.databases import Database
from tests.services.codes.conftest import Owner, Service

CODES = "/v1/promotion-codes"
CANARY, DIGEST, MAIL_DIGEST = "canary-7", "erased:11", "erased:22"
EMAIL = "canary.bird@example.org"
DIGESTS = {f"id:{CANARY}": DIGEST, f"email:{EMAIL}": MAIL_DIGEST}
TEXTS = (CANARY, "canary")


@pytest.fixture
async def admin(database: Database) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(database.admin)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def parts(service: Service) -> CustomerParts:
    async def no_letters(_: object) -> int:
        return 0

    return CustomerParts(service.pool, service.clock, steps_of(service.clock, Outside(no_letters, "dead_letters")))


async def code_for(service: Service, program: Owner, code: str, customer: str, **members: Any) -> None:
    body = {
        "coupon_uuid": "spring",
        "code": code,
        "limit_to_specific_customer": True,
        "coupon_specific_customers": {"id": customer, "customer_full_name": f"{customer} Doe"},
        **members,
    }
    made = await service.send("POST", CODES, program.key, body, idempotency=f"make-{code}")
    assert made.status == 201, made.body


async def live(service: Service, program: Owner) -> None:
    """Make codes for the customer, change them, archive one, and make one for another customer."""
    coupon = {
        "uuid_code": "spring",
        "coupon_discount_type": "percent",
        "coupon_discount_amount": 10,
        "coupon_duration_type": "once",
    }
    assert (await service.send("POST", "/v1/coupons", program.key, coupon)).status == 201
    await code_for(service, program, "HERS-1", CANARY, metadata={"note": "mail Canary.Bird+x@example.org, please"})
    await code_for(service, program, "HERS-2", CANARY)
    await code_for(service, program, "THEIRS", "other-1")
    renamed = {"coupon_specific_customers": {"id": CANARY, "customer_full_name": "Canary Bird"}}
    assert (await service.send("PATCH", f"{CODES}/HERS-1", program.key, renamed)).status == 200
    handed_on = {"coupon_specific_customers": {"id": CANARY, "customer_full_name": "Canary Bird"}}
    assert (await service.send("PATCH", f"{CODES}/THEIRS", program.key, handed_on)).status == 200
    back = {"coupon_specific_customers": {"id": "other-1", "customer_full_name": "Other"}}
    assert (await service.send("PATCH", f"{CODES}/THEIRS", program.key, back)).status == 200
    assert (await service.send("DELETE", f"{CODES}/HERS-2", program.key)).status == 200


async def finish(admin: "asyncpg.Connection[asyncpg.Record]", parts: CustomerParts) -> None:
    """Do the part, then let redemption forget the names, as it does in the end."""
    await parts()
    await admin.execute("UPDATE redemption.customer_jobs SET state = 'done', keys = '{}', finished_at = now()")


async def test_an_erased_customer_is_found_in_no_column(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await live(service, program)
    job = await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    assert await found_in(admin, TEXTS)
    await finish(admin, parts)
    assert await found_in(admin, TEXTS) == []
    shown = (await service.send("GET", f"{CODES}/HERS-1", program.key)).data
    assert shown["coupon_specific_customers"] == {"id": DIGEST, "customer_full_name": None}
    assert shown["metadata"] == {"note": f"mail {MAIL_DIGEST}, please"}
    # What is noted of another customer stays.
    log = (await service.send("GET", "/v1/audit-log?limit=50", program.key)).data
    member = "coupon_specific_customers.customer_full_name"
    names = [entry["changes"][member] for entry in log if member in entry["changes"]]
    assert {"from": "erased", "to": "Other"} in names
    assert {"from": "other-1 Doe", "to": "erased"} in names
    noted = [entry for entry in log if entry["action"] == "job.customer_erased"]
    assert [(entry["object_id"], entry["actor"], entry["changes"]) for entry in noted] == [
        (str(job.id), "key test", {})
    ]


async def test_whose_codes_a_bulk_action_was_for_is_erased(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await live(service, program)
    change = {"action": "deactivate", "filter": {"customer_id": CANARY}}
    assert (await service.send("POST", f"{CODES}/bulk", program.key, change, idempotency="bulk")).status == 202
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await finish(admin, parts)
    assert await found_in(admin, TEXTS) == []
    [entry] = (await service.send("GET", "/v1/audit-log?action=job.created", program.key)).data
    assert entry["changes"]["filter"] == {"to": {"customer_id": DIGEST}}


async def test_what_is_noted_of_others_codes_and_of_coupons_loses_the_customer(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await live(service, program)
    notes = {"buyer": CANARY, "link": "https://x/?e=Canary.Bird%40example.org", "kept": "other-1"}
    for code in ("NOTED-1", "NOTED-2"):
        await code_for(service, program, code, "other-1", metadata=notes)
    assert (await service.send("DELETE", f"{CODES}/NOTED-2", program.key)).status == 200
    assert (await service.send("PATCH", "/v1/coupons/spring", program.key, {"metadata": notes})).status == 200
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await finish(admin, parts)
    assert await found_in(admin, TEXTS) == []
    wanted = {"buyer": DIGEST, "link": f"https://x/?e={MAIL_DIGEST}", "kept": "other-1"}
    for path in (f"{CODES}/NOTED-1", "/v1/coupons/spring"):
        assert (await service.send("GET", path, program.key)).data["metadata"] == wanted
    # An event that is published again is known by its id.
    changed = await admin.fetchval("SELECT id FROM codes.events WHERE type = 'coupon.updated'")
    assert await admin.fetchval("SELECT array_agg(event_id) FROM codes.erased_events_v1") == [changed]


async def test_a_job_that_goes_by_the_customer_s_name_ends_before_the_name_goes(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Without it the job would find no more codes, and leave the rest as it was."""
    await live(service, program)
    change = {"action": "deactivate", "filter": {"customer_id": CANARY}}
    job = (await service.send("POST", f"{CODES}/bulk", program.key, change, idempotency="bulk")).data
    await admin.execute("UPDATE codes.jobs SET created_at = $1", NOW - timedelta(days=1))
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await parts()
    assert await admin.fetchval("SELECT count(*) FROM codes.promotion_codes WHERE customer_id = $1", CANARY) == 2
    done = "UPDATE codes.jobs SET state = 'done', finished_at = now() WHERE id = $1"
    await admin.execute(done, uuid.UUID(job["id"]))
    await finish(admin, parts)
    assert await found_in(admin, TEXTS) == []


async def test_who_is_named_as_a_partner_stays_in_a_job(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await live(service, program)
    partner = {"name": "P", "email": EMAIL}
    assert (await service.send("POST", "/v1/partners", program.key, partner, idempotency="partner")).status == 201
    change = {"action": "deactivate", "filter": {"partner_email": EMAIL}}
    assert (await service.send("POST", f"{CODES}/bulk", program.key, change, idempotency="bulk")).status == 202
    await admin.execute("UPDATE codes.jobs SET created_at = $1", NOW - timedelta(days=1))
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await finish(admin, parts)
    found = await admin.fetchval("SELECT spec->'selection'->>'partner_email' FROM codes.jobs")
    assert found == EMAIL
    assert await admin.fetchval("SELECT count(*) FROM codes.promotion_codes WHERE customer_id = $1", CANARY) == 0


async def test_names_in_the_log_of_a_code_that_was_handed_on_are_erased(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await live(service, program)
    handed_on = {
        "coupon_specific_customers": {"id": "other-1", "customer_full_name": "Other"},
        "metadata": {"note": None},
    }
    assert (await service.send("PATCH", f"{CODES}/HERS-1", program.key, handed_on)).status == 200
    renamed = {"coupon_specific_customers": {"id": "other-1", "customer_full_name": "Their New Name"}}
    assert (await service.send("PATCH", f"{CODES}/HERS-1", program.key, renamed)).status == 200
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await finish(admin, parts)
    assert await found_in(admin, TEXTS) == []
    newest = (await service.send("GET", "/v1/audit-log?action=promotion_code.updated&limit=1", program.key)).data[0]
    assert "Their New Name" in json.dumps(newest["changes"])


async def test_a_foreign_program_s_codes_stay(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    foreign = await service.program(link_url="https://other.example/")
    await live(service, foreign)
    before = await admin.fetch("SELECT * FROM codes.promotion_codes ORDER BY id")
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await parts()
    assert await admin.fetch("SELECT * FROM codes.promotion_codes ORDER BY id") == before


async def test_an_export_has_the_codes_and_what_the_log_says_of_them(
    service: Service, program: Owner, parts: CustomerParts, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await live(service, program)
    job = await ready_for_others(admin, uuid.UUID(program.id), "export", DIGESTS)
    await parts()
    rows = await admin.fetch("SELECT line FROM codes.customer_lines_v1 WHERE job_id = $1 ORDER BY nth", job.id)
    lines = [json.loads(row["line"]) for row in rows]
    assert sorted(line["data"]["code"] for line in lines if line["kind"] == "code") == ["HERS-1", "HERS-2"]
    assert sum(line["kind"] == "audit_entry" for line in lines) == 5
    assert sum(line["kind"] == "kept_answer" for line in lines) == 2
    # An erasure takes the lines away.
    await admin.execute("UPDATE redemption.customer_jobs SET state = 'withdrawn', keys = '{}', finished_at = now()")
    await ready_for_others(admin, uuid.UUID(program.id), "erase", DIGESTS)
    await finish(admin, parts)
    assert await found_in(admin, TEXTS) == []


async def test_the_log_is_rewritten_by_nothing_else(
    service: Service, program: Owner, admin: "asyncpg.Connection[asyncpg.Record]", database: Database
) -> None:
    await live(service, program)
    entry = await admin.fetchrow("SELECT id, changes FROM codes.audit_log WHERE changes ? 'code' LIMIT 1")
    assert entry is not None
    forged = json.dumps({**json.loads(entry["changes"]), "code": {"to": "FORGED"}})
    connection = await asyncpg.connect(database.codes, server_settings={"search_path": "codes"})
    try:
        assert await connection.fetchval("SELECT erase_audit_log($1, $2)", [entry["id"]], [forged]) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE audit_log SET changes = '{}'")
    finally:
        await connection.close()


async def test_an_event_that_comes_again_erased_is_no_conflict(
    service: Service, program: Owner, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    event_id, program_id = new_id(), uuid.UUID(program.id)
    usage = Usage(new_id(), program_id, 1, 1, NOW)
    record = RecordUsage(service.pool)

    async def came(body: bytes) -> object:
        digest = hashlib.sha256(body).digest()
        return (await record([UsageReport("/mintwire/redemption", str(event_id), digest, NOW, usage, None)]))[0]

    assert [await came(b"plain"), await came(b"plain"), await came(b"erased")] == ["fresh", "duplicate", "conflict"]
    await ready_for_others(admin, program_id, "erase", DIGESTS, {event_id: b"erased"})
    assert await came(b"erased") == "duplicate"
