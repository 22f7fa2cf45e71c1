"""One endpoint or one damaged row must not disturb the periodic tasks of others."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from services.webhooks.dispatcher.dispatcher import Dispatcher
from services.webhooks.domain.deliveries import Backlog, HeldDelivery, Outgoing, Settlement, Target
from services.webhooks.domain.replays import Replay
from services.webhooks.store import queue
from services.webhooks.usecases.delivery_queue import DeliveryQueue
from services.webhooks.usecases.listen import LIVES_ON
from services.webhooks.usecases.run_replays import RunReplays
from shared.database.pool import Connection
from shared.periodic import ElementsFailed
from tests.services.webhooks.conftest import Merchant, Service, code_redeemed, until
from tests.services.webhooks.receiver import Post, Receiver
from tests.services.webhooks.test_maintenance import maintenance_of
from tests.services.webhooks.test_publishing import publish

DEAD_PORT = "http://127.0.0.1:9/hooks"


def failing(dispatcher: Dispatcher) -> dict[str, str]:
    return {task.name: task.state for task in dispatcher.tasks if not task.is_ok}


async def block_a_line(service: Service, merchant: Merchant) -> None:
    """Leave a delivery in the queue that is due at infinity: the one before it is dead and blocks the line."""
    await service.endpoint(
        merchant.program_key,
        DEAD_PORT,
        event_types=["custom.*"],
        ordering="strict",
        on_exhausted="block",
        schedule=[1],
    )
    for number in range(2):
        assert (await publish(service, merchant.program_key, event_id=f"e-{number}")).status == 201
    await service.attempted(1)
    service.clock.advance(seconds=2)
    await service.settled(1, "dead")
    waiting = await service.query("SELECT visible_at = 'infinity' AS waits FROM webhooks.delivery_queue")
    assert waiting == [{"waits": True}]


async def test_a_line_that_is_held_up_for_good_counts_as_no_backlog(service: Service, merchant: Merchant) -> None:
    """The driver returns infinity as a naive time; comparing it crashed the process, and every next one."""
    await block_a_line(service, merchant)
    assert await service.queue.measure() == Backlog(timedelta(0), 0)
    assert failing(service.dispatcher) == {}


async def test_an_endpoint_that_rests_for_ever_counts_as_no_backlog(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """None of our code writes that, but a person may."""
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.*"])
    await service.query("UPDATE webhooks.endpoints SET resume_at = 'infinity'")
    await publish(service, merchant.program_key, event_id="e-1")
    for task in service.dispatcher.tasks:
        await task.act()


async def test_every_task_copes_with_a_line_that_is_held_up(service: Service, merchant: Merchant) -> None:
    """A single blocked line once stopped the periodic tasks of every process."""
    await block_a_line(service, merchant)
    for task in [*service.dispatcher.tasks, *maintenance_of(service).tasks()]:
        await task.act()


async def test_a_line_that_is_held_up_hides_nothing_that_is_due(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await block_a_line(service, merchant)
    await service.dispatcher.stop()
    await service.endpoint(merchant.program_key, DEAD_PORT, event_types=["custom.*"])
    await publish(service, merchant.program_key, event_id="e-2")
    service.clock.advance(seconds=90)
    assert await service.queue.measure() == Backlog(timedelta(seconds=90), 1)


async def test_a_task_that_fails_is_named_and_the_others_go_on(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, *_ = [task for task in service.dispatcher.tasks if task.name == "measure_backlog"]

    async def broken() -> None:
        raise TypeError("can't compare offset-naive and offset-aware datetimes")

    monkeypatch.setattr(measure, "act", broken)
    await until(lambda: not measure.is_ok)
    await service.endpoint(merchant.program_key, DEAD_PORT, event_types=["custom.*"], schedule=[1])
    await publish(service, merchant.program_key, event_id="e-1")
    await service.attempted(1)
    assert failing(service.dispatcher) == {"measure_backlog": measure.state}


async def test_an_endpoint_that_cannot_be_loaded_keeps_no_other_waiting(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deliveries wait in the table, and are sent once it can be loaded again."""
    bad = await service.endpoint(merchant.partner_key, receiver.url, event_types=["code.redeemed"])
    load = DeliveryQueue.targets

    async def damaged(self: DeliveryQueue, endpoint_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Target]:
        if uuid.UUID(bad["id"]) in endpoint_ids:
            raise KeyError("a damaged row")
        return await load(self, endpoint_ids)

    monkeypatch.setattr(DeliveryQueue, "targets", damaged)
    good = [await service.endpoint(merchant.partner_key, receiver.url) for _ in range(3)]
    for number in range(3):
        await service.consume(code_redeemed(merchant, f"C{number}"))
    await service.settled(9)
    assert set(failing(service.dispatcher)) == {"load_endpoints"}
    assert {each["id"] for each in good} == await sent_to(service)
    await until_none_is_held(service)
    monkeypatch.setattr(DeliveryQueue, "targets", load)
    await service.settled(12)
    await until(lambda: failing(service.dispatcher) == {})


async def test_a_delivery_that_cannot_be_built_keeps_no_other_waiting(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One damaged row would stop all deliveries claimed with it."""
    await service.endpoint(merchant.partner_key, receiver.url)
    outgoing = Target.outgoing

    def broken(self: Target, message_id: uuid.UUID, format_: str, body: bytes, *others: Any) -> Outgoing:
        if b"BAD" in body:
            raise ValueError("a damaged row")
        return outgoing(self, message_id, format_, body, *others)

    monkeypatch.setattr(Target, "outgoing", broken)
    with capture_logs() as logged:
        await service.consume(*(code_redeemed(merchant, code) for code in ("A", "BAD", "B")))
        await service.settled(2)
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["delivery_not_sent"]
    assert service.dispatcher.sending.in_flight == 0


async def test_a_result_that_cannot_be_written_keeps_no_other_from_being_written(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver's response is left out; if that does not help, the delivery is sent once more later."""
    writer = service.dispatcher.writer
    record = writer.record

    async def broken(settlements: Sequence[Settlement]) -> bool:
        if any(s.answer.response == "poison" for s in settlements):
            raise ValueError("a character that the database does not take")
        return await record(settlements)

    monkeypatch.setattr(writer, "record", broken)
    poisoned = await service.endpoint(merchant.partner_key, receiver.url)
    await service.endpoint(merchant.program_key, receiver.url, event_types=["custom.*"])

    async def answer(post: Post) -> web.StreamResponse:
        return web.Response(text="poison" if b"redeemed" in post.body else "fine")

    receiver.answer = answer
    await service.consume(code_redeemed(merchant))
    for number in range(5):
        await publish(service, merchant.program_key, event_id=f"e-{number}")
    await service.settled(6)
    rows = await service.query(
        "SELECT a.response FROM webhooks.attempts a JOIN webhooks.deliveries d ON d.id = a.delivery_id"
        " WHERE d.endpoint_id = $1",
        uuid.UUID(poisoned["id"]),
    )
    assert rows == [{"response": None}]


async def test_a_delivery_that_cannot_be_ended_keeps_no_other_from_its_end(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await service.endpoint(merchant.partner_key, DEAD_PORT, status="paused")
    await service.endpoint(merchant.partner_key, DEAD_PORT, status="paused")
    await service.consume(code_redeemed(merchant))
    give_up = DeliveryQueue.give_up

    async def broken(self: DeliveryQueue, held: Sequence[HeldDelivery], reason: str) -> None:
        if any(str(each.endpoint_id) == bad["id"] for each in held):
            raise KeyError("a damaged row")
        await give_up(self, held, reason)

    monkeypatch.setattr(DeliveryQueue, "give_up", broken)
    service.clock.advance(hours=96, minutes=5)
    await service.settled(1, "dead")
    await until(lambda: set(failing(service.dispatcher)) == {"end_deliveries"})


async def test_a_message_that_has_lost_its_body_stops_nothing(
    service: Service, merchant: Merchant, receiver: Receiver
) -> None:
    """Claims would return it again and again, ahead of everything else."""
    await service.endpoint(merchant.partner_key, receiver.url, status="paused")
    await service.consume(code_redeemed(merchant, "A"), code_redeemed(merchant, "B"))
    await service.query(
        "UPDATE webhooks.messages SET body = NULL, redacted_at = now()"
        " WHERE id = (SELECT min(id::text)::uuid FROM webhooks.messages)"
    )
    await service.query("UPDATE webhooks.endpoints SET status = 'active', version = version + 1")
    service.dispatcher.sending.wake()
    await service.settled(1)
    await service.claimed_again()
    assert failing(service.dispatcher) == {}


async def test_a_replay_that_fails_is_shown_and_the_others_go_on(
    service: Service, merchant: Merchant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = [await service.endpoint(merchant.partner_key, receiver.url) for _ in range(2)]
    step = RunReplays.step

    async def broken(self: RunReplays, replay: Replay) -> int | None:
        if str(replay.endpoint_id) == endpoints[0]["id"]:
            raise ValueError("a damaged row")
        return await step(self, replay)

    monkeypatch.setattr(RunReplays, "step", broken)
    since = (service.clock() - timedelta(days=1)).isoformat()
    for endpoint in endpoints:
        body = {"endpoint_id": endpoint["id"], "which": "all", "since": since}
        made = await service.send("POST", "/replays", merchant.partner_key, body)
        assert made.status in {201, 202}, made.body
    await until(lambda: not service.worker.task.is_ok)
    assert "ValueError" in service.worker.task.state
    async with asyncio.timeout(20):
        while not await service.query("SELECT 1 FROM webhooks.replays WHERE status = 'completed'"):  # noqa: ASYNC110 - there is no event to wait on
            await asyncio.sleep(0.01)


async def test_a_listener_that_cannot_be_archived_keeps_no_other_from_it(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [(await service.send("POST", "/listeners", merchant.partner_key, {})).data for _ in range(3)]
    cancel = queue.cancel_waiting

    async def broken(connection: Connection, endpoint_id: uuid.UUID, now: datetime, limit: int) -> int:
        if str(endpoint_id) == made[0]["id"]:
            raise ValueError("a damaged row")
        return await cancel(connection, endpoint_id, now, limit)

    monkeypatch.setattr(queue, "cancel_waiting", broken)
    service.clock.advance(seconds=LIVES_ON.total_seconds() + 1)
    with pytest.raises(ElementsFailed):
        await maintenance_of(service).expire_listeners()
    left = await service.query("SELECT id FROM webhooks.endpoints WHERE archived_at IS NULL")
    assert [str(row["id"]) for row in left] == [made[0]["id"]]


async def sent_to(service: Service) -> set[str]:
    rows = await service.query("SELECT DISTINCT endpoint_id FROM webhooks.deliveries WHERE status = 'succeeded'")
    return {str(row["endpoint_id"]) for row in rows}


async def until_none_is_held(service: Service) -> None:
    async with asyncio.timeout(20):
        while (await service.query("SELECT 1 FROM webhooks.delivery_queue WHERE token IS NOT NULL")) != []:  # noqa: ASYNC110 - there is no event to wait on
            await asyncio.sleep(0.01)
