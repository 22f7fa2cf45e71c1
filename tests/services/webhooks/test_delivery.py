"""From an incoming event to an outgoing signed webhook, with retries, rests, pauses and ends."""

import json

import pytest
from aiohttp import web

from services.webhooks.domain.schedule import STEPS
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import OutboxEvent
from shared.ids import new_id
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_merchant, received, until
from tests.services.webhooks.receiver import Post, Receiver


async def test_a_redeemed_code_reaches_the_partner_signed_with_exactly_the_documented_body(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Partners parse exactly this body; any other member, order or signature breaks their receivers."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    assert await service.consume(code_redeemed(merchant)) == [None]
    await until(lambda: receiver.posts)
    post = receiver.posts[0]
    post.verify(endpoint["secret"])
    assert post.body.decode() == (
        f'{{"event":"code.redeemed","partner_id":"{merchant.partner_id}","code":"ACME-1A0A48C0","card_id":"a1b2c3d4",'
        '"recipient_name":"Zoë","occasion":"mother","timestamp":"2026-03-16T20:15:00.000Z","codes_remaining":49823}'
    )
    assert post.headers["Content-Type"] == "application/json"
    await service.settled(1)
    stored = await service.query("SELECT body FROM webhooks.messages")
    assert stored[0]["body"] == post.body
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []


async def test_an_event_that_comes_again_is_not_sent_again(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """The broker delivers at least once; a partner would book a redemption twice."""
    await service.endpoint(merchant.partner_key, receiver.url)
    event = code_redeemed(merchant)
    assert await service.consume(event, event) == [None, None]
    assert await service.consume(event) == [None]
    await service.settled(1)
    assert len(await service.query("SELECT * FROM webhooks.deliveries")) == 1
    assert len(receiver.posts) == 1


async def test_the_same_id_with_another_body_is_rejected(service: Service, merchant: Merchant) -> None:
    event = code_redeemed(merchant)
    forged = OutboxEvent(event.id, event.type, event.body.replace(b"49823", b"1"))
    outcomes = [*await service.consume(event), *await service.consume(forged)]
    assert outcomes[0] is None
    assert outcomes[1] is not None
    assert outcomes[1].reason == "event_id_conflict"


@pytest.mark.parametrize(
    ("find", "replace", "reason"),
    [
        (b"{", b"", "invalid_json"),
        (b'"1.0"', b'"0.3"', "unsupported_version"),
        (b"code.redeemed:1", b"code.redeemed:2", "unsupported_version"),
        (b'"program_id":', b'"programme":', "invalid_data"),
        (b'"attributes":{', b'"attributes":5,"x":{', "invalid_data"),
        (b'"data":', b'"date":', "invalid_envelope"),
    ],
)
async def test_what_cannot_be_understood_is_rejected_alone(
    service: Service, merchant: Merchant, receiver: Receiver, find: bytes, replace: bytes, reason: str
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    good, bad = code_redeemed(merchant), code_redeemed(merchant)
    broken = OutboxEvent(bad.id, bad.type, bad.body.replace(find, replace, 1))
    outcomes = await service.consumer([received(broken), received(good)])
    assert outcomes[0] is not None
    assert outcomes[0].reason == reason
    assert outcomes[1] is None
    await service.settled(1)


async def test_events_reach_the_endpoints_of_the_partner_and_of_the_program_and_nobody_else(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    """Any other endpoint would learn another tenant's sales."""
    stranger = await make_merchant(service.admin, service.clock())
    await service.endpoint(stranger.partner_key, second_receiver.url, event_types=["*"])
    await service.endpoint(stranger.program_key, second_receiver.url, event_types=["*"])
    await service.endpoint(merchant.partner_key, second_receiver.url, event_types=["codes.generated"])
    own = await service.endpoint(merchant.program_key, receiver.url, event_types=["*"])
    partners = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant), code_redeemed(merchant, "OWN", partner_id=None))
    await service.settled(3)
    by_code = sorted((json.loads(post.body)["code"], json.loads(post.body)["partner_id"]) for post in receiver.posts)
    assert by_code == sorted([*[("ACME-1A0A48C0", str(merchant.partner_id))] * 2, ("OWN", None)])
    assert second_receiver.posts == []
    ids = {post.id for post in receiver.posts if b"ACME" in post.body}
    assert len(ids) == 1
    deliveries = await service.query("SELECT endpoint_id, count(*) FROM webhooks.deliveries GROUP BY 1")
    assert {str(row["endpoint_id"]): row["count"] for row in deliveries} == {own["id"]: 2, partners["id"]: 1}


async def test_an_event_that_nobody_wants_costs_its_inbox_row_only(service: Service, merchant: Merchant) -> None:
    await service.consume(code_redeemed(merchant))
    assert len(await service.query("SELECT * FROM webhooks.inbox")) == 1
    for table in ("messages", "deliveries", "delivery_queue"):
        assert await service.query(f"SELECT * FROM webhooks.{table}") == []  # noqa: S608 - three known names


async def test_other_events_are_flat_too(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await service.endpoint(merchant.partner_key, receiver.url, event_types=["*"])
    data = CodesGeneratedV1(
        program_id=merchant.program_id,
        partner_id=merchant.partner_id,
        coupon_id=new_id(),
        codes=["ACME-1"],
        code_ids=[new_id()],
        expires_at=service.clock(),
        codes_remaining=7,
    )
    await service.consume(data.to_event(new_id(), service.clock()))
    await until(lambda: receiver.posts)
    body = json.loads(receiver.posts[0].body)
    assert list(body)[:2] == ["event", "partner_id"]
    assert (body["event"], body["codes"], body["codes_remaining"]) == ("codes.generated", ["ACME-1"], 7)
    assert list(body)[-1] == "timestamp"


async def test_a_failure_is_tried_again_as_the_same_message(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    listed = await service.send("GET", "/deliveries?status=pending", merchant.partner_key)
    assert (listed.data[0]["attempts_made"], listed.data[0]["last_status"]) == (1, 500)
    assert listed.data[0]["next_attempt_at"] is not None
    receiver.status = 200
    service.clock.advance(seconds=7)
    await service.settled(1)
    first, second = receiver.posts
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) in {7, 8}
    second.verify(endpoint["secret"])
    shown = await service.send("GET", f"/deliveries/{listed.data[0]['id']}", merchant.partner_key)
    assert [(a["number"], a["status"], a["outcome"]) for a in shown.data["attempts"]] == [
        (1, 500, "failed"),
        (2, 200, "succeeded"),
    ]
    assert shown.data["body"] == second.body.decode()


async def test_after_ten_attempts_it_is_a_dead_letter_and_said_so_once(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    for attempt in range(1, 10):
        await service.attempted(attempt)
        service.clock.advance(seconds=1.2 * STEPS[attempt] + 1)
    await service.settled(1, "dead")
    assert len(receiver.posts) == 10
    assert len({post.id for post in receiver.posts}) == 1
    letters = (await service.send("GET", "/dead-letters", merchant.partner_key)).data
    assert [(letter["reason"], letter["attempts_made"]) for letter in letters] == [("attempts_exhausted", 10)]
    await service.said(3)
    said = service.events("webhook.delivery_dead")
    assert len(said) == 1
    assert (said[0]["delivery_id"], said[0]["endpoint_id"]) == (letters[0]["id"], endpoint["id"])
    assert (said[0]["attempts"], said[0]["last_status"], said[0]["event_type"]) == (10, 500, "code.redeemed")
    # The fourth failure and three days without a success each emit an event; all wait for the relay.
    expected = ["webhook.delivery_failing", "webhook.endpoint_failing", "webhook.delivery_dead"]
    assert [event.type for event in service.handed_over] == expected
    stored = await service.query("SELECT e.type FROM webhooks.outbox o JOIN webhooks.events e ON e.id = o.event_id")
    assert sorted(row["type"] for row in stored) == sorted(["webhook.endpoint_created", *expected])


async def test_a_delivery_ends_after_96_hours_even_while_its_endpoint_is_paused(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    # Ids contain the real time, which has moved on since the clock was stopped.
    service.clock.advance(hours=96, minutes=5)
    await service.settled(1, "dead")
    letters = (await service.send("GET", "/dead-letters", merchant.partner_key)).data
    assert [(each["reason"], each["attempts_made"]) for each in letters] == [("expired", 0)]
    assert receiver.posts == []
    assert endpoint["status"] == "paused"


async def test_gone_disables_the_endpoint_and_says_so(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    watching = await service.endpoint(
        merchant.program_key, second_receiver.url, event_types=["webhook.endpoint_disabled", "webhook.delivery_dead"]
    )
    receiver.status = 410
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    shown = await service.send("GET", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    assert (shown.data["status"], shown.data["disabled_reason"]) == ("disabled", "gone")
    await service.consume(code_redeemed(merchant))
    assert len(receiver.posts) == 1
    assert len(await service.query("SELECT * FROM webhooks.deliveries")) == 1
    await service.consume(*await service.said(2))
    await until(lambda: len(second_receiver.posts) == 2)
    for post in second_receiver.posts:
        post.verify(watching["secret"])
    assert {json.loads(post.body)["event"] for post in second_receiver.posts} == {
        "webhook.endpoint_disabled",
        "webhook.delivery_dead",
    }
    revived = await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "active"})
    assert (revived.data["status"], revived.data["disabled_reason"]) == ("active", None)


async def test_what_was_pending_for_a_disabled_endpoint_becomes_a_dead_letter(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    receiver.status = 410
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    service.clock.advance(seconds=7)
    await service.settled(2, "dead")
    letters = (await service.send("GET", "/dead-letters", merchant.partner_key)).data
    assert {letter["reason"] for letter in letters} == {"endpoint_gone", "endpoint_disabled"}
    assert len(receiver.posts) == 2


async def test_a_failing_report_makes_no_further_report(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    """Two endpoints that report on each other would produce events without end."""
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.endpoint(
        merchant.program_key, second_receiver.url, event_types=["webhook.delivery_dead", "webhook.endpoint_disabled"]
    )
    receiver.status = second_receiver.status = 410
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    said = await service.said(2)
    await service.consume(*said)
    await service.settled(3, "dead")
    assert service.handed_over == said


async def test_an_overloaded_endpoint_rests_as_a_whole_and_no_attempt_is_burnt(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Each waiting delivery would use up its attempts against a receiver that asked for a pause."""
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status, receiver.headers = 429, {"Retry-After": "3600"}
    await service.consume(code_redeemed(merchant, "A"))
    await service.attempted(1)
    receiver.status, receiver.headers = 204, {}
    await service.consume(code_redeemed(merchant, "B"))
    service.clock.advance(minutes=59)
    await service.stays_idle()
    assert len(receiver.posts) == 1
    service.clock.advance(minutes=2)
    await service.settled(2)
    rows = await service.query("SELECT attempts_made FROM webhooks.deliveries ORDER BY 1")
    assert [row["attempts_made"] for row in rows] == [1, 2]


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_jumps_loses_nothing(
    service: Service, merchant: Merchant, receiver: Receiver, hours: int
) -> None:
    """New deliveries are still sent at once; scheduled ones when the clock says so, and once."""
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant, "OLD"))
    await service.attempted(1)
    receiver.status = 204
    service.clock.advance(hours=hours)
    await service.consume(code_redeemed(merchant, "NEW"))
    await until(lambda: any(b"NEW" in post.body for post in receiver.posts))
    service.clock.advance(hours=max(0, -hours), seconds=7)
    await service.settled(2)
    assert len(receiver.posts) == 3


async def test_a_pause_holds_everything_back_and_a_resume_sends_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "paused"})
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
    await service.stays_idle()
    assert receiver.posts == []
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "active"})
    await service.settled(5)
    assert len(receiver.posts) == 5


async def test_a_pause_acts_before_the_next_send_of_what_is_already_held(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """A paused endpoint would still get everything that was already claimed."""
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    release = receiver.hang()
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(5)))
    await until(lambda: receiver.under_way == 1)
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "paused"})
    release.set()
    await service.settled(1)
    await service.stays_idle()
    assert len(receiver.posts) == 1
    receiver.answer = None
    await service.send("PATCH", f"/endpoints/{endpoint['id']}", merchant.partner_key, {"status": "active"})
    await service.settled(5)
    assert len(receiver.posts) == 5


async def test_archiving_cancels_what_is_pending(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status = 500
    await service.consume(*(code_redeemed(merchant, f"C{n}") for n in range(3)))
    await service.attempted(3)
    await service.send("DELETE", f"/endpoints/{endpoint['id']}", merchant.partner_key)
    await service.settled(3, "canceled")
    assert await service.query("SELECT * FROM webhooks.delivery_queue") == []
    assert await service.query("SELECT * FROM webhooks.dead_letters") == []
    listed = await service.send("GET", "/deliveries?status=canceled", merchant.partner_key)
    assert len(listed.data) == 3


async def test_work_that_slips_in_beside_an_archive_is_canceled_when_claimed(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    await service.query("UPDATE webhooks.endpoints SET archived_at = now(), version = version + 1")
    service.dispatcher.sending.wake()
    await service.settled(1, "canceled")
    assert receiver.posts == []
    assert endpoint["status"] == "paused"


async def test_during_the_grace_period_old_and_new_keys_verify(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    path = f"/endpoints/{endpoint['id']}/keys/rotate"
    rotated = await service.send("POST", path, merchant.partner_key, {"grace_period_seconds": 60})
    await service.consume(code_redeemed(merchant, "A"))
    await service.settled(1)
    receiver.posts[0].verify(endpoint["secret"])
    receiver.posts[0].verify(rotated.data["secret"])
    service.clock.advance(seconds=61)
    await service.consume(code_redeemed(merchant, "B"))
    await service.settled(2)
    receiver.posts[1].verify(rotated.data["secret"])
    assert len(receiver.posts[1].headers["webhook-signature"].split()) == 1


async def test_a_redirect_is_a_failure_and_is_not_followed(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.status, receiver.headers = 302, {"Location": second_receiver.url}
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    assert second_receiver.posts == []
    rows = await service.query("SELECT status FROM webhooks.attempts")
    assert rows[0]["status"] == 302


async def test_an_answer_is_kept_with_its_attempt(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    async def talk(_: Post) -> web.StreamResponse:
        return web.Response(status=400, body=b"no \x00\xff" + b"x" * 20_000)

    await service.endpoint(merchant.partner_key, receiver.url)
    receiver.answer = talk
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    rows = await service.query("SELECT response FROM webhooks.attempts")
    assert rows[0]["response"].startswith("no \ufffd\ufffdxx")
    assert len(rows[0]["response"]) == 16 * 1024


async def test_deliveries_belong_to_the_owner_of_their_endpoint(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    await service.endpoint(merchant.program_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    listed = (await service.send("GET", "/deliveries", merchant.program_key)).data
    assert len(listed) == 1
    assert (await service.send("GET", "/deliveries", merchant.partner_key)).data == []
    foreign = await service.send("GET", f"/deliveries/{listed[0]['id']}", merchant.partner_key)
    assert (foreign.status, foreign.body["code"]) == (404, "not_found")
