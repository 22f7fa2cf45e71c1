"""The shown status of a delivery that has not ended: pending, in flight, or paused; none of these is stored."""

import asyncio
from typing import Any

from services.webhooks.domain.deliveries import LEASE_SECONDS
from tests.databases import Database
from tests.services.webhooks.conftest import (
    DEADLINE_SECONDS,
    HeldClock,
    Merchant,
    Service,
    code_redeemed,
    make_merchant,
    running_service,
    until,
)
from tests.services.webhooks.receiver import Receiver

ALL = ("pending", "in_flight", "paused", "succeeded", "failed", "dead", "canceled")


async def shown(service: Service, key: str) -> str:
    """Return the status of the only delivery, checking that every route and filter agrees on it."""
    [delivery] = (await service.send("GET", "/deliveries", key)).data
    status: str = delivery["status"]
    assert (await service.send("GET", f"/deliveries/{delivery['id']}", key)).data["status"] == status
    for query in (f"message_id={delivery['message_id']}", f"endpoint_id={delivery['endpoint_id']}", ""):
        for each in ALL:
            found = await service.send("GET", f"/deliveries?status={each}&{query}", key)
            assert found.data == ([delivery] if each == status else []), (each, query)
    return status


async def counted(service: Service, endpoint: Any, key: str) -> dict[str, int]:
    """Return the endpoint's delivery statistics without zeros."""
    found = (await service.send("GET", f"/endpoints/{endpoint['id']}/stats", key)).data["deliveries"]
    assert list(found) == list(ALL)
    return {status: number for status, number in found.items() if number}


async def stored(service: Service) -> list[str]:
    return [row["status"] for row in await service.query("SELECT status FROM webhooks.deliveries")]


async def test_what_is_being_sent_is_in_flight_and_what_waits_for_its_retry_is_pending(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url)
    release = receiver.hang(500)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    assert (await shown(service, key), await stored(service)) == ("in_flight", ["pending"])
    assert await counted(service, endpoint, key) == {"in_flight": 1}
    [delivery] = (await service.send("GET", "/deliveries", key)).data
    assert delivery["next_attempt_at"] is None
    release.set()
    await service.attempted(1)
    assert await shown(service, key) == "pending"
    assert await counted(service, endpoint, key) == {"pending": 1}
    [delivery] = (await service.send("GET", "/deliveries", key)).data
    assert delivery["next_attempt_at"] is not None


async def test_what_waits_at_a_paused_endpoint_is_paused(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url)
    receiver.status = 500
    await service.consume(code_redeemed(merchant))
    await service.attempted(1)
    await service.send("POST", f"/endpoints/{endpoint['id']}/pause", key)
    assert (await shown(service, key), await stored(service)) == ("paused", ["pending"])
    assert await counted(service, endpoint, key) == {"paused": 1}
    service.clock.advance(hours=1)
    assert await shown(service, key) == "paused"
    receiver.status = 204
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", key)
    await service.settled(1)
    assert await shown(service, key) == "succeeded"
    assert await counted(service, endpoint, key) == {"succeeded": 1}


async def test_what_is_under_way_when_its_endpoint_is_paused_is_in_flight_until_it_is_back(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url)
    release = receiver.hang(500)
    await service.consume(code_redeemed(merchant))
    await until(lambda: receiver.under_way == 1)
    await service.send("POST", f"/endpoints/{endpoint['id']}/pause", key)
    assert await shown(service, key) == "in_flight"
    release.set()
    await service.attempted(1)
    assert await shown(service, key) == "paused"


async def test_one_whose_process_has_died_is_pending_once_its_lease_is_over(
    database: Database, clock: HeldClock, receiver: Receiver
) -> None:
    """Created with a lease, and not taken over by any process."""
    async with running_service(database, clock, sends=False) as service:
        merchant = await make_merchant(service.admin, clock())
        endpoint = await service.endpoint(merchant.partner_key, receiver.url)
        await service.consume(code_redeemed(merchant))
        assert await shown(service, merchant.partner_key) == "in_flight"
        clock.advance(seconds=LEASE_SECONDS)
        assert await shown(service, merchant.partner_key) == "pending"
        assert await counted(service, endpoint, merchant.partner_key) == {"pending": 1}


async def test_what_a_listener_has_not_fetched_is_pending_and_then_in_flight(
    service: Service, merchant: Merchant
) -> None:
    """A listener does not count as paused, although the dispatcher skips it like a paused endpoint."""
    key = merchant.partner_key
    opened = await service.send("POST", "/listeners", key, {"event_types": ["code.redeemed"]})
    await service.consume(code_redeemed(merchant))
    assert await shown(service, key) == "pending"
    await service.send("POST", f"/listeners/{opened.data['id']}/next", key, {"wait_seconds": 0})
    assert await shown(service, key) == "in_flight"


async def test_who_waits_for_its_turn_is_pending(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    """At the latest when the one before it takes long: until then it may have been leased together with it."""
    key = merchant.partner_key
    await service.endpoint(key, receiver.url, ordering="strict")
    release = receiver.hang()
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    await until(lambda: receiver.under_way == 1)
    async with asyncio.timeout(DEADLINE_SECONDS):
        shown_as: list[str] = []
        while shown_as != ["pending", "in_flight"]:
            await asyncio.sleep(0.05)
            shown_as = [each["status"] for each in (await service.send("GET", "/deliveries", key)).data]
    release.set()
    await service.settled(2)
