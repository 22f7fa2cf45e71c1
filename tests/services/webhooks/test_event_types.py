"""Event types chosen by name, by group and all at once: which endpoints get which, and what the lists show."""

import asyncio
import json
from typing import Any

import pytest

from services.webhooks.domain.errors import InvalidField
from services.webhooks.domain.event_types import check_event_types, choices_with, subscribes
from services.webhooks.usecases.subscribable import PARTNER_TYPES, PROGRAM_TYPES
from shared.events.codes import CodesGeneratedV1, QuotaLowV1
from shared.events.envelope import OutboxEvent
from shared.events.webhooks import WebhookDeliveryDeadV1
from shared.ids import new_id
from tests.services.webhooks.conftest import DEADLINE_SECONDS, Merchant, Service, code_redeemed
from tests.services.webhooks.receiver import Receiver

URL = "https://example.com/hooks"


def codes_generated(merchant: Merchant, service: Service) -> OutboxEvent:
    data = CodesGeneratedV1(
        program_id=merchant.program_id,
        partner_id=merchant.partner_id,
        coupon_id=new_id(),
        codes=["ACME-1A0A48C0"],
        code_ids=[new_id()],
        expires_at=service.clock(),
        codes_remaining=7,
    )
    return data.to_event(new_id(), service.clock())


def quota_low(merchant: Merchant, service: Service) -> OutboxEvent:
    data = QuotaLowV1(program_id=merchant.program_id, partner_id=merchant.partner_id, codes_remaining=7, threshold=10)
    return data.to_event(new_id(), service.clock())


def delivery_dead(merchant: Merchant, service: Service) -> OutboxEvent:
    data = WebhookDeliveryDeadV1(
        program_id=merchant.program_id,
        partner_id=merchant.partner_id,
        delivery_id=new_id(),
        endpoint_id=new_id(),
        message_id="msg_1",
        event_type="code.redeemed",
        reason="expired",
        attempts=1,
        last_status=None,
        died_at=service.clock(),
    )
    return data.to_event(new_id(), service.clock())


@pytest.mark.parametrize(
    ("chosen", "event_type", "is_had"),
    [
        ("code.*", "code.redeemed", True),
        ("code.*", "codes.generated", False),
        ("code.*", "code", False),
        ("custom.*", "custom.card.sent", True),
        ("custom.card.*", "custom.card.sent", True),
        ("custom.card.*", "custom.cards.sent", False),
        ("custom.card", "custom.card.sent", False),
        ("*", "custom.card.sent", True),
        ("*", "webhook.recovered", False),
        ("webhook.*", "webhook.recovered", True),
    ],
)
def test_a_group_has_what_begins_with_its_words(chosen: str, event_type: str, is_had: bool) -> None:
    assert subscribes([chosen], event_type) == is_had
    assert (chosen in choices_with(event_type)) == is_had


@pytest.mark.parametrize(
    "chosen",
    [
        *("", ".*", "**", "code", "code.", "code*", "code.redeem*", "*.redeemed", "code.*.*", "no.*", "code.redemed"),
        *("custom", "custom.", "custom.Sent", "custom.a..b", "custom.a.*.*", "custom." + "a" * 41, "custom.é"),
    ],
)
def test_what_no_event_could_ever_be_is_refused(chosen: str) -> None:
    with pytest.raises(InvalidField, match=r"must be \*, a group"):
        check_event_types([chosen], PROGRAM_TYPES)


def test_partners_choose_among_their_own_types() -> None:
    """A group without types for partners is most likely a mistake."""
    ours = {name.partition(".")[0] for name in PROGRAM_TYPES - {"test"}}
    for word in ours:
        group = f"{word}.*"
        assert check_event_types([group, group], PROGRAM_TYPES) == (group,)
        if any(name.startswith(f"{word}.") for name in PARTNER_TYPES):
            check_event_types([group], PARTNER_TYPES)
        else:
            with pytest.raises(InvalidField):
                check_event_types([group], PARTNER_TYPES)


async def test_an_endpoint_gets_the_types_of_its_groups(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Reports about deliveries belong to their own group only."""
    key = merchant.partner_key
    for chosen in (["code.*"], ["codes.*", "quota.low"], ["*"], ["webhook.*"]):
        made = await service.endpoint(key, receiver.url, event_types=chosen, format="standard")
        assert made["event_types"] == chosen
    await service.consume(
        code_redeemed(merchant),
        codes_generated(merchant, service),
        quota_low(merchant, service),
        delivery_dead(merchant, service),
    )
    await service.settled(7)
    got = sorted(json.loads(post.body)["type"] for post in receiver.posts)
    assert got == [*["code.redeemed"] * 2, *["codes.generated"] * 2, *["quota.low"] * 2, "webhook.delivery_dead"]


async def test_endpoints_are_found_by_a_type_that_they_get(service: Service, merchant: Merchant) -> None:
    key = merchant.program_key
    for chosen in ("code.*", "code.redeemed", "*", "webhook.*"):
        await service.endpoint(key, URL, event_types=[chosen])
    for event_type, expected in (
        ("code.redeemed", ["*", "code.*", "code.redeemed"]),
        ("codes.generated", ["*"]),
        ("webhook.recovered", ["webhook.*"]),
    ):
        found = await service.pages("/endpoints", key, f"&event_type={event_type}")
        assert sorted(each["event_types"][0] for each in found) == expected


async def test_a_group_can_be_changed_to_and_a_wrong_one_names_the_field(service: Service, merchant: Merchant) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    path = f"/endpoints/{made['id']}"
    changed = await service.send("PATCH", path, merchant.partner_key, {"event_types": ["code.*", "custom.*"]})
    assert (changed.status, changed.data["event_types"]) == (200, ["code.*", "custom.*"])
    refused = await service.send("PATCH", path, merchant.partner_key, {"event_types": ["cod.*"]})
    assert (refused.status, list(refused.body["errors"])) == (422, ["event_types"])
    opened = await service.send("POST", "/listeners", merchant.partner_key, {"event_types": ["cod.*"]})
    assert (opened.status, list(opened.body["errors"])) == (422, ["event_types"])


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("code.*", ["code.redeemed"]),
        ("codes.*", ["codes.generated"]),
        ("quota.low", ["quota.low"]),
        ("quota_low", []),
        ("%25", []),
        ("*", []),
        ("%5C", []),
    ],
)
async def test_lists_are_filtered_by_groups(
    service: Service, merchant: Merchant, chosen: str, expected: list[str]
) -> None:
    """And not by anything else that the database would accept as a pattern."""
    key = merchant.partner_key
    await service.endpoint(key, URL, event_types=["*"], status="paused")
    await service.consume(code_redeemed(merchant), codes_generated(merchant, service), quota_low(merchant, service))
    for path in ("/deliveries", "/messages"):
        found = await service.pages(path, key, f"&event_type={chosen}")
        assert [each["event_type"] for each in found] == expected, path
    found = await service.pages("/deliveries", key, f"&event_type={chosen}&status=paused")
    assert [each["event_type"] for each in found] == expected


async def test_dead_letters_and_replays_are_chosen_by_groups(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    made = await service.endpoint(key, receiver.url, event_types=["*"], format="standard")
    receiver.headers, receiver.status = {"webhook-delivery": "abort-message"}, 400
    await service.consume(code_redeemed(merchant), codes_generated(merchant, service), quota_low(merchant, service))
    await service.settled(3, "dead")
    receiver.headers, receiver.status = {}, 204
    found = await service.pages("/dead-letters", key, "&event_type=quota.*")
    assert [each["event_type"] for each in found] == ["quota.low"]
    again = await service.send("POST", "/dead-letters/replay", key, {"event_type": "codes.*"})
    assert again.data == {"replayed": 1, "is_whole": True}
    purged = await service.send("POST", "/dead-letters/purge", key, {"event_type": "quota.*"})
    assert purged.data == {"purged": 1, "is_whole": True}
    await service.settled(1)
    service.clock.advance(minutes=1)
    body = {"endpoint_id": made["id"], "which": "failed", "since": "2020-01-01T00:00:00Z", "event_types": ["code.*"]}
    assert (await service.send("POST", "/replays", key, body)).status == 202
    await service.settled(2)
    assert [json.loads(post.body)["type"] for post in receiver.posts[3:]] == ["codes.generated", "code.redeemed"]


async def test_what_was_missed_of_a_group_is_sent_and_nothing_else(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """One endpoint created the messages that the other, disabled one has missed."""
    key = merchant.partner_key
    await service.endpoint(key, URL, event_types=["*"], status="paused")
    made = await service.endpoint(key, receiver.url, event_types=["code.*", "quota.*"], status="disabled")
    await service.consume(code_redeemed(merchant), codes_generated(merchant, service), quota_low(merchant, service))
    service.clock.advance(minutes=1)
    assert (await service.send("POST", f"/endpoints/{made['id']}/enable", key)).status == 200
    body = {"endpoint_id": made["id"], "which": "missing", "since": "2020-01-01T00:00:00Z"}
    for event_types, total in ((["quota.*", "codes.*"], 1), (None, 2)):
        chosen = body if event_types is None else body | {"event_types": event_types}
        assert (await service.send("POST", "/replays", key, chosen)).status == 202
        await service.settled(total)
    assert [json.loads(post.body)["event"] for post in receiver.posts] == ["quota.low", "code.redeemed"]


@pytest.mark.parametrize("format_", ["flat", "standard", "thin", "cloudevents"])
@pytest.mark.parametrize("by_partner", [True, False])
async def test_a_test_can_be_the_example_of_any_type(
    service: Service, merchant: Merchant, receiver: Receiver, format_: str, by_partner: bool
) -> None:
    key = merchant.partner_key if by_partner else merchant.program_key
    made = await service.endpoint(key, receiver.url, event_types=["quota.low"], format=format_)
    path = f"/endpoints/{made['id']}/test"
    for described in (await service.send("GET", "/event-types", key)).data:
        receiver.posts.clear()
        tried = await service.send("POST", path, key, {"event_type": described["name"]})
        assert (tried.status, tried.data["outcome"], tried.data["trigger"]) == (200, "succeeded", "test")
        [post] = receiver.posts
        post.verify(made["secret"])
        body, expected = json.loads(post.body), described["bodies"][format_]
        # A test has no number.
        assert list(body) == [name for name in expected if name != "sequence" or format_ == "flat"]
        assert ("sequence" in expected) == (format_ != "flat" and described["name"] != "test")
        assert body.get("event", body.get("type")) == described["name"]
        if format_ == "flat":
            assert body["partner_id"] == (str(merchant.partner_id) if by_partner else None)
        elif format_ != "thin" and described["name"] != "test":
            assert body["data"]["program_id"] == str(merchant.program_id)


async def ended(service: Service, key: str) -> list[Any]:
    """Wait for the end of all replays and return them."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found: list[Any] = (await service.send("GET", "/replays", key)).data
            if all(each["status"] == "completed" for each in found):
                return found
            await asyncio.sleep(0.02)


async def test_the_example_of_a_type_is_recorded_as_a_test_and_sent_to_nobody_else(
    service: Service, merchant: Merchant, receiver: Receiver, second_receiver: Receiver
) -> None:
    key = merchant.partner_key
    made = await service.endpoint(key, receiver.url)
    other = await service.endpoint(key, second_receiver.url)
    tried = await service.send("POST", f"/endpoints/{made['id']}/test", key, {"event_type": "code.redeemed"})
    [delivery] = (await service.send("GET", "/deliveries", key)).data
    assert (delivery["id"], delivery["event_type"]) == (tried.data["delivery_id"], "test")
    resent = await service.send("POST", f"/messages/{delivery['message_id']}/resend", key)
    assert (resent.status, resent.body["code"]) == (409, "message_not_resendable")
    service.clock.advance(minutes=1)
    for endpoint, which in ((made, "all"), (other, "missing")):
        body = {"endpoint_id": endpoint["id"], "which": which, "since": "2020-01-01T00:00:00Z"}
        await service.send("POST", "/replays", key, body)
    assert [each["matched"] for each in await ended(service, key)] == [0, 0]
    assert (len(receiver.posts), second_receiver.posts) == (1, [])


@pytest.mark.parametrize("event_type", ["no.such", "code.*", "*", "custom.card.sent", ""])
async def test_a_test_of_no_type_of_the_catalogue_is_refused(
    service: Service, merchant: Merchant, event_type: str
) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    path = f"/endpoints/{made['id']}/test"
    refused = await service.send("POST", path, merchant.partner_key, {"event_type": event_type})
    assert (refused.status, list(refused.body["errors"])) == (422, ["event_type"])


async def test_a_partners_endpoint_is_tried_with_types_for_partners_only(service: Service, merchant: Merchant) -> None:
    only_ours = sorted(PROGRAM_TYPES - PARTNER_TYPES)
    assert only_ours
    made = await service.endpoint(merchant.partner_key, URL)
    path = f"/endpoints/{made['id']}/test"
    refused = await service.send("POST", path, merchant.program_key, {"event_type": only_ours[0]})
    assert (refused.status, list(refused.body["errors"])) == (422, ["event_type"])
