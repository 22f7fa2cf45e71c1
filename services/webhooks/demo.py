"""`python -m services.webhooks demo`: the webhooks about redemption's events, with a night that went wrong."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from services.webhooks.app import open_sender
from services.webhooks.config import WebhooksSettings
from services.webhooks.consumers import read_event
from services.webhooks.domain.events import IncomingEvent
from services.webhooks.usecases.create_endpoint import CreateEndpoint
from services.webhooks.usecases.fill_demo import FillDemo
from services.webhooks.usecases.read_stats import add_up_stats
from shared.broker.demo_events import read_batches
from shared.clock import utc_now
from shared.config import decode_secret_keys
from shared.database import pool
from shared.database.idempotency import AnswerOnce
from shared.database.outbox import OutboxTable
from shared.database.sealing import Seal
from shared.demo_plan import DemoAsk
from shared.events.envelope import OutboxEvent
from shared.ids import new_id

_SPAN = timedelta(hours=1)


async def fill(settings: WebhooksSettings, ask: DemoAsk, events: Path) -> str:
    """Write the service's part of a demo and return what was done; a repeat adds nothing."""
    seal = Seal(*decode_secret_keys(settings.secret_key))
    began_at = ask.until - timedelta(days=ask.days)
    async with (
        pool.connect(settings.database_url.get_secret_value(), "webhooks", 2, generic_plans=True) as database,
        open_sender(utc_now, is_development=True) as (_, urls),
    ):
        created: list[OutboxEvent] = []
        create = CreateEndpoint(
            AnswerOnce(database, lambda: began_at, seal), lambda: began_at, urls, seal, new_id, created.extend
        )
        demo = FillDemo(database, ask, create)
        await demo.check()
        incoming = [read_event(received.body) for batch in read_batches(events) for received in batch]
        incoming.sort(key=lambda event: event.occurred_at)
        await demo.add_receivers(incoming)
        await OutboxTable(database).confirm([event.id for event in created])
        made = 0
        for together in _within(incoming, _SPAN):
            made += await demo(together)
        await add_up_stats(database)()
    return f"{made} deliveries"


def _within(events: Sequence[IncomingEvent], span: timedelta) -> Iterator[list[IncomingEvent]]:
    """Yield events in batches that take no longer than a span."""
    batch: list[IncomingEvent] = []
    for event in events:
        if batch and event.occurred_at - batch[0].occurred_at > span:
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch
