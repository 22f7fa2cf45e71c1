"""The operators' API of `webhooks`: the replays of all programs."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.webhooks.api.routes import ROUTES
from shared.web import Route
from tests.accounts import DASHBOARD
from tests.databases import Database
from tests.operating import refused_to_others
from tests.services.webhooks.conftest import HeldClock, Merchant, Reply, Service, make_merchant, running_service
from tests.services.webhooks.test_replays import begin

ROOT = "/v1/operator/webhooks"


@pytest.fixture
async def service(database: Database, clock: HeldClock) -> AsyncIterator[Service]:
    """No worker takes up a replay, so that each stays until it is cancelled."""
    async with running_service(database, clock, replays=False) as made:
        yield made


async def operate(service: Service, method: str, path: str, grade: Any = "change") -> Reply:
    key = DASHBOARD.token("webhooks", service.clock(), "operator", grade)
    headers = {"Authorization": f"Bearer {key}"}
    async with service.http.request(method, f"{ROOT}{path}", headers=headers) as response:
        return Reply(response.status, response.headers.copy(), await response.json(content_type=None))


async def test_who_is_let_in(service: Service, merchant: Merchant) -> None:
    async def ask(route: Route, key: str | None) -> tuple[int, str]:
        path = route.path.replace("{queue}", "unknown").replace("{job_id}", str(uuid.uuid4()))
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with service.http.request(route.method, path, headers=headers) as response:
            return response.status, (await response.json()).get("code", "")

    foreign = DASHBOARD.token("codes", service.clock(), "operator")
    keys = {merchant.program_key: "operator_only", merchant.partner_key: "operator_only"}
    await refused_to_others(ROUTES, ask, {**keys, foreign: "invalid_api_key"})


async def test_replays_of_all_programs_are_listed_and_cancelled(service: Service, merchant: Merchant) -> None:
    other = await make_merchant(service.admin, service.clock())
    begun = []
    for each in (merchant, other):
        endpoint = await service.endpoint(each.partner_key, "https://receiver.example/hook", status="paused")
        begun.append(await begin(service, each.partner_key, endpoint, "all"))
    listed = (await operate(service, "GET", "/jobs", "look")).data
    assert [(each["id"], each["kind"], each["program_id"]) for each in listed] == [
        (begun[1]["id"], "replay", str(other.program_id)),
        (begun[0]["id"], "replay", str(merchant.program_id)),
    ]
    path = f"/jobs/{begun[0]['id']}/cancel"
    assert (await operate(service, "POST", path, "look")).body["code"] == "look_only"
    assert (await operate(service, "POST", path)).data == {"id": begun[0]["id"], "state": "canceled"}
    again = await operate(service, "POST", path)
    assert (again.status, again.body["code"]) == (409, "replay_ended")
    assert (await operate(service, "POST", f"/jobs/{uuid.uuid4()}/cancel")).status == 404
    shown = await service.send("GET", f"/replays/{begun[0]['id']}", merchant.partner_key)
    assert shown.data["status"] == "canceled"
    [entry] = (await operate(service, "GET", "/log")).data
    assert (entry["action"], entry["target"]) == ("job.cancelled", begun[0]["id"])
