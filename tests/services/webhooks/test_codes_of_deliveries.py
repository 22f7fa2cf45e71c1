"""Deliveries are found by the promo code they are about, within each owner's own."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from services.webhooks.store import delivery_lists
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, make_merchant
from tests.services.webhooks.receiver import Receiver


async def of_code(service: Service, key: str, code: str, query: str = "", path: str = "/deliveries") -> list[Any]:
    return await service.pages(path, key, f"&code={code}{query}")


async def test_deliveries_are_found_by_code_in_any_spelling(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few rows are read for a page that most pages end before the list does.
    monkeypatch.setattr(delivery_lists, "SCANNED_PER_PAGE", 2)
    own = await service.endpoint(merchant.partner_key, receiver.url)
    programs = await service.endpoint(merchant.program_key, receiver.url)
    other = await make_merchant(service.admin, service.clock())
    await service.endpoint(other.partner_key, receiver.url)
    await service.consume(
        code_redeemed(merchant),
        code_redeemed(merchant, "ACME-OTHER"),
        code_redeemed(merchant, "acme1a0a48c0"),
        code_redeemed(other),
    )
    await service.settled(7)
    for spelling in ("ACME-1A0A48C0", "acme%201a0a%2048c0", "acme-ia0a48co"):
        found = await of_code(service, merchant.partner_key, spelling)
        assert [each["endpoint_id"] for each in found] == [own["id"]] * 2
    found = await of_code(service, merchant.program_key, "ACME-1A0A48C0")
    assert sorted(each["endpoint_id"] for each in found) == sorted([own["id"], programs["id"]] * 2)
    assert [each["id"] for each in found] == sorted((each["id"] for each in found), reverse=True)
    assert len(await of_code(service, other.program_key, "ACME-1A0A48C0")) == 1
    of_own = f"/endpoints/{own['id']}/deliveries"
    assert len(await of_code(service, merchant.program_key, "ACME-1A0A48C0", path=of_own)) == 2
    for query, count in (
        ("&status=succeeded", 4),
        ("&status=dead", 0),
        ("&event_type=code.*", 4),
        ("&event_type=quota.*", 0),
        (f"&message_id={found[0]['message_id']}", 2),
        (f"&endpoint_id={own['id']}&status=succeeded", 2),
    ):
        assert len(await of_code(service, merchant.program_key, "ACME-1A0A48C0", query)) == count, query
    assert not await of_code(service, merchant.program_key, "NOBODY")
    elsewhere = f"&message_id={found[0]['message_id']}"
    assert not await of_code(service, merchant.program_key, "ACME-OTHER", elsewhere)


@pytest.mark.parametrize(
    ("code", "typed"),
    [("10 % OFF", "１０%off"), ("Café & Straße!", "CAFÉ&STRASSE!"), ("#1–夏", "# I夏"), ("+5.5", "+5.5")],
)
async def test_codes_of_other_scripts_and_with_marks_are_found(
    service: Service, merchant: Merchant, receiver: Receiver, code: str, typed: str
) -> None:
    """The signed body has the code as displayed, and the filter must find it as typed."""
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant, code))
    await service.settled(1)
    assert json.loads(receiver.posts[0].body)["code"] == code
    for spelling in (code, typed):
        assert len(await of_code(service, merchant.partner_key, quote(spelling, safe=""))) == 1


async def test_what_waits_has_its_status_and_what_is_no_code_is_refused(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    [found] = await of_code(service, merchant.partner_key, "acme-1a0a48c0", "&status=paused")
    assert (found["endpoint_id"], found["status"]) == (endpoint["id"], "paused")
    assert not await of_code(service, merchant.partner_key, "acme-1a0a48c0", "&status=pending")
    for text in ("%20", "a%3Fb", "A" * 256):
        refused = await service.send("GET", f"/deliveries?code={text}", merchant.partner_key)
        assert (refused.status, list(refused.body["errors"])) == (422, ["code"]), text


async def test_what_is_sent_later_and_what_a_program_publishes_is_found_too(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.program_key
    first = await service.endpoint(key, receiver.url, event_types=["*"])
    published = await service.send(
        "POST", "/messages", key, {"event_type": "custom.card.sent", "payload": {"code": "acme 1a0a48c0"}}
    )
    assert published.status in (200, 201, 202), published.body
    for payload in ({"code": 1}, {"code": "no code?"}, {"codes": ["A", "B"]}):
        await service.send("POST", "/messages", key, {"event_type": "custom.card.sent", "payload": payload})
    await service.settled(4)
    late = await service.endpoint(key, receiver.url, event_types=["*"])
    await service.send("POST", f"/messages/{published.data['id']}/resend", key, {"endpoint_ids": [late["id"]]})
    await service.settled(5)
    found = await of_code(service, key, "ACME-1A0A48C0")
    assert {each["endpoint_id"] for each in found} == {first["id"], late["id"]}
