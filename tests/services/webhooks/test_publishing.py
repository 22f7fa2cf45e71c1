"""Events that a program publishes: once per event id, to the partner they name, like every other message."""

import asyncio
import json
from typing import Any

import orjson
import pytest

from services.webhooks.domain.messages import LARGE_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES
from services.webhooks.usecases import remove_old
from services.webhooks.usecases.maintain_endpoints import MaintainEndpoints
from shared.ids import new_id
from tests.services.webhooks.conftest import (
    KEPT,
    Merchant,
    Reply,
    Service,
    code_redeemed,
    make_merchant,
    purge,
    until,
)
from tests.services.webhooks.receiver import Receiver

TYPE = "custom.card.sent"
PAYLOAD = {"z": 1, "card_id": "a1b2c3d4", "recipient_name": "Zoë", "customer": {"id": "c-1"}, "order": [1.5, None]}
URL = "https://example.com/hooks"
# In addition to the characters of its only member.
BRACKETS = len(orjson.dumps({"text": ""}))


async def publish(service: Service, key: str, **members: Any) -> Reply:
    body = {"event_type": TYPE, "payload": PAYLOAD, **members}
    return await service.send("POST", "/messages", key, body)


def maintenance_of(service: Service) -> MaintainEndpoints:
    return MaintainEndpoints(service.pool, service.clock, KEPT, service.dispatcher.sending.renew, service.acts.extend)


async def ids(service: Service) -> set[str]:
    return {f"msg_{row['id'].hex}" for row in await service.query("SELECT id FROM webhooks.messages")}


async def test_an_event_of_its_own_reaches_the_program_and_the_partner_that_it_names(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    own = await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.card.*"], format="standard")
    theirs = await service.endpoint(merchant.partner_key, receiver.url, event_types=[TYPE], format="standard")
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.other", "code.*"])
    moment = "2026-03-16T20:15:00+05:00"
    made = await publish(service, merchant.program_key, event_id="e-1", occurred_at=moment)
    assert (made.status, made.data["deliveries"], made.data["partner_id"]) == (201, 1, None)
    named = await publish(service, merchant.program_key, event_id="e-2", partner_id=str(merchant.partner_id))
    assert (named.status, named.data["deliveries"], named.data["event_id"]) == (201, 2, "e-2")
    await service.settled(3)
    for post in receiver.posts:
        body = json.loads(post.body)
        assert (body["type"], body["data"]) == (TYPE, PAYLOAD)
        assert post.headers["webhook-sequence"] in {"1", "2"}
    first = next(post for post in receiver.posts if post.id == made.data["id"])
    first.verify(own["secret"])
    assert json.loads(first.body)["timestamp"] == "2026-03-16T15:15:00.000Z"
    told = [post for post in receiver.posts if post.id == named.data["id"]]
    assert len(told) == 2
    deliveries = (await service.send("GET", "/deliveries", merchant.partner_key)).data
    assert [each["endpoint_id"] for each in deliveries] == [theirs["id"]]
    for key in (merchant.program_key, merchant.partner_key):
        shown = await service.send("GET", f"/messages/{named.data['id']}", key)
        assert (shown.data["data"], shown.data["event_id"]) == (PAYLOAD, "e-2")
        assert shown.data["kept_until"] == named.data["kept_until"]
    assert (await service.send("GET", f"/messages/{made.data['id']}", merchant.partner_key)).status == 404


@pytest.mark.parametrize("by_partner", [True, False])
async def test_bodies_are_written_in_every_format(
    service: Service, merchant: Merchant, receiver: Receiver, by_partner: bool
) -> None:
    """No part of a payload is hidden from the named partner, whatever its members are called."""
    key = merchant.partner_key if by_partner else merchant.program_key
    for format_ in ("flat", "standard", "thin", "cloudevents"):
        await service.endpoint(key, receiver.url, event_types=["*"], format=format_)
    members = {"partner_id": str(merchant.partner_id)} if by_partner else {}
    moment = "2026-03-16T20:15:00Z"
    made = (await publish(service, merchant.program_key, event_id="e-1", occurred_at=moment, **members)).data
    await service.settled(4)
    partner = f'"{merchant.partner_id}"' if by_partner else "null"
    text = '"z":1,"card_id":"a1b2c3d4","recipient_name":"Zoë","customer":{"id":"c-1"},"order":[1.5,null]'
    time = '"2026-03-16T20:15:00.000Z"'
    head = f'"type":"{TYPE}","timestamp":{time},"sequence":1'
    data, kind = f'"data":{{{text}}}', f'"sequence":"{1:019}","datacontenttype":"application/json"'
    source = f"/mintwire/programs/{merchant.program_id}"
    assert sorted(post.body.decode() for post in receiver.posts) == sorted(
        [
            f'{{"event":"{TYPE}","partner_id":{partner},{text},"timestamp":{time}}}',
            f"{{{head},{data}}}",
            f'{{{head},"data":{{"id":"{made["id"]}","url":"/v1/webhooks/messages/{made["id"]}"}}}}',
            f'{{"specversion":"1.0","id":"e-1","source":"{source}","type":"{TYPE}","time":{time},{kind},{data}}}',
        ]
    )


async def test_the_same_event_again_is_the_message_that_is_there(service: Service, merchant: Merchant) -> None:
    """The order of members does not matter; another body under the same id is not a repeat, and changes nothing."""
    key = merchant.program_key
    await service.endpoint(key, URL, event_types=["custom.*"], status="paused")
    first = await publish(service, key, event_id="e-1")
    turned = dict(reversed(PAYLOAD.items()))
    service.clock.advance(days=1)
    again = await publish(service, key, event_id="e-1", payload=turned)
    assert (first.status, again.status, again.data) == (201, 200, first.data)
    partner = str(merchant.partner_id)
    others: list[dict[str, Any]] = [{"payload": {}}, {"event_type": "custom.b"}, {"partner_id": partner}]
    for members in (*others, {"ordering_key": "a"}, {"retention_days": 30}):
        refused = await publish(service, key, **{"event_id": "e-1", **members})
        assert (refused.status, refused.body["code"]) == (409, "event_id_conflict")
    other = await make_merchant(service.admin, service.clock())
    assert (await publish(service, other.program_key, event_id="e-1", payload={})).status == 201
    without = [await publish(service, key) for _ in range(2)]
    assert len({first.data["id"], *(each.data["id"] for each in without)}) == 3
    assert len((await service.send("GET", "/deliveries", key)).data) == 3


async def test_what_is_kept_for_long_is_known_by_its_id_though_the_inbox_has_forgotten_it(
    service: Service, merchant: Merchant
) -> None:
    key = merchant.program_key
    await service.endpoint(key, URL, event_types=["custom.*"], status="paused")
    first = await publish(service, key, event_id="e-1", retention_days=90)
    service.clock.advance(days=40)
    await service.admin.execute("DELETE FROM webhooks.inbox")
    again = await publish(service, key, event_id="e-1", retention_days=90)
    assert (again.status, again.data) == (200, first.data)
    refused = await publish(service, key, event_id="e-1", retention_days=90, payload={})
    assert (refused.status, refused.body["code"]) == (409, "event_id_conflict")
    # As an earlier release stored it.
    await service.admin.execute("UPDATE webhooks.custom_messages SET body_sha256 = NULL")
    assert (await publish(service, key, event_id="e-1", retention_days=90)).status == 200
    assert len((await service.send("GET", "/deliveries", key)).data) == 1


async def test_of_twins_at_the_same_moment_one_is_new(service: Service, merchant: Merchant) -> None:
    """A program that retries on a timeout would send its message twice."""
    key = merchant.program_key
    await service.endpoint(key, URL, event_types=["custom.*"], status="paused")
    answers = await asyncio.gather(*(publish(service, key, event_id="e-1") for _ in range(5)))
    assert sorted(each.status for each in answers) == [200] * 4 + [201]
    assert len({each.data["id"] for each in answers}) == 1
    assert [each.data["deliveries"] for each in answers] == [1] * 5
    assert len((await service.send("GET", "/deliveries", key)).data) == 1


async def test_an_idempotency_key_repeats_the_answer(service: Service, merchant: Merchant) -> None:
    """Without an event id it is the only thing that makes a repeat harmless."""
    body = {"event_type": TYPE, "payload": PAYLOAD}
    answers = [
        await service.send("POST", "/messages", merchant.program_key, body, idempotency="once") for _ in range(2)
    ]
    assert [each.status for each in answers] == [201, 201]
    assert answers[0].data == answers[1].data
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(await ids(service)) == 1


async def test_a_path_allows_what_all_its_routes_take(service: Service, merchant: Merchant) -> None:
    refused = await service.send("PUT", "/messages", merchant.program_key, {})
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, POST")


async def test_only_programs_publish_and_only_to_partners_of_theirs(service: Service, merchant: Merchant) -> None:
    """A partner could send messages signed by us to others."""
    refused = await publish(service, merchant.partner_key)
    assert (refused.status, refused.body["code"]) == (403, "scope_missing")
    other = await make_merchant(service.admin, service.clock())
    for partner_id in (new_id(), other.partner_id):
        refused = await publish(service, merchant.program_key, partner_id=str(partner_id), event_id="e-1")
        assert (refused.status, list(refused.body["errors"])) == (422, ["partner_id"])
    assert await ids(service) == set()
    assert (await publish(service, merchant.program_key, event_id="e-1")).status == 201


@pytest.mark.parametrize(
    ("members", "field"),
    [
        *(
            ({"event_type": name}, "event_type")
            for name in ("code.redeemed", "card.sent", "custom", "custom.", "custom.*", "custom.Sent", "test", None)
        ),
        ({"payload": None}, "payload"),
        ({"payload": [{}]}, "payload"),
        *(({"payload": {name: 1}}, "payload") for name in ("event", "partner_id", "timestamp")),
        ({"payload": {"a": {"b": [2**64]}}}, "payload"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "e" * 256}, "event_id"),
        ({"ordering_key": ""}, "ordering_key"),
        ({"occurred_at": "2026-03-16T20:15:00"}, "occurred_at"),
        ({"occurred_at": "2999-01-01T00:00:00Z"}, "occurred_at"),
        ({"retention_days": 4}, "retention_days"),
        ({"retention_days": 91}, "retention_days"),
        ({"channels": ["a"]}, "channels"),
    ],
)
async def test_what_cannot_be_told_is_refused_by_its_field(
    service: Service, merchant: Merchant, members: dict[str, Any], field: str
) -> None:
    refused = await publish(service, merchant.program_key, **{"event_id": "e-1", **members})
    assert (refused.status, list(refused.body["errors"])) == (422, [field]), refused.body
    assert await ids(service) == set()


async def test_a_payload_may_have_256_kib_and_large_ones_are_warned_of(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.program_key
    await service.endpoint(key, receiver.url, event_types=["custom.*"], format="standard")
    for size, warned in ((LARGE_PAYLOAD_BYTES, 0), (LARGE_PAYLOAD_BYTES + 1, 1), (MAX_PAYLOAD_BYTES, 1)):
        made = await publish(service, key, payload={"text": "x" * (size - BRACKETS)})
        assert (made.status, [each["code"] for each in made.data["warnings"]]) == (201, ["large_payload"] * warned)
    await service.settled(3)
    assert max(len(post.body) for post in receiver.posts) > MAX_PAYLOAD_BYTES
    escaped = "\\u00e9" * (MAX_PAYLOAD_BYTES // 4)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    raw = f'{{"event_type": "{TYPE}", "payload": {{"text": "{escaped}"}}}}'
    async with service.http.post("/v1/webhooks/messages", data=raw, headers=headers) as response:
        assert response.status == 201
    refused = await publish(service, key, payload={"text": "x" * (MAX_PAYLOAD_BYTES - BRACKETS + 1)})
    assert (refused.status, refused.body["code"]) == (413, "payload_too_large")
    refused = await publish(service, key, payload={"text": "x" * 2 * MAX_PAYLOAD_BYTES})
    assert (refused.status, refused.body["code"]) == (413, "too_large")


async def test_what_nobody_wants_yet_is_kept_for_who_comes_to_want_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key, partner = merchant.program_key, str(merchant.partner_id)
    made = (await publish(service, key, partner_id=partner)).data
    assert made["deliveries"] == 0
    for each in (key, merchant.partner_key):
        assert (await service.send("GET", f"/messages/{made['id']}", each)).data["data"] == PAYLOAD
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, event_types=["custom.*"], format="standard")
    resent = await service.send(
        "POST", f"/messages/{made['id']}/resend", merchant.partner_key, {"endpoint_ids": [endpoint["id"]]}
    )
    assert resent.status == 202, resent.body
    await service.settled(1)
    receiver.posts[0].verify(endpoint["secret"])
    assert receiver.posts[0].id == made["id"]


async def test_a_disabled_endpoint_finds_it_by_a_replay(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.program_key
    endpoint = await service.endpoint(key, receiver.url, event_types=["*"], status="disabled")
    made = (await publish(service, key)).data
    await service.send("POST", f"/endpoints/{endpoint['id']}/enable", key)
    service.clock.advance(minutes=1)
    body = {"endpoint_id": endpoint["id"], "which": "missing", "since": "2020-01-01T00:00:00Z"}
    assert (await service.send("POST", "/replays", key, body)).status == 202
    await service.settled(1)
    assert receiver.posts[0].id == made["id"]


async def test_what_has_one_ordering_key_goes_out_in_order(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.program_key
    release = receiver.hang()
    await service.endpoint(key, receiver.url, event_types=["custom.*"], ordering="key")
    for number, line in enumerate(("a", "a", "b")):
        await publish(service, key, payload={"number": number}, ordering_key=line)
    await until(lambda: len(receiver.posts) == 2, "the first of each line")
    assert sorted(json.loads(post.body)["number"] for post in receiver.posts) == [0, 2]
    release.set()
    await service.settled(3)
    assert json.loads(receiver.posts[-1].body)["number"] == 1


async def test_each_is_kept_as_long_as_it_was_asked_to_be(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is kept longer must not keep others from being removed."""
    monkeypatch.setattr(remove_old, "BREATH_SECONDS", 0)
    key = merchant.program_key
    endpoint = await service.endpoint(key, URL, event_types=["*"])
    await service.send("POST", f"/endpoints/{endpoint['id']}/disable", key)
    long = [(await publish(service, key, retention_days=90)).data["id"] for _ in range(3)]
    usual = (await publish(service, key)).data["id"]
    short = (await publish(service, key, retention_days=5, event_id="short")).data
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
    maintenance = maintenance_of(service)
    for days, left in ((4, 10), (2, 9), (23, 9), (2, 3), (58, 3), (2, 0)):
        service.clock.advance(days=days)
        await purge(maintenance, rows_at_once=2)
        assert len(await ids(service)) == left
        if left == 9:
            assert short["id"] not in await ids(service)
            repeated = await publish(service, key, retention_days=5, event_id="short")
            assert (repeated.status, repeated.body["code"]) == (409, "content_gone")
            assert usual in await ids(service)
        if left == 3:
            assert await ids(service) == set(long)
    assert await service.query("SELECT * FROM webhooks.custom_messages") == []


async def test_what_waits_is_kept_beyond_its_time(service: Service, merchant: Merchant) -> None:
    key = merchant.program_key
    await service.endpoint(key, URL, event_types=["*"], status="paused")
    made = (await publish(service, key, retention_days=5)).data
    await service.admin.execute("UPDATE webhooks.delivery_queue SET ends_at = '2999-01-01'")
    service.clock.advance(days=100)
    await purge(maintenance_of(service))
    assert (await service.send("GET", f"/messages/{made['id']}", key)).status == 200


async def test_a_redacted_one_is_not_published_again(service: Service, merchant: Merchant) -> None:
    """A repeat of the request would bring redacted content back."""
    key = merchant.program_key
    made = (await publish(service, key, event_id="e-1")).data
    assert (await service.send("DELETE", f"/messages/{made['id']}/content", key)).status == 200
    again = await publish(service, key, event_id="e-1")
    assert (again.status, again.data["id"]) == (200, made["id"])
    assert again.data["redacted_at"] is not None
    assert (await service.send("GET", f"/messages/{made['id']}", key)).data["data"] is None


async def test_it_survives_a_write_that_fails(service: Service, merchant: Merchant) -> None:
    """Either all of it is written or nothing, and then its id is free for the next attempt."""
    await service.admin.execute("ALTER TABLE webhooks.custom_messages ADD CONSTRAINT broken CHECK (event_id <> 'e-1')")
    assert (await publish(service, merchant.program_key, event_id="e-1")).status == 500
    assert await ids(service) == set()
    await service.admin.execute("ALTER TABLE webhooks.custom_messages DROP CONSTRAINT broken")
    assert (await publish(service, merchant.program_key, event_id="e-1")).status == 201
