"""The endpoints API: what is accepted, what is shown, and to which keys."""

import asyncio
import base64
from typing import Any

import pytest

from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_key, make_merchant
from tests.services.webhooks.receiver import Receiver

URL = "https://hooks.example.com/mintwire"


async def test_an_endpoint_is_active_at_once_and_its_secret_is_shown_this_once(
    service: Service, merchant: Merchant
) -> None:
    made = await service.endpoint(merchant.partner_key, URL, description="orders")
    secret = made.pop("secret")
    assert made.pop("public_key") is None
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert list(made) == [
        *("id", "uid", "url", "event_types", "status", "format", "signing", "description", "metadata", "partner_id"),
        *(
            "headers",
            "auth",
            "client_certificate",
            "ca_bundle",
            "timeout_seconds",
            "max_in_flight",
            "rate_limit_per_second",
            "schedule",
            "ordering",
        ),
        *("on_exhausted", "disabled_reason", "paused_until", "resume_at", "created_at", "updated_at", "is_test"),
    ]
    assert (made["status"], made["format"], made["partner_id"]) == ("active", "flat", str(merchant.partner_id))
    shown = await service.send("GET", f"/endpoints/{made['id']}", merchant.partner_key)
    assert shown.data == made


async def test_secrets_lie_sealed_in_the_database(service: Service, merchant: Merchant) -> None:
    secret = "whsec_" + base64.b64encode(b"my own secret of 32 bytes length").decode()
    made = await service.endpoint(merchant.partner_key, URL, secret=secret)
    assert made["secret"] == secret
    rows = await service.query("SELECT sealed_secret FROM webhooks.endpoint_keys")
    assert b"my own secret" not in rows[0]["sealed_secret"]


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "https://user@example.com/"}, "url"),
        ({"url": "https://example.com:22/"}, "url"),
        ({"url": "x" * 2049}, "url"),
        ({"url": 5}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["no.such"]}, "event_types"),
        ({"event_types": "code.redeemed"}, "event_types"),
        ({"secret": "whsec_short"}, "secret"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"max_in_flight": 101}, "max_in_flight"),
        ({"status": "resting"}, "status"),
        ({"format": "xml"}, "format"),
        ({"signing": "rsa"}, "signing"),
        ({"secret": "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="}, "secret"),
        ({"signing": "ed25519", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "secret"),
        ({"timeout_seconds": 4}, "timeout_seconds"),
        ({"timeout_seconds": 31}, "timeout_seconds"),
        ({"rate_limit_per_second": 0}, "rate_limit_per_second"),
        ({"schedule": []}, "schedule"),
        ({"schedule": [0]}, "schedule"),
        ({"schedule": [172_801]}, "schedule"),
        ({"schedule": [1] * 21}, "schedule"),
        ({"ordering": "random"}, "ordering"),
        ({"on_exhausted": "panic"}, "on_exhausted"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(51)}}, "metadata"),
        ({"headers": {"Webhook-Id": "x"}}, "headers"),
        ({"headers": {"Content-Type": "x"}}, "headers"),
        ({"headers": {"X-Forwarded-For": "x"}}, "headers"),
        ({"headers": {"Proxy-Authorization": "x"}}, "headers"),
        ({"headers": {"X Y": "x"}}, "headers"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
        ({"headers": {"X-A": "\u00e9"}}, "headers"),
        ({"headers": {"X-A": ""}}, "headers"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers"),
        ({"headers": {f"X-{n}": "x" for n in range(21)}}, "headers"),
        ({"auth": {"type": "basic", "username": "a"}}, "auth"),
        ({"auth": {"type": "basic", "username": "a:b", "password": "c"}}, "auth"),
        ({"auth": {"type": "bearer", "token": "a", "value": "b"}}, "auth"),
        ({"auth": {"type": "bearer", "token": "a\nb"}}, "auth"),
        ({"auth": {"type": "header", "name": "Host", "value": "x"}}, "auth"),
        ({"auth": {"type": "authorization", "token": "a"}}, "auth"),
        ({"auth": {"type": "authorization", "scheme": "Two words", "token": "a"}}, "auth"),
        ({"auth": {"type": "authorization", "scheme": "Token", "token": "a", "name": "b"}}, "auth"),
        ({"auth": {"type": "authorization", "scheme": "Token", "token": "a\r\nX-Evil: b"}}, "auth"),
        ({"headers": {"X-Key": "a"}, "auth": {"type": "header", "name": "x-key", "value": "b"}}, "auth"),
        ({"partner_id": str(new_id())}, "partner_id"),
        ({"uid": ""}, "uid"),
        ({"uid": "two words"}, "uid"),
        ({"uid": "x" * 256}, "uid"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_accepted_is_named(
    service: Service, merchant: Merchant, members: dict[str, Any], field: str
) -> None:
    refused = await service.send("POST", "/endpoints", merchant.partner_key, {"url": URL, **members})
    assert refused.status == 422
    assert [name.split(".")[0] for name in refused.body["errors"]] == [field]


async def test_changes_pausing_and_resuming(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    path = f"/endpoints/{made['id']}"
    service.clock.advance(seconds=1)
    paused = await service.send("PATCH", path, merchant.partner_key, {"status": "paused", "description": "later"})
    assert (paused.status, paused.data["status"], paused.data["description"]) == (200, "paused", "later")
    assert paused.data["updated_at"] > made["updated_at"]
    resumed = await service.send("PATCH", path, merchant.partner_key, {"status": "active", "event_types": ["*"]})
    assert (resumed.data["status"], resumed.data["event_types"]) == ("active", ["*"])
    for change in ({"url": "http://example.com/"}, {"status": "resting"}, {"url": None}, {"secret": "x"}):
        refused = await service.send("PATCH", path, merchant.partner_key, change)
        assert refused.status == 422, change


async def test_an_endpoint_is_found_by_the_owners_own_name_for_it(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL, uid="shop-1")
    other = await service.endpoint(merchant.partner_key, URL)
    assert (made["uid"], other["uid"]) == ("shop-1", None)
    found = await service.send("GET", "/endpoints?uid=shop-1", merchant.partner_key)
    assert [each["id"] for each in found.data] == [made["id"]]
    taken = await service.send("POST", "/endpoints", merchant.partner_key, {"url": URL, "uid": "shop-1"})
    changed = await service.send("PATCH", f"/endpoints/{other['id']}", merchant.partner_key, {"uid": "shop-1"})
    for refused in (taken, changed):
        assert (refused.status, refused.body["code"], list(refused.body["errors"])) == (409, "uid_taken", ["uid"])
    # The program's own endpoints have names of their own, and the name of an archived or deleted one is free again.
    assert (await service.endpoint(merchant.program_key, URL, uid="shop-1"))["partner_id"] is None
    await service.send("PATCH", f"/endpoints/{made['id']}", merchant.partner_key, {"uid": None})
    again = await service.send("PATCH", f"/endpoints/{other['id']}", merchant.partner_key, {"uid": "shop-1"})
    assert (again.status, again.data["uid"]) == (200, "shop-1")
    await service.send("DELETE", f"/endpoints/{other['id']}", merchant.partner_key)
    assert (await service.endpoint(merchant.partner_key, URL, uid="shop-1"))["uid"] == "shop-1"


async def test_of_endpoints_made_at_once_with_one_name_there_is_one(service: Service, merchant: Merchant) -> None:
    replies = await asyncio.gather(
        *(service.send("POST", "/endpoints", merchant.partner_key, {"url": URL, "uid": "shop"}) for _ in range(8))
    )
    assert sorted(reply.status for reply in replies) == [201] + [409] * 7


async def test_a_change_meant_for_another_version_is_refused(service: Service, merchant: Merchant) -> None:
    created = await service.send("POST", "/endpoints", merchant.partner_key, {"url": URL})
    path = f"/endpoints/{created.data['id']}"
    read = await service.send("GET", path, merchant.partner_key)
    assert read.headers["ETag"] == created.headers["ETag"]
    replies = await asyncio.gather(
        *(
            service.send("PATCH", path, merchant.partner_key, {"description": str(n)}, if_match=read.headers["ETag"])
            for n in range(8)
        )
    )
    assert sorted(reply.status for reply in replies) == [200] + [412] * 7
    (won,) = (reply for reply in replies if reply.status == 200)
    assert {reply.body["code"] for reply in replies if reply.status == 412} == {"precondition_failed"}
    after = await service.send("GET", path, merchant.partner_key)
    assert (after.data, after.headers["ETag"]) == (won.data, won.headers["ETag"])
    for stale in (read.headers["ETag"], f"W/{won.headers['ETag']}", '"nonsense"', "3"):
        assert (await service.send("DELETE", path, merchant.partner_key, if_match=stale)).status == 412
    for fresh in (f'"0", {won.headers["ETag"]}', "*", None):
        assert (await service.send("PATCH", path, merchant.partner_key, {}, if_match=fresh)).status == 200
    latest = (await service.send("GET", path, merchant.partner_key)).headers["ETag"]
    assert (await service.send("DELETE", path, merchant.partner_key, if_match=latest)).status == 200


async def test_a_rotation_is_a_new_version(service: Service, merchant: Merchant) -> None:
    created = await service.send("POST", "/endpoints", merchant.partner_key, {"url": URL})
    path = f"/endpoints/{created.data['id']}"
    await service.send("POST", f"{path}/keys/rotate", merchant.partner_key, {})
    stale = await service.send(
        "PATCH", path, merchant.partner_key, {"description": "x"}, if_match=created.headers["ETag"]
    )
    assert stale.status == 412


async def test_each_answer_to_a_change_has_the_new_state_and_its_etag(service: Service, merchant: Merchant) -> None:
    """With an old state or ETag the client's next change would be refused with 412, or overwrite blindly."""
    key = merchant.partner_key
    created = await service.send("POST", "/endpoints", key, {"url": URL, "signing": "both"})
    path, tag = f"/endpoints/{created.data['id']}", created.headers["ETag"]
    doors: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"description": "x"}),
        ("PATCH", path, {"status": "paused", "url": f"{URL}2"}),
        ("POST", f"{path}/resume", None),
        ("POST", f"{path}/pause", {}),
        ("POST", f"{path}/disable", None),
        ("POST", f"{path}/enable", None),
        ("POST", f"{path}/keys/rotate", {"algorithm": "hmac"}),
        ("POST", f"{path}/keys/rotate", {}),
    ]
    for method, door, body in doors:
        service.clock.advance(seconds=1)
        stale = await service.send(method, door, key, body, if_match='"0"')
        assert (stale.status, stale.body["code"]) == (412, "precondition_failed"), door
        assert (await service.send("GET", path, key)).headers["ETag"] == tag, door
        answer = await service.send(method, door, key, body, if_match=tag)
        assert answer.status in (200, 201), (door, answer.body)
        assert answer.headers["ETag"] != tag
        tag = answer.headers["ETag"]
        read = await service.send("GET", path, key)
        assert (read.headers["ETag"], read.data) == (tag, {name: answer.data[name] for name in read.data}), door
    oldest = (await service.send("GET", f"{path}/keys", key)).data[-1]["id"]
    assert (await service.send("DELETE", f"{path}/keys/{oldest}", key, if_match='"1"')).status == 412
    revoked = await service.send("DELETE", f"{path}/keys/{oldest}", key, if_match=tag)
    assert (await service.send("GET", path, key)).headers["ETag"] == revoked.headers["ETag"] != tag
    archived = await service.send("DELETE", path, key, if_match=revoked.headers["ETag"])
    assert archived.status == 200
    assert archived.headers["ETag"] not in (tag, revoked.headers["ETag"])


async def test_what_became_of_deliveries_is_summed_up(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url)
    path = f"/endpoints/{made['id']}/stats"
    empty = await service.send("GET", path, merchant.partner_key)
    assert (empty.data["success_rate"], empty.data["duration_ms"], empty.data["attempts"]) == (None, None, {})
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await service.settled(3)
    receiver.status = 410
    await service.consume(code_redeemed(merchant, "LAST"))
    await service.settled(1, "dead")
    await service.attempted(4)
    found = (await service.send("GET", path, merchant.partner_key)).data
    ended = {"succeeded": 3, "failed": 0, "dead": 1, "canceled": 0}
    assert found["deliveries"] == {"pending": 0, "in_flight": 0, "paused": 0, **ended}
    assert (found["attempts"], found["success_rate"], found["is_whole"]) == ({"2xx": 3, "4xx": 1}, 0.75, True)
    assert 0 <= found["duration_ms"]["p50"] <= found["duration_ms"]["p95"] <= found["duration_ms"]["p99"]
    earlier = await service.send("GET", f"{path}?until=2020-01-02T00:00:00Z", merchant.partner_key)
    assert (earlier.data["since"], earlier.data["attempts"]) == ("2020-01-01T00:00:00.000000Z", {})
    refused = await service.send("GET", f"{path}?since=2999-01-01T00:00:00Z", merchant.partner_key)
    assert (refused.status, list(refused.body["errors"])) == (422, ["since"])
    monkeypatch.setattr("services.webhooks.store.stats.LOOKED_AT", 2)
    newest = (await service.send("GET", path, merchant.partner_key)).data
    assert (newest["is_whole"], newest["attempts"]) == (False, {"2xx": 1, "4xx": 1})
    assert newest["since"] > found["since"]


async def test_an_archived_endpoint_is_gone(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    path = f"/endpoints/{made['id']}"
    assert (await service.send("DELETE", path, merchant.partner_key)).status == 200
    assert (await service.send("DELETE", path, merchant.partner_key)).status == 404
    assert (await service.send("GET", path, merchant.partner_key)).status == 404
    assert (await service.send("GET", "/endpoints", merchant.partner_key)).data == []


async def test_lists_are_paged_and_filtered(service: Service, merchant: Merchant) -> None:
    made = [await service.endpoint(merchant.partner_key, URL) for _ in range(5)]
    await service.send("PATCH", f"/endpoints/{made[0]['id']}", merchant.partner_key, {"status": "paused"})
    first = await service.send("GET", "/endpoints?limit=3", merchant.partner_key)
    rest = await service.send(
        "GET", f"/endpoints?limit=3&cursor={first.body['meta']['next_cursor']}", merchant.partner_key
    )
    listed = [each["id"] for each in first.data + rest.data]
    assert listed == [each["id"] for each in reversed(made)]
    assert rest.body["meta"]["next_cursor"] is None
    paused = await service.send("GET", "/endpoints?status=paused", merchant.partner_key)
    assert [each["id"] for each in paused.data] == [made[0]["id"]]


async def test_a_program_sees_its_partners_endpoints_and_a_partner_only_its_own(
    service: Service, merchant: Merchant
) -> None:
    own = await service.endpoint(merchant.program_key, URL)
    partners = await service.endpoint(merchant.program_key, URL, partner_id=str(merchant.partner_id))
    assert (own["partner_id"], partners["partner_id"]) == (None, str(merchant.partner_id))
    by_program = await service.send("GET", "/endpoints", merchant.program_key)
    assert [each["id"] for each in by_program.data] == [partners["id"], own["id"]]
    by_partner = await service.send("GET", "/endpoints", merchant.partner_key)
    assert [each["id"] for each in by_partner.data] == [partners["id"]]
    unknown = await service.send("POST", "/endpoints", merchant.program_key, {"url": URL, "partner_id": str(new_id())})
    assert (unknown.status, list(unknown.body["errors"])) == (422, ["partner_id"])


async def test_a_foreign_endpoint_answers_exactly_like_a_missing_one(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    stranger = await make_merchant(service.admin, service.clock())
    requests: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"status": "paused"}),
        ("DELETE", "", None),
        ("POST", "/test", None),
        ("GET", "/stats", None),
        ("POST", "/keys/rotate", {}),
    ]
    for key in (stranger.partner_key, stranger.program_key):
        for method, tail, body in requests:
            for endpoint_id in (made["id"], new_id()):
                reply = await service.send(method, f"/endpoints/{endpoint_id}{tail}", key, body)
                del reply.body["request_id"]
                said = f"There is no endpoint with id {endpoint_id}."
                expected = {"type": "urn:mintwire:problem:not_found", "title": "Not found", "code": "not_found"}
                assert (reply.status, reply.body) == (404, expected | {"detail": said, "message": said})
    assert (await service.send("GET", f"/endpoints/{made['id']}", merchant.partner_key)).data["status"] == "active"


async def test_keys_are_needed_and_either_header_carries_them(service: Service, merchant: Merchant) -> None:
    assert (await service.send("GET", "/endpoints", None)).status == 401
    headers = {"X-Partner-Key": merchant.partner_key}
    async with service.http.get("/v1/webhooks/endpoints", headers=headers) as response:
        assert response.status == 200


async def test_one_idempotency_key_makes_one_endpoint(service: Service, merchant: Merchant) -> None:
    body = {"url": URL, "event_types": ["*"]}
    first = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="one")
    again = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="one")
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await service.send("POST", "/endpoints", merchant.partner_key, {"url": URL}, idempotency="one")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    assert len((await service.send("GET", "/endpoints", merchant.partner_key)).data) == 1
    kept = await service.query("SELECT body FROM webhooks.idempotency_keys")
    assert first.data["secret"].encode() not in kept[0]["body"]


async def test_a_kept_secret_is_given_to_the_key_that_asked_alone(service: Service, merchant: Merchant) -> None:
    """A secret is shown once; another key of the same owner that repeats the request must not read it."""
    body = {"url": URL, "event_types": ["code.redeemed"]}
    first = await service.send("POST", "/endpoints", merchant.partner_key, body, idempotency="one")
    program_id, partner_id = merchant.program_id, merchant.partner_id
    other = await make_key(service.admin, program_id, partner_id, ["webhooks"], service.clock(), "other")
    again = await service.send("POST", "/endpoints", other, body, idempotency="one")
    assert again.status == 201
    assert again.data["secret"] != first.data["secret"]


async def test_at_most_ten_keys_are_alive(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    path = f"/endpoints/{made['id']}/keys/rotate"
    for _ in range(9):
        assert (await service.send("POST", path, merchant.partner_key)).status == 201
    refused = await service.send("POST", path, merchant.partner_key)
    assert (refused.status, refused.body["code"]) == (409, "too_many_keys")
    at_once = await service.send("POST", path, merchant.partner_key, {"grace_period_seconds": 0})
    assert at_once.status == 201
    assert at_once.data["secret"] != made["secret"]


async def test_the_test_event_is_sent_now_and_answered_with_the_attempt(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    made = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    sent = await service.send("POST", f"/endpoints/{made['id']}/test", merchant.partner_key)
    assert sent.status == 200
    assert (sent.data["outcome"], sent.data["status"], sent.data["trigger"]) == ("succeeded", 204, "test")
    receiver.posts[0].verify(made["secret"])
    stamp = service.clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert receiver.posts[0].body.decode() == (
        f'{{"event":"test","partner_id":"{merchant.partner_id}","timestamp":"{stamp}",'
        '"message":"Test webhook from CinematicCard"}'
    )
    shown = await service.send("GET", f"/deliveries/{sent.data['delivery_id']}", merchant.partner_key)
    assert (shown.data["status"], shown.data["event_type"], shown.data["attempts_made"]) == ("succeeded", "test", 1)
    assert shown.data["attempts"] == [sent.data]


async def test_a_failed_test_is_an_answer_and_neither_retried_nor_dead(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.program_key, "https://no-such-name.invalid.example.com/")
    sent = await service.send("POST", f"/endpoints/{made['id']}/test", merchant.program_key)
    assert (sent.status, sent.data["outcome"], sent.data["error_code"]) == (200, "failed", "blocked_address")
    assert sent.data["error"] == "address not allowed or not resolvable"
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []
    assert (await service.send("GET", "/dead-letters", merchant.program_key)).data == []
