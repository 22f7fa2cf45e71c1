"""Tenancy: on every route a foreign object answers exactly like a missing one, and lists show nothing of it."""

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

import asyncpg
import pytest
import structlog

from services.webhooks.api.routes import ROUTES
from shared.accounts import Role
from shared.ids import new_id
from tests.accounts import DASHBOARD
from tests.services.webhooks.conftest import Merchant, Reply, Service, code_redeemed, make_merchant, make_partner
from tests.services.webhooks.receiver import Receiver

SINCE = "2020-01-01T00:00:00Z"


@dataclass(frozen=True)
class Things:
    """One object of each kind, as their ids appear in paths."""

    endpoint_id: str
    key_id: str
    delivery_id: str
    attempt_id: str
    message_id: str
    replay_id: str
    listener_id: str


BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}"): {"description": "mine"},
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/keys/rotate"): {},
    ("POST", "/v1/webhooks/listeners/{listener_id}/next"): {"wait_seconds": 0},
}
# Routes that need no key, or name no tenant's object.
OPEN = {"/.well-known/webhook-keys.json", "/v1/webhooks/event-types/{name}"}
# The operators' API takes no key of a tenant.
NAMING = [
    (route.method, route.path)
    for route in ROUTES
    if "{" in route.path and route.path not in OPEN and route.security != "operator"
]
# Routes that take an id outside their path, as method, path and member: the query suffix, and the body. A test compares
# it with the API's document.
ELSEWHERE: dict[tuple[str, str, str], Callable[[str], tuple[str, Any]]] = {
    ("POST", "/endpoints", "partner_id"): lambda id_: ("", {"url": "https://example.com/", "partner_id": id_}),
    ("POST", "/listeners", "partner_id"): lambda id_: ("", {"event_types": ["code.redeemed"], "partner_id": id_}),
    ("GET", "/deliveries", "endpoint_id"): lambda id_: (f"?endpoint_id={id_}", None),
    ("GET", "/deliveries", "message_id"): lambda id_: (f"?message_id={id_}", None),
    ("GET", "/endpoints/{endpoint_id}/deliveries", "message_id"): lambda id_: (f"?message_id={id_}", None),
    ("GET", "/dead-letters", "endpoint_id"): lambda id_: (f"?endpoint_id={id_}", None),
    ("POST", "/dead-letters/replay", "endpoint_id"): lambda id_: ("", {"endpoint_id": id_}),
    ("POST", "/dead-letters/purge", "endpoint_id"): lambda id_: ("", {"endpoint_id": id_}),
    ("GET", "/replays", "endpoint_id"): lambda id_: (f"?endpoint_id={id_}", None),
    ("POST", "/replays", "endpoint_id"): lambda id_: ("", {"endpoint_id": id_, "which": "all", "since": SINCE}),
    ("POST", "/messages", "partner_id"): lambda id_: (
        "",
        {"event_type": "custom.sent", "event_id": "sent-1", "payload": {}, "partner_id": id_},
    ),
    ("POST", "/messages/{message_id}/resend", "endpoint_ids"): lambda id_: ("", {"endpoint_ids": [id_]}),
    ("GET", "/v1/stats/webhooks", "endpoint_id"): lambda id_: (f"?to={SINCE}&endpoint_id={id_}", None),
    ("GET", "/v1/stats/webhooks", "partner_id"): lambda id_: (f"?to={SINCE}&partner_id={id_}", None),
    ("POST", "/verify-signature", "endpoint_id"): lambda id_: ("", {"headers": {}, "body": "", "endpoint_id": id_}),
    ("POST", "/listeners/{listener_id}/next", "delivery_id"): lambda id_: (
        "",
        {"wait_seconds": 0, "results": [{"delivery_id": id_, "token": 1, "status": 200, "duration_ms": 1}]},
    ),
}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Record each request's SQL by its id: the same statements for both cases take the same time."""
    asked: dict[str, list[str]] = defaultdict(list)
    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        original = getattr(asyncpg.Connection, name)

        def note(self: Any, query: str, *values: Any, original: Any = original, **options: Any) -> Any:
            if (request_id := structlog.contextvars.get_contextvars().get("request_id")) is not None:
                asked[request_id].append(query)
            return original(self, query, *values, **options)

        monkeypatch.setattr(asyncpg.Connection, name, note)
    return asked


async def make_things(service: Service, merchant: Merchant, receiver: Receiver, *, is_programs: bool = False) -> Things:
    """Create one object of each kind with the partner's key, or with the program's and without a partner."""
    key = merchant.program_key if is_programs else merchant.partner_key
    receiver.status = 500
    before = (await service.query("SELECT count(*) FROM webhooks.attempts"))[0]["count"]
    endpoint = await service.endpoint(key, receiver.url)
    keys = await service.send("GET", f"/endpoints/{endpoint['id']}/keys", key)
    await service.consume(code_redeemed(merchant, partner_id=None if is_programs else merchant.partner_id))
    await service.attempted(before + 1)
    delivery = (await service.send("GET", f"/deliveries?endpoint_id={endpoint['id']}", key)).data[0]
    [attempt] = (await service.send("GET", f"/deliveries/{delivery['id']}/attempts", key)).data
    replay = await service.send(
        "POST", "/replays", key, {"endpoint_id": endpoint["id"], "which": "failed", "since": SINCE, "dry_run": True}
    )
    listener = await service.send("POST", "/listeners", key, {"event_types": ["codes.generated"]})
    return Things(
        endpoint["id"],
        keys.data[0]["id"],
        delivery["id"],
        attempt["id"],
        delivery["message_id"],
        replay.data["id"],
        listener.data["id"],
    )


def missing() -> Things:
    made = [str(new_id()) for _ in range(5)]
    attempt = f"att_{new_id().hex}_1"
    return Things(made[0], made[1], made[2], attempt, f"msg_{new_id().hex}", made[3], made[4])


def without_request(reply: Reply, asked: Things | str) -> tuple[int, Any, dict[str, str]]:
    """Return a response without what depends on the request, including the names in it, and the time."""
    text = json.dumps({name: value for name, value in reply.body.items() if name != "request_id"})
    for name in [asked] if isinstance(asked, str) else astuple(asked):
        text = text.replace(name, "asked for")
    text = re.sub(r'"as_of": "[^"]*"', '"as_of": "now"', text)
    body = json.loads(text)
    headers = {name: value for name, value in reply.headers.items() if name not in ("X-Request-ID", "Date")}
    return reply.status, body, headers


def filled(path: str, things: Things) -> str:
    members = {name: getattr(things, name) for name in things.__dataclass_fields__}
    return re.sub(r"\{(\w+)[^}]*\}", r"{\1}", path).removeprefix("/v1/webhooks").format(**members, number=1)


Key = str | Callable[[], str]


async def ask(service: Service, route: tuple[str, str], things: Things, key: Key) -> Reply:
    method, path = route
    return await service.send(method, filled(path, things), key if isinstance(key, str) else key(), BODIES.get(route))


def account_of(service: Service, merchant: Merchant, role: Role) -> Callable[[], str]:
    """Return what signs for an account of a merchant or of a partner, once per request."""
    account_id = uuid.uuid4()
    partner_id = merchant.partner_id if role == "partner" else None
    return lambda: DASHBOARD.token(
        *("webhooks", service.clock(), role),
        program_id=merchant.program_id,
        partner_id=partner_id,
        account_id=account_id,
        request_id=uuid.uuid4().hex,
    )


@pytest.mark.parametrize("is_programs", [False, True])
async def test_a_foreign_object_answers_like_a_missing_one_on_every_route(
    service: Service, merchant: Merchant, receiver: Receiver, statements: dict[str, list[str]], *, is_programs: bool
) -> None:
    """To the last header, and with the same statements: neither the response nor its timing reveals existence."""
    things = await make_things(service, merchant, receiver, is_programs=is_programs)
    stranger = await make_merchant(service.admin, service.clock())
    sibling = await make_partner(service.admin, merchant.program_id, merchant.program_key, "Other", service.clock())
    keys: list[Key] = [stranger.program_key, stranger.partner_key, sibling.partner_key]
    keys += [account_of(service, stranger, "merchant"), account_of(service, sibling, "partner")]
    if is_programs:
        keys += [merchant.partner_key, account_of(service, merchant, "partner")]
    for key in keys:
        # From here on the key itself, or whom the account acts for, is known and asked for no more.
        await service.send("GET", "/endpoints", key if isinstance(key, str) else key())
        for route in NAMING:
            foreign = await ask(service, route, things, key)
            nothing = missing()
            absent = await ask(service, route, nothing, key)
            assert foreign.status in (403, 404), route
            assert without_request(foreign, things) == without_request(absent, nothing), route
            told, expected = (statements[reply.headers["X-Request-ID"]] for reply in (foreign, absent))
            assert told == expected, route
            assert told or foreign.status == 403, route
    assert len(receiver.posts) == 1
    owner = merchant.program_key if is_programs else merchant.partner_key
    endpoint = await service.send("GET", f"/endpoints/{things.endpoint_id}", owner)
    assert (endpoint.data["status"], endpoint.data["description"]) == ("active", None)
    shown = await service.send("GET", f"/messages/{things.message_id}", merchant.program_key)
    assert shown.data["redacted_at"] is None


async def test_what_a_query_or_a_body_names_is_foreign_too(
    service: Service, merchant: Merchant, receiver: Receiver, statements: dict[str, list[str]]
) -> None:
    """Ids in queries and bodies would be a way around the check of the path."""
    foreign = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    for key, is_programs in ((stranger.program_key, True), (stranger.partner_key, False)):
        own = await make_things(service, stranger, receiver, is_programs=is_programs)
        for (method, path, member), asked in ELSEWHERE.items():
            name = member.removesuffix("s")
            there = str(merchant.partner_id) if name == "partner_id" else getattr(foreign, name)
            nowhere = str(new_id()) if name == "partner_id" else getattr(missing(), name)
            replies = []
            for id_ in (there, nowhere):
                tail, body = asked(id_)
                replies.append(await service.send(method, filled(path, own) + tail, key, body))
            answers = [without_request(reply, id_) for reply, id_ in zip(replies, (there, nowhere), strict=True)]
            assert answers[0] == answers[1], (method, path, member)
            told, expected = (statements[reply.headers["X-Request-ID"]] for reply in replies)
            assert told == expected, (method, path, member)
            assert replies[0].status in (200, 404) or member == "partner_id", (method, path, member)
            # Messages are published in groups, whose statements belong to no single request.
            assert told or key == stranger.partner_key or path == "/messages", (method, path, member)
            assert foreign.endpoint_id not in str(answers[0])
    letters = await service.query("SELECT count(*) FROM webhooks.deliveries WHERE status <> 'pending'")
    assert letters[0]["count"] == 0


async def test_no_route_that_takes_an_id_is_forgotten(service: Service) -> None:
    """The API document has every route, so every route in it that takes an id must be tested above."""
    async with service.http.get("/openapi.json") as response:
        document = await response.json()
    prefix, taken = "/v1/webhooks", set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith((prefix, "/v1/stats")) and method != "parameters":
                queries = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                names = {*queries, *_members(content.get("schema", {}), document["components"]["schemas"])}
                taken |= {
                    (method.upper(), path.removeprefix(prefix), name)
                    for name in names
                    if name.endswith(("_id", "_ids"))
                }
    # The sender's own name for an event, which means nothing in another program.
    taken.remove(("POST", "/messages", "event_id"))
    taken -= {("GET", f"{path}/deliveries", "event_id") for path in ("", "/endpoints/{endpoint_id}")}
    assert taken == set(ELSEWHERE)


def _members(schema: Any, schemas: Any) -> Iterator[str]:
    """Return the names of all members in a schema, at any depth."""
    if isinstance(schema, list):
        for each in schema:
            yield from _members(each, schemas)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield from _members(schemas[schema["$ref"].rpartition("/")[2]], schemas)
        yield from schema.get("properties", {})
        for each in (*schema.get("properties", {}).values(), schema.get("items"), *map(schema.get, ("anyOf", "oneOf"))):
            yield from _members(each, schemas)


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
    """Partners of one program compete with each other."""
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
    """A list without its owner's condition would show every tenant's deliveries."""
    things = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    for key in (stranger.program_key, stranger.partner_key):
        assert (await service.send("GET", path, key)).data == []
        if path not in ("/endpoints", "/messages"):
            assert (await service.send("GET", f"{path}?endpoint_id={things.endpoint_id}", key)).data == []


async def test_a_message_is_sent_to_nobody_elses_endpoint(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A program could make another tenant's receiver accept its messages as genuine."""
    things = await make_things(service, merchant, receiver)
    stranger = await make_merchant(service.admin, service.clock())
    others = await service.endpoint(stranger.program_key, receiver.url)
    programs = await service.endpoint(merchant.program_key, receiver.url)
    path = f"/messages/{things.message_id}/resend"
    for foreign in (others, programs):
        answers = [
            without_request(
                await service.send("POST", path, merchant.partner_key, {"endpoint_ids": [endpoint_id]}), endpoint_id
            )
            for endpoint_id in (foreign["id"], str(new_id()))
        ]
        assert answers[0][0] == 404
        assert answers[0] == answers[1]
    assert (await service.send("POST", path, merchant.program_key, {"endpoint_ids": [others["id"]]})).status == 404


async def test_a_path_that_names_nothing_is_missing(service: Service, merchant: Merchant) -> None:
    for tail in ("/messages/nonsense", f"/messages/{new_id()}", "/deliveries/1", "/endpoints/x/keys/y"):
        method = "DELETE" if "keys" in tail else "GET"
        assert (await service.send(method, tail, merchant.partner_key)).status == 404, tail
