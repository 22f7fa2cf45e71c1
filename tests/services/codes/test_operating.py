"""The operators' API of `codes`: who is let in, and the jobs of all programs."""

import re
import uuid

import pytest

from services.codes.api.routes import ROUTES
from shared.web import Route
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.operating import refused_to_others
from tests.services.codes.batch_requests import queued
from tests.services.codes.bulk import make_coupon, work_through
from tests.services.codes.conftest import Owner, Service

ROOT = "/v1/operator/codes"


@pytest.fixture(autouse=True)
async def coupon(database: Database, program: Owner) -> str:
    return await make_coupon(database, program.id)


async def test_who_is_let_in(service: Service, program: Owner, partner: Owner) -> None:
    async def ask(route: Route, key: str | None) -> tuple[int, str]:
        path = re.sub(r"\{\w+\}", str(uuid.uuid4()), route.path)
        reply = await service.send(route.method, path, key)
        return reply.status, reply.body.get("code", "")

    foreign = DASHBOARD.token("redemption", service.clock(), "operator")
    refused = {program.key: "operator_only", partner.key: "operator_only", foreign: "invalid_api_key"}
    await refused_to_others(ROUTES, ask, {**refused, "nobody": "invalid_api_key"})


async def test_jobs_of_all_programs_are_listed(service: Service, program: Owner, database: Database) -> None:
    other = await service.program()
    await make_coupon(database, other.id)
    finished = await queued(service, program, 2_000)
    await work_through(service)
    waiting = await queued(service, other, 3_000)
    listed = (await service.send("GET", f"{ROOT}/jobs")).data
    assert [(each["id"], each["program_id"], each["state"]) for each in listed] == [
        (waiting, other.id, "queued"),
        (finished, program.id, "done"),
    ]
    assert (listed[1]["kind"], listed[1]["requested"], listed[1]["processed"]) == ("batch", 2_000, 2_000)
    assert listed[0]["actor"] == f"key {other.key_id}"
    for is_finished, found in (("true", finished), ("false", waiting)):
        page = await service.send("GET", f"{ROOT}/jobs?is_finished={is_finished}")
        assert [each["id"] for each in page.data] == [found]
    first = await service.send("GET", f"{ROOT}/jobs?limit=1")
    second = await service.send("GET", f"{ROOT}/jobs?limit=1&cursor={first.body['meta']['next_cursor']}")
    assert [each["id"] for each in (*first.data, *second.data)] == [waiting, finished]


async def test_a_job_of_any_program_is_cancelled_and_both_logs_name_the_operator(
    service: Service, program: Owner
) -> None:
    job_id = await queued(service, program, 2_000)
    looks = DASHBOARD.token("codes", service.clock(), "operator", "look")
    assert (await service.send("POST", f"{ROOT}/jobs/{job_id}/cancel", looks)).body["code"] == "look_only"
    account_id = uuid.uuid4()
    changes = DASHBOARD.token("codes", service.clock(), "operator", account_id=account_id)
    for _ in range(2):
        done = await service.send("POST", f"{ROOT}/jobs/{job_id}/cancel", changes)
        assert done.data == {"id": job_id, "state": "cancelled"}
    await work_through(service)
    assert (await service.send("GET", f"/v1/jobs/{job_id}", program.key)).data["created"] == 0
    told = (await service.send("GET", f"/v1/audit-log?object_id={job_id}", program.key)).data
    assert (told[0]["action"], told[0]["actor"]) == ("job.cancelled", f"account {account_id}")
    [entry] = (await service.send("GET", f"{ROOT}/log")).data
    assert (entry["action"], entry["target"], entry["actor"]) == ("job.cancelled", job_id, f"account {account_id}")


async def test_what_has_finished_or_is_not_there_is_not_cancelled(service: Service, program: Owner) -> None:
    job_id = await queued(service, program, 2_000)
    await work_through(service)
    late = await service.send("POST", f"{ROOT}/jobs/{job_id}/cancel")
    assert (late.status, late.body["code"]) == (409, "job_finished")
    missing = await service.send("POST", f"{ROOT}/jobs/{uuid.uuid4()}/cancel")
    assert (missing.status, missing.body["code"]) == (404, "not_found")
    assert (await service.send("GET", f"{ROOT}/log")).data == []
