"""Periodic maintenance: pauses end, and old rows are removed while needed ones stay."""

import uuid
from datetime import timedelta
from typing import Any

from services.webhooks.domain.retention import Retention
from services.webhooks.usecases.maintain_endpoints import MaintainEndpoints
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, look_after_endpoints, purge
from tests.services.webhooks.receiver import Receiver


def maintenance_of(service: Service, payloads: int = 30, attempts: int = 30, deliveries: int = 90) -> MaintainEndpoints:
    kept = Retention(timedelta(days=payloads), timedelta(days=attempts), timedelta(days=deliveries))
    return MaintainEndpoints(service.pool, service.clock, kept, service.dispatcher.sending.renew, service.acts.extend)


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
    maintenance = maintenance_of(service)
    await look_after_endpoints(maintenance)
    assert (await service.send("GET", path, merchant.partner_key)).data["status"] == "paused"
    service.clock.advance(minutes=11)
    await look_after_endpoints(maintenance)
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
    await look_after_endpoints(maintenance_of(service))
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
    maintenance = maintenance_of(service, payloads=10, attempts=20, deliveries=30)
    for days, left in ((9, (2, 2, 2, 1)), (2, (0, 2, 2, 1)), (10, (0, 0, 2, 1)), (10, (0, 0, 0, 0))):
        service.clock.advance(days=days)
        await purge(maintenance)
        assert await counts(service) == left
        if left[0] == 0 and left[2]:
            letter = (await service.send("GET", "/dead-letters", merchant.partner_key)).data[0]
            shown = await service.send("GET", f"/deliveries/{letter['id']}", merchant.partner_key)
            assert (shown.status, shown.data["body"]) == (200, None)
            for tail in (f"deliveries/{letter['id']}/retry", f"dead-letters/{letter['id']}/replay"):
                refused = await service.send("POST", f"/{tail}", merchant.partner_key)
                assert (refused.status, refused.body["code"]) == (409, "content_gone")
            many = await service.send("POST", "/dead-letters/replay", merchant.partner_key)
            assert many.data == {"replayed": 0, "is_whole": True}


async def test_what_waits_to_be_sent_keeps_its_message(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    endpoint = await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant))
    await service.admin.execute("UPDATE webhooks.delivery_queue SET ends_at = '2999-01-01'")
    service.clock.advance(days=100)
    await purge(maintenance_of(service))
    assert await counts(service) == (1, 0, 1, 0)
    await service.send("POST", f"/endpoints/{endpoint['id']}/resume", merchant.partner_key)
    await service.settled(1)


async def test_what_stays_is_passed_over_by_steps_that_are_smaller(service: Service, merchant: Merchant) -> None:
    """All rows of a step may have to stay: the next one continues behind it, and the last finds the removable ones."""
    await service.endpoint(merchant.partner_key, "https://example.com/", status="paused")
    await service.consume(*(code_redeemed(merchant, f"S{n}") for n in range(5)))
    await service.admin.execute("UPDATE webhooks.delivery_queue SET ends_at = '2999-01-01'")
    await service.admin.execute(
        "WITH last AS (DELETE FROM webhooks.delivery_queue WHERE delivery_id ="
        " (SELECT max(id::text)::uuid FROM webhooks.deliveries) RETURNING delivery_id)"
        " UPDATE webhooks.deliveries SET status = 'failed', completed_at = $1"
        " WHERE id IN (SELECT delivery_id FROM last)",
        service.clock(),
    )
    service.clock.advance(days=100)
    await purge(maintenance_of(service), rows_at_once=1)
    assert await counts(service) == (4, 0, 4, 0)


async def test_an_archived_endpoint_goes_after_the_last_of_its_deliveries(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    kept, busy, idle = [await service.endpoint(key, receiver.url, rate_limit_per_second=5) for _ in range(3)]
    await service.consume(code_redeemed(merchant))
    await service.settled(3)
    await service.admin.execute("DELETE FROM webhooks.deliveries WHERE endpoint_id = $1", idle["id"])
    for endpoint in (busy, idle):
        assert (await service.send("DELETE", f"/endpoints/{endpoint['id']}", key)).status in (200, 204)
    assert await endpoints_left(service) == {kept["id"], busy["id"], idle["id"]}
    maintenance = maintenance_of(service, deliveries=30)
    service.clock.advance(days=29)
    await purge(maintenance)
    assert await endpoints_left(service) == {kept["id"], busy["id"], idle["id"]}
    await service.admin.execute(
        "UPDATE webhooks.deliveries SET completed_at = $2 WHERE endpoint_id = $1", busy["id"], service.clock()
    )
    service.clock.advance(days=2)
    await purge(maintenance)
    assert await endpoints_left(service) == {kept["id"], busy["id"]}
    service.clock.advance(days=29)
    await purge(maintenance)
    assert await endpoints_left(service) == {kept["id"]}
    for table in ("endpoint_keys", "endpoint_rates"):
        owners = await service.query(f"SELECT DISTINCT endpoint_id FROM webhooks.{table}")  # noqa: S608 - two names
        assert [str(row["endpoint_id"]) for row in owners] == [kept["id"]]


async def endpoints_left(service: Service) -> set[str]:
    return {str(row["id"]) for row in await service.query("SELECT id FROM webhooks.endpoints")}


async def test_a_replay_goes_with_its_deliveries_and_an_ended_key_after_a_week(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    key = merchant.partner_key
    endpoint = await service.endpoint(key, receiver.url)
    await service.consume(code_redeemed(merchant))
    await service.settled(1)
    now = service.clock()
    for replay_id in (uuid.uuid4(), uuid.uuid4()):
        await service.admin.execute(
            "INSERT INTO webhooks.replays (id, program_id, endpoint_id, which, since, until, is_dry_run,"
            " rate_per_second, status, created_at, completed_at)"
            " VALUES ($1, $2, $3, 'all', $4, $5, false, 1, 'completed', $4, $5)",
            replay_id,
            merchant.program_id,
            uuid.UUID(endpoint["id"]),
            now - timedelta(hours=1),
            now,
        )
    await service.admin.execute("UPDATE webhooks.deliveries SET replay_id = $1", replay_id)
    rotated = await service.send("POST", f"/endpoints/{endpoint['id']}/keys/rotate", key, {"grace_period_seconds": 60})
    assert rotated.status in (200, 201), rotated.body
    maintenance = maintenance_of(service, deliveries=30)
    for days, replays, keys in ((0, 2, 2), (7, 2, 2), (1, 2, 1), (30, 0, 1)):
        service.clock.advance(days=days)
        await purge(maintenance)
        assert len(await service.query("SELECT 1 FROM webhooks.replays")) == replays
        assert len(await service.query("SELECT 1 FROM webhooks.endpoint_keys")) == keys
