"""Whose is whose: for every route a foreign object answers exactly like a missing one, and lists show nothing of it."""

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

from services.webhooks.api.routes import ROUTES
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Reply, Service, code_redeemed, make_merchant
from tests.services.webhooks.receiver import Receiver

SINCE = "2020-01-01T00:00:00Z"


@dataclass(frozen=True)
class Things:
    """One of each, as their ids stand in paths."""

    endpoint_id: str
    key_id: str
    delivery_id: str
    message_id: str
    replay_id: str
    listener_id: str


BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}"): {"description": "mine"},
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/keys/rotate"): {},
    ("POST", "/v1/webhooks/listeners/{listener_id}/next"): {"wait_seconds": 0},
}
# What needs nobody's key, or names nothing of anybody.
OPEN = {"/.well-known/webhook-keys.json", "/v1/webhooks/event-types/{name}"}
NAMING = [(route.method, route.path) for route in ROUTES if "{" in route.path and route.path not in OPEN]


async def make_things(service: Service, merchant: Merchant, receiver: Receiver) -> Things:
    """Make one of each by the partner's key."""
    key = merchant.partner_key
    receiver.status = 500
    endpoint = await service.endpoint(key, receiver.url)
    keys = await service.send("GET", f"/endpoints/{endpoint['id']}/keys", key)
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    delivery = (await service.send("GET", "/deliveries", key)).data[0]
    replay = await service.send(
        "POST", "/replays", key, {"endpoint_id": endpoint["id"], "which": "failed", "since": SINCE, "dry_run": True}
    )
    listener = await service.send("POST", "/listeners", key, {"event_types": ["codes.generated"]})
    return Things(
        endpoint["id"],
        keys.data[0]["id"],
        delivery["id"],
        delivery["message_id"],
        replay.data["id"],
        listener.data["id"],
    )


def missing() -> Things:
    made = [str(new_id()) for _ in range(5)]
    return Things(made[0], made[1], made[2], f"msg_{new_id().hex}", made[3], made[4])


def without_request(reply: Reply) -> tuple[int, Any, set[str]]:
    body = {name: value for name, value in reply.body.items() if name != "request_id"}
    return reply.status, body, set(reply.headers)


async def ask(service: Service, route: tuple[str, str], things: Things, key: str) -> Reply:
    method, path = route
    members = {name: getattr(things, name) for name in things.__dataclass_fields__}
    tail = re.sub(r"\{(\w+)[^}]*\}", r"{\1}", path).removeprefix("/v1/webhooks").format(**members, number=1)
    return await service.send(method, tail, key, BODIES.get(route))


async def test_a_foreign_object_answers_like_a_missing_one_on_every_route(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    things = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    for route in NAMING:
        for key in (stranger.program_key, stranger.partner_key):
            foreign = await ask(service, route, things, key)
            absent = await ask(service, route, missing(), key)
            assert foreign.status in (403, 404), route
            assert without_request(foreign) == without_request(absent), route
    assert len(receiver.posts) == 1
    endpoint = await service.send("GET", f"/endpoints/{things.endpoint_id}", merchant.partner_key)
    assert (endpoint.data["status"], endpoint.data["description"]) == ("active", None)
    shown = await service.send("GET", f"/messages/{things.message_id}", merchant.program_key)
    assert shown.data["redacted_at"] is None


async def test_the_owner_and_the_program_of_the_owner_are_answered_on_every_route_that_reads(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Otherwise the test above would pass for routes that answer nobody."""
    things = await make_things(service, merchant, receiver)
    for route in NAMING:
        if route[0] == "GET":
            for key in (merchant.program_key, merchant.partner_key):
                assert (await ask(service, route, things, key)).status == 200, route


async def test_one_partner_sees_nothing_of_another_of_the_same_program(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    things = await make_things(service, merchant, receiver)
    program_endpoint = await service.endpoint(merchant.program_key, receiver.url)
    for route in NAMING:
        if "{endpoint_id}" in route[1]:
            asked = replace(missing(), endpoint_id=program_endpoint["id"])
            assert (await ask(service, route, asked, merchant.partner_key)).status == 404, route
    assert things.endpoint_id in str((await service.send("GET", "/endpoints", merchant.program_key)).body)


@pytest.mark.parametrize("path", ["/endpoints", "/deliveries", "/dead-letters", "/replays", "/messages"])
async def test_lists_show_nothing_of_others(
    service: Service, merchant: Merchant, receiver: Receiver, path: str
) -> None:
    things = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    for key in (stranger.program_key, stranger.partner_key):
        assert (await service.send("GET", path, key)).data == []
        if path not in ("/endpoints", "/messages"):
            assert (await service.send("GET", f"{path}?endpoint_id={things.endpoint_id}", key)).data == []


async def test_what_a_body_names_is_foreign_too(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    things = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    check = {"headers": {}, "body": "", "endpoint_id": things.endpoint_id}
    replay = {"endpoint_id": things.endpoint_id, "which": "all", "since": SINCE}
    for key in (stranger.program_key, stranger.partner_key):
        for path, body in (("/replays", replay), ("/verify-signature", check)):
            foreign = await service.send("POST", path, key, body)
            absent = await service.send("POST", path, key, {**body, "endpoint_id": str(new_id())})
            assert foreign.status == 404
            assert without_request(foreign) == without_request(absent)


async def test_a_message_is_sent_to_nobody_elses_endpoint(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    things = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    others = await service.endpoint(stranger.program_key, receiver.url)
    programs = await service.endpoint(merchant.program_key, receiver.url)
    path = f"/messages/{things.message_id}/resend"
    for foreign in (others, programs):
        answers = [
            await service.send("POST", path, merchant.partner_key, {"endpoint_ids": [endpoint_id]})
            for endpoint_id in (foreign["id"], str(new_id()))
        ]
        assert answers[0].status == 404
        assert without_request(answers[0]) == without_request(answers[1])
    assert (await service.send("POST", path, merchant.program_key, {"endpoint_ids": [others["id"]]})).status == 404


async def test_a_path_that_names_nothing_is_missing(service: Service, merchant: Merchant) -> None:
    for tail in ("/messages/nonsense", f"/messages/{new_id()}", "/deliveries/1", "/endpoints/x/keys/y"):
        method = "DELETE" if "keys" in tail else "GET"
        assert (await service.send(method, tail, merchant.partner_key)).status == 404, tail
