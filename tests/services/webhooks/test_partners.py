"""A partner's endpoints and listeners when the codes service suspends or archives it."""

import asyncio
from typing import Any

import aiohttp
import asyncpg
import pytest

from services.webhooks.usecases import follow_partners
from services.webhooks.usecases.change_endpoint import ArchiveEndpoint
from services.webhooks.usecases.follow_partners import FollowPartners
from shared.clock import utc_now
from tests.databases import Database
from tests.services.webhooks.conftest import (
    DEADLINE_SECONDS,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    make_partner,
    until,
)
from tests.services.webhooks.receiver import Receiver
from tests.services.webhooks.test_process import running_process

URL = "http://127.0.0.1:9/hooks"


def following(service: Service) -> FollowPartners:
    archive = ArchiveEndpoint(service.pool, service.clock, service.dispatcher.sending.renew, service.acts.extend)
    return FollowPartners(service.pool, service.clock, archive)


async def set_status(service: Service, merchant: Merchant, status: str) -> None:
    await service.admin.execute(
        "UPDATE codes.partners SET status = $2, archived_at = $3 WHERE id = $1",
        merchant.partner_id,
        "suspended" if status == "archived" else status,
        service.clock() if status == "archived" else None,
    )


async def statuses(service: Service) -> list[str]:
    return [row["status"] for row in await service.query("SELECT status FROM webhooks.deliveries ORDER BY id")]


async def test_an_archived_partner_s_endpoints_are_archived_with_it(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Attempts in progress end with their own result, waiting deliveries are canceled, and no new ones start."""
    programs = await service.endpoint(merchant.program_key, URL, status="paused")
    neighbour = await make_partner(
        service.admin, merchant.program_id, merchant.program_key, "Neighbour", service.clock()
    )
    others = await service.endpoint(neighbour.partner_key, URL, status="paused")
    release = receiver.hang()
    sending = await service.endpoint(merchant.partner_key, receiver.url, max_in_flight=1)
    paused = await service.endpoint(merchant.partner_key, URL, status="paused")
    listener = (await service.send("POST", "/listeners", merchant.partner_key, {"name": "laptop"})).data
    for number in range(3):
        await service.consume(code_redeemed(merchant, f"C{number}"))
    await until(lambda: receiver.under_way == 1)
    service.acts.clear()

    await set_status(service, merchant, "archived")
    follow = following(service)
    assert await follow() == 3
    release.set()
    await service.settled(1)

    # Three deliveries to the program's endpoint still wait; of the others one is done, and at most one more was held
    # with it.
    await service.settled(8, "canceled")
    assert sorted(await statuses(service)) == ["canceled"] * 8 + ["pending"] * 3 + ["succeeded"]
    for gone in (sending, paused):
        assert (await service.send("GET", f"/endpoints/{gone['id']}", merchant.program_key)).status == 404
    asked = await service.send("POST", f"/listeners/{listener['id']}/next", merchant.partner_key, {"wait_seconds": 0})
    assert asked.status == 404
    left = (await service.send("GET", "/endpoints", merchant.program_key)).data
    assert {each["id"] for each in left} == {programs["id"], others["id"]}
    assert [event.type for event in service.acts] == ["webhook.endpoint_archived"] * 2
    await service.consume(code_redeemed(merchant, "LATER"))
    assert len(await statuses(service)) == 13
    assert await follow() == 0


async def test_an_endpoint_made_at_the_very_moment_is_found_too(service: Service, merchant: Merchant) -> None:
    """Its request was accepted before the partner's archival was committed, and commits after the check."""
    made = await service.endpoint(merchant.partner_key, URL)
    await set_status(service, merchant, "archived")
    follow = following(service)
    assert await follow() == 1
    await service.admin.execute("UPDATE webhooks.endpoints SET archived_at = NULL")
    service.clock.advance(minutes=2)
    assert await follow() == 1
    assert (await service.send("GET", f"/endpoints/{made['id']}", merchant.program_key)).status == 404


async def test_a_new_process_finds_what_was_archived_while_none_ran(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, also if partners were archived at the same moment."""
    monkeypatch.setattr(follow_partners, "_PAGE", 2)
    partners = [merchant] + [
        await make_partner(service.admin, merchant.program_id, merchant.program_key, f"P{n}", service.clock())
        for n in range(6)
    ]
    for partner in partners:
        await service.endpoint(partner.partner_key, URL)
        await set_status(service, partner, "archived")
    service.clock.advance(days=400)
    assert await following(service)() == 7
    assert await following(service)() == 0


async def test_a_running_process_follows_by_itself(
    database: Database, clean_broker: dict[str, str], unused_tcp_port: int
) -> None:
    admin = await asyncpg.connect(database.admin)
    merchant = await make_merchant(admin, utc_now())
    path = f"http://127.0.0.1:{unused_tcp_port}/v1/webhooks/endpoints"
    headers = {"Authorization": f"Bearer {merchant.program_key}"}
    body = {"url": URL, "partner_id": str(merchant.partner_id)}
    async with running_process(database, clean_broker, unused_tcp_port), aiohttp.ClientSession() as http:
        async with http.post(path, headers=headers, json=body) as made:
            assert made.status == 201
        await admin.execute("UPDATE codes.partners SET status = 'suspended', archived_at = now()")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                async with http.get(path, headers=headers) as listed:
                    if not (await listed.json())["data"]:
                        break
                await asyncio.sleep(0.1)
    await admin.close()


@pytest.mark.parametrize("status", ["suspended", "archived"])
async def test_a_partner_that_is_not_welcome_has_nothing_sent_to_new_places(
    service: Service, merchant: Merchant, status: str
) -> None:
    made = await service.endpoint(merchant.partner_key, URL)
    await set_status(service, merchant, status)
    path = f"/endpoints/{made['id']}"
    tries: list[tuple[str, str, Any]] = [
        ("POST", "/endpoints", {"url": URL}),
        ("POST", "/listeners", {}),
        ("POST", "/listeners", {"name": "laptop"}),
        ("PATCH", path, {"url": f"{URL}/other"}),
    ]
    for method, where, body in tries:
        refused = await service.send(method, where, merchant.partner_key, body, idempotency=f"{method}{where}{body}")
        assert (refused.status, refused.body["code"]) == (403, "partner_inactive"), where
    # Existing endpoints can still be read and disabled.
    assert (await service.send("PATCH", path, merchant.partner_key, {"description": "old"})).status == 200
    assert (await service.send("POST", f"{path}/disable", merchant.partner_key)).status == 200
    assert (await service.send("DELETE", path, merchant.partner_key)).status == 200


async def test_a_program_prepares_endpoints_for_a_partner_that_is_not_active_yet(
    service: Service, merchant: Merchant
) -> None:
    for status in ("pending", "suspended"):
        await set_status(service, merchant, status)
        await service.endpoint(merchant.program_key, URL, partner_id=str(merchant.partner_id))
    await set_status(service, merchant, "pending")
    await service.endpoint(merchant.partner_key, URL)
    await set_status(service, merchant, "archived")
    for path in ("/endpoints", "/listeners"):
        body = {"partner_id": str(merchant.partner_id)} | ({"url": URL} if path == "/endpoints" else {})
        refused = await service.send("POST", path, merchant.program_key, body)
        assert (refused.status, list(refused.body["errors"])) == (422, ["partner_id"])
