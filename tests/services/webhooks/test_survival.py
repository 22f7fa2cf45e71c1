"""What one endpoint or one damaged row does to the periodic tasks: nothing that another one notices."""

from datetime import timedelta

import pytest

from services.webhooks.dispatcher.dispatcher import Dispatcher
from services.webhooks.domain.deliveries import Backlog
from tests.services.webhooks.conftest import Merchant, Service, until
from tests.services.webhooks.test_house import house_of
from tests.services.webhooks.test_publishing import publish

DEAD_PORT = "http://127.0.0.1:9/hooks"


def failing(dispatcher: Dispatcher) -> dict[str, str]:
    return {task.name: task.state for task in dispatcher.tasks if not task.is_ok}


async def block_a_line(service: Service, merchant: Merchant) -> None:
    """Leave a delivery in the queue that is due at infinity: the one before it has died, and holds the line up."""
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
    """The driver returns infinity as a naive time; comparing it took the process down, and the next one too."""
    await block_a_line(service, merchant)
    assert await service.dispatcher._upkeep._works.measure_backlog() == Backlog(timedelta(0), 0)
    assert failing(service.dispatcher) == {}


async def test_every_task_copes_with_a_line_that_is_held_up(service: Service, merchant: Merchant) -> None:
    await block_a_line(service, merchant)
    for task in [*service.dispatcher.tasks, *house_of(service).tasks()]:
        await task._act()


async def test_a_line_that_is_held_up_hides_nothing_that_is_due(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await block_a_line(service, merchant)
    await service.dispatcher.stop()
    await service.endpoint(merchant.program_key, DEAD_PORT, event_types=["custom.*"])
    await publish(service, merchant.program_key, event_id="e-2")
    service.clock.advance(seconds=90)
    assert await service.dispatcher._upkeep._works.measure_backlog() == Backlog(timedelta(seconds=90), 1)


async def test_a_task_that_fails_is_named_and_the_others_go_on(
    service: Service, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, *_ = [task for task in service.dispatcher.tasks if task.name == "measure_backlog"]

    async def broken() -> None:
        raise TypeError("can't compare offset-naive and offset-aware datetimes")

    monkeypatch.setattr(measure, "_act", broken)
    await until(lambda: not measure.is_ok)
    await service.endpoint(merchant.program_key, DEAD_PORT, event_types=["custom.*"], schedule=[1])
    await publish(service, merchant.program_key, event_id="e-1")
    await service.attempted(1)
    assert failing(service.dispatcher) == {"measure_backlog": measure.state}
