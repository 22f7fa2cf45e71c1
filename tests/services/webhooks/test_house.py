"""What time brings about: pauses end, and what is old is removed while what is needed stays."""

from datetime import timedelta
from typing import Any

from services.webhooks.domain.retention import Retention
from services.webhooks.usecases.keep_house import KeepHouse
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, look_after_endpoints, purge
from tests.services.webhooks.receiver import Receiver


def house_of(service: Service, payloads: int = 30, attempts: int = 30, deliveries: int = 90) -> KeepHouse:
    kept = Retention(timedelta(days=payloads), timedelta(days=attempts), timedelta(days=deliveries))
    return KeepHouse(service.pool, service.clock, kept, service.dispatcher.endpoint_changed, service.acts.extend)


async def counts(service: Service) -> tuple[int, ...]:
    statements = (
        "SELECT count(*) FROM webhooks.messages",
        "SELECT count(*) FROM webhooks.attempts",
        "SELECT count(*) FROM webhooks.deliveries",
        "SELECT count(*) FROM webhooks.dead_letters",
    )
    return tuple([(await service.query(sql))[0]["count"] for sql in statements])


async def test_a_pause_ends_by_itself_and_what_has_waited_goes_out(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    until = (service.clock() + timedelta(minutes=10)).isoformat()
    path = f"/endpoints/{endpoint['id']}"
    paused = await service.send("POST", f"{path}/pause", merchant.partner_key, {"until": until})
    assert (paused.data["status"], paused.data["paused_until"] is None) == ("paused", False)
    health = await service.send("GET", f"{path}/health", merchant.partner_key)
    assert (health.data["status"], health.data["paused_until"]) == ("paused", paused.data["paused_until"])
    await service.consume(code_redeemed(merchant))
    house = house_of(service)
    await look_after_endpoints(house)
    assert (await service.send("GET", path, merchant.partner_key)).data["status"] == "paused"
    service.clock.advance(minutes=11)
    await look_after_endpoints(house)
    shown = (await service.send("GET", path, merchant.partner_key)).data
    assert (shown["status"], shown["paused_until"]) == ("active", None)
    assert (await service.send("GET", f"{path}/health", merchant.partner_key)).data["paused_until"] is None
    await service.settled(1)


async def test_a_pause_without_an_end_stays_until_somebody_resumes(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url)
    path = f"/endpoints/{endpoint['id']}"
    past = await service.send("POST", f"{path}/pause", merchant.partner_key, {"until": "2020-01-01T00:00:00Z"})
    assert (past.status, list(past.body["errors"])) == (422, ["until"])
    await service.send("POST", f"{path}/pause", merchant.partner_key)
    assert (await service.send("GET", f"{path}/health", merchant.partner_key)).data["paused_until"] is None
    service.clock.advance(days=3)
    await look_after_endpoints(house_of(service))
    assert (await service.send("GET", path, merchant.partner_key)).data["status"] == "paused"
    assert (await service.send("POST", f"{path}/resume", merchant.partner_key)).data["status"] == "active"


async def test_enabling_forgets_what_was_found_before(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    receiver.status = 410
    endpoint: Any = await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1, "dead")
    path = f"/endpoints/{endpoint['id']}"
    assert (await service.send("GET", path, merchant.partner_key)).data["disabled_reason"] == "gone"
    enabled = await service.send("POST", f"{path}/enable", merchant.partner_key)
    assert (enabled.data["status"], enabled.data["disabled_reason"]) == ("active", None)
    health = (await service.send("GET", f"{path}/health", merchant.partner_key)).data
    assert (health["breaker"], health["failing_since"], health["resume_at"]) == ("half_open", None, None)
    receiver.status = 204
    await service.consume(code_redeemed(merchant, "B"))
    await service.settled(1)


async def test_old_things_go_in_their_order(service: Service, merchant: Merchant, receiver: Receiver) -> None:
    await service.endpoint(merchant.partner_key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    receiver.status = 410
    await service.consume(code_redeemed(merchant, "B"))
    await service.settled(1, "dead")
    assert await counts(service) == (2, 2, 2, 1)
    house = house_of(service, payloads=10, attempts=20, deliveries=30)
    for days, left in ((9, (2, 2, 2, 1)), (2, (0, 2, 2, 1)), (10, (0, 0, 2, 1)), (10, (0, 0, 0, 0))):
        service.clock.advance(days=days)
        await purge(house)
        assert await counts(service) == left
        if left[0] == 0 and left[2]:
            letter = (await service.send("GET", "/dead-letters", merchant.partner_key)).data[0]
            shown = await service.send("GET", f"/deliveries/{letter['id']}", merchant.partner_key)
            assert (shown.status, shown.data["body"]) == (200, None)
            for tail in (f"deliveries/{letter['id']}/retry", f"dead-letters/{letter['id']}/replay"):
                refused = await service.send("POST", f"/{tail}", merchant.partner_key)
                assert (refused.status, refused.body["code"]) == (409, "content_gone")
            many = await service.send("POST", "/dead-letters/replay", merchant.partner_key)
            assert many.data == {"replayed": 0}


async def test_what_waits_to_be_sent_keeps_its_message(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    await service.admin.execute("UPDATE webhooks.delivery_queue SET ends_at = '2999-01-01'")
    service.clock.advance(days=100)
    await purge(house_of(service))
    assert await counts(service) == (1, 0, 1, 0)
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", merchant.partner_key)
    await service.settled(1)
