"""Accounts of a dashboard: what they may do here, and for whom."""

import re
import uuid

from services.webhooks.api.routes import ROUTES
from shared.accounts import Grade, Role
from shared.web import Route
from tests.accounts import DASHBOARD, REFUSALS, walk_table
from tests.services.webhooks.conftest import Merchant, Reply, Service
from tests.services.webhooks.receiver import Receiver


def token(service: Service, merchant: Merchant, role: Role = "merchant", grade: Grade = "change") -> str:
    return DASHBOARD.token(
        *("webhooks", service.clock(), role, grade),
        program_id=None if role == "operator" else merchant.program_id,
        partner_id=merchant.partner_id if role == "partner" else None,
    )


async def ask(service: Service, method: str, path: str, key: str) -> Reply:
    headers = {"Authorization": f"Bearer {key}"}
    async with service.http.request(method, path, headers=headers) as response:
        return Reply(response.status, response.headers.copy(), await response.json(content_type=None))


async def test_every_route_lets_in_the_roles_and_grades_of_the_table(service: Service, merchant: Merchant) -> None:
    async def call(route: Route, key: str) -> Reply:
        path = re.sub(r"\{(\w+)[^}]*\}", lambda name: "1" if name[1] == "number" else str(uuid.uuid4()), route.path)
        return await ask(service, route.method, path, key)

    counts = await walk_table(ROUTES, call, lambda role, grade: token(service, merchant, role, grade))
    assert min(counts[each] for each in ("let in", *REFUSALS)) >= 5


async def test_a_partner_s_account_sees_its_partner_s_and_a_merchant_s_its_program_s(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    partner, program = token(service, merchant, "partner"), token(service, merchant)
    own = await service.endpoint(partner, receiver.url)
    theirs = await service.endpoint(program, receiver.url)
    for key, seen in (
        (partner, {own["id"]}),
        (merchant.partner_key, {own["id"]}),
        (program, {own["id"], theirs["id"]}),
    ):
        assert {each["id"] for each in (await service.send("GET", "/endpoints", key)).data} == seen
    assert (await service.send("GET", f"/endpoints/{theirs['id']}", partner)).status == 404


async def test_who_may_look_neither_tests_nor_rotates(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    looks = token(service, merchant, "partner", "look")
    for tail in ("/test", "/keys/rotate", "/pause"):
        refused = await service.send("POST", f"/endpoints/{endpoint['id']}{tail}", looks)
        assert (refused.status, refused.body["code"]) == (403, "look_only")
    assert receiver.posts == []
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}/keys", looks)
    assert (shown.status, endpoint["secret"] in str(shown.body)) == (200, False)


async def test_a_secret_is_shown_again_to_the_account_that_was_given_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    one, other = token(service, merchant, "partner"), token(service, merchant, "partner")
    made = [
        await service.send("POST", "/endpoints", key, {"url": receiver.url}, idempotency="make-me-one")
        for key in (one, one, other)
    ]
    assert [each.status for each in made] == [201, 201, 201]
    assert made[0].data["secret"] == made[1].data["secret"] != made[2].data["secret"]
