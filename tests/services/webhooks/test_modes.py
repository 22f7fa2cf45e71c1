"""Test mode: endpoints get events of their own mode only, and no route shows anything of the other mode."""

import json
from typing import Any

import pytest

from services.webhooks.api.routes import ROUTES
from services.webhooks.usecases import describe_events
from shared.events import catalogue
from shared.events.envelope import ServiceEvent
from shared.ids import new_id
from tests.modes import TENANT_ID, leaks, modes_in, tenant_in_test_mode
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_key
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_tenancy import NAMING, ask, filled, make_things, missing, without_request

SERVICE_EVENTS = [
    model for exchange, models in catalogue.PUBLISHED.items() if exchange != "checkout" for model in models
]
FORMATS = ("flat", "standard", "cloudevents", "thin")


async def in_test_mode(service: Service, merchant: Merchant) -> Merchant:
    """Return the same program and partner with keys in test mode."""
    program, partner = tenant_in_test_mode(merchant.program_id), tenant_in_test_mode(merchant.partner_id)
    program_key = await make_key(service.admin, program, None, ["manage", "webhooks"], service.clock())
    partner_key = await make_key(service.admin, program, partner, ["webhooks"], service.clock())
    return Merchant(program, program_key, partner, partner_key)


@pytest.fixture
async def twins(service: Service, merchant: Merchant) -> dict[bool, Merchant]:
    return {False: merchant, True: await in_test_mode(service, merchant)}


@pytest.mark.parametrize("test", [False, True])
async def test_on_every_route_what_the_other_mode_made_is_missing(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver, test: bool
) -> None:
    """A test key, which lies around on developers' machines, would read live data."""
    things = await make_things(service, twins[not test], receiver)
    for key in (twins[test].program_key, twins[test].partner_key):
        for route in NAMING:
            foreign = await ask(service, route, things, key)
            nothing = missing()
            absent = await ask(service, route, nothing, key)
            assert foreign.status in (403, 404), route
            assert without_request(foreign, things) == without_request(absent, nothing), route
        for path in ("/endpoints", "/deliveries", "/dead-letters", "/replays", "/messages"):
            assert (await service.send("GET", path, key)).data == [], path
    assert len(receiver.posts) == 1


async def test_every_route_that_reads_answers_its_own_mode_with_the_usual_ids(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver
) -> None:
    for test, mine in twins.items():
        things = await make_things(service, mine, receiver)
        for route in ROUTES:
            if route.method != "GET" or route.security in ("operator", "none"):
                continue
            path = route.path.replace("{name}", "code.redeemed")
            for key in (mine.program_key, mine.partner_key):
                reply = await service.send("GET", filled(path, things), key)
                assert reply.status == 200, (test, path, reply.body)
                assert not leaks(json.dumps(reply.body), dict(reply.headers)), (test, path)
                if "event-types" not in path:
                    assert modes_in(reply.body) <= {test}, (test, path)
        endpoint = (await service.send("GET", f"/endpoints/{things.endpoint_id}", mine.partner_key)).data
        assert (endpoint["is_test"], endpoint["partner_id"]) == (test, str(twins[False].partner_id))


async def test_partners_are_named_by_their_usual_id_wherever_one_is_asked_for(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver
) -> None:
    usual = str(twins[False].partner_id)
    for test, mine in twins.items():
        for reply in (
            await service.send(
                "POST",
                "/endpoints",
                mine.program_key,
                {"url": receiver.url, "event_types": ["code.redeemed"], "partner_id": usual},
            ),
            await service.send("POST", "/listeners", mine.program_key, {"event_types": ["*"], "partner_id": usual}),
            await service.send(
                "POST",
                "/messages",
                mine.program_key,
                {"event_type": "custom.sent", "event_id": "sent-1", "payload": {}, "partner_id": usual},
            ),
        ):
            assert (reply.status, reply.data["partner_id"], reply.data["is_test"]) == (201, usual, test)
            assert not leaks(json.dumps(reply.body))


def example(model: type[ServiceEvent], merchant: Merchant) -> ServiceEvent:
    """Return data of any type as our services emit it, for a tenant."""
    data = describe_events.example_of(model)
    owners: dict[str, Any] = {"program_id": merchant.program_id, "partner_id": merchant.partner_id}
    made = {**data, **{name: owners[name] for name in owners.keys() & model.model_fields.keys()}}
    return model.model_validate(made)


@pytest.mark.parametrize("model", SERVICE_EVENTS, ids=lambda model: model.type)
async def test_every_event_type_reaches_its_own_mode_alone_and_says_so(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver, model: type[ServiceEvent]
) -> None:
    """A test redemption would be booked as real money by a live receiver."""
    usual_program, usual_partner = str(twins[False].program_id), str(twins[False].partner_id)
    owners = {}
    for test, mine in twins.items():
        for format_ in FORMATS:
            for key in (mine.program_key, mine.partner_key):
                made = {"url": receiver.url, "event_types": [model.type], "format": format_}
                reply = await service.send("POST", "/endpoints", key, made)
                # Partners do not get some types.
                assert reply.status == 201 or (reply.status == 422 and key == mine.partner_key), reply.body
                if reply.status == 201:
                    owners[reply.data["id"]] = test
    for test, mine in twins.items():
        event = example(model, mine).to_event(new_id(), service.clock())
        told = json.loads(event.body)["data"]
        assert (told.get("is_test"), told["program_id"]) == (True if test else None, usual_program)
        assert told.get("partner_id") in (None, usual_partner)
        assert not TENANT_ID.search(event.body.decode())
        assert await service.consume(event) == [None]
        rows = await service.query(
            "SELECT d.endpoint_id, m.format, m.body, m.content FROM webhooks.deliveries d JOIN webhooks.messages m"
            " ON m.id = d.message_id AND m.format = d.format JOIN webhooks.endpoints e ON e.id = d.endpoint_id"
            " WHERE m.event_type = $1 AND m.program_id = $2",
            model.type,
            mine.program_id,
        )
        reached = {str(row["endpoint_id"]) for row in rows}
        assert reached == {id_ for id_, mode in owners.items() if mode is test}
        for row in rows:
            text = bytes(row["body"]).decode() + bytes(row["content"] or b"").decode()
            assert not TENANT_ID.search(text)
            # The documented body of a redemption does not change.
            is_short = model.type == "code.redeemed" and row["format"].startswith("flat")
            assert ('"is_test":true' in text) is (test and not is_short), (row["format"], text)


async def test_a_test_redemption_is_posted_to_the_test_endpoint_in_the_documented_form(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver, second_receiver: Receiver
) -> None:
    await service.endpoint(twins[False].partner_key, second_receiver.url)
    await service.endpoint(twins[True].partner_key, receiver.url)
    await service.consume(code_redeemed(twins[True]))
    await service.settled(1)
    [post] = receiver.posts
    body = json.loads(post.body)
    assert list(body) == [
        *("event", "partner_id", "code", "card_id", "recipient_name", "occasion", "timestamp", "codes_remaining")
    ]
    assert body["partner_id"] == str(twins[False].partner_id)
    assert second_receiver.posts == []


@pytest.mark.parametrize("format_", FORMATS)
async def test_a_try_of_an_endpoint_names_the_usual_ids(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver, format_: str
) -> None:
    endpoint = await service.endpoint(twins[True].partner_key, receiver.url, format=format_)
    for type_ in ("test", "code.updated"):
        tried = await service.send(
            "POST", f"/endpoints/{endpoint['id']}/test", twins[True].partner_key, {"event_type": type_}
        )
        assert tried.status == 200, tried.body
    for post in receiver.posts:
        assert not TENANT_ID.search(post.body.decode())
        assert not leaks(dict(post.headers))


async def test_what_a_program_publishes_reaches_its_own_mode_under_its_usual_name(
    service: Service, twins: dict[bool, Merchant], receiver: Receiver
) -> None:
    for mine in twins.values():
        await service.endpoint(mine.program_key, receiver.url, event_types=["custom.*"], format="cloudevents")
    sent = {"event_type": "custom.sent", "event_id": "sent-1", "payload": {"a": 1}}
    ids = set()
    for test, mine in twins.items():
        reply = await service.send("POST", "/messages", mine.program_key, sent)
        # The same id is a different event in the other mode.
        assert (reply.status, reply.data["is_test"], reply.data["deliveries"]) == (201, test, 1)
        ids.add(reply.data["id"])
    assert len(ids) == 2
    await service.settled(2)
    for post in receiver.posts:
        assert json.loads(post.body)["source"] == f"/mintwire/programs/{twins[False].program_id}"


async def test_endpoints_of_both_modes_end_with_their_partner(service: Service, twins: dict[bool, Merchant]) -> None:
    await service.admin.execute(
        "UPDATE codes.partners SET archived_at = now(), updated_at = now() WHERE id = $1", twins[False].partner_id
    )
    rows = await service.query(
        "SELECT partner_id FROM codes.partner_v1 WHERE archived_at IS NOT NULL ORDER BY partner_id"
    )
    assert [row["partner_id"] for row in rows] == sorted(twin.partner_id for twin in twins.values())
