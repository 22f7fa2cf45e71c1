"""`python -m services.redemption demo`: the shop's events of a demo, each decided as it would have been at its time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.redemption.app import open_database
from services.redemption.config import RedemptionSettings
from services.redemption.consumers import CheckoutConsumer
from services.redemption.domain.customers import Digests
from services.redemption.usecases.fill_demo import HoldDemoCode, check_is_demo
from services.redemption.usecases.read_stats import add_up_stats
from services.redemption.usecases.take_in_checkouts import TakeInCheckouts
from shared.broker import demo_events
from shared.broker.messages import Received
from shared.config import decode_secret_keys
from shared.database.outbox import OutboxTable
from shared.database.pool import Database
from shared.demo_plan import DemoAsk, DemoRefused, PlannedCheckout, plan
from shared.events.envelope import OutboxEvent

# Decided together, as if the service had been away so long at most.
_SPAN = timedelta(hours=6)
_ON_ITS_WAY = timedelta(seconds=1)


async def fill(settings: RedemptionSettings, ask: DemoAsk, events: Path) -> str:
    """Write the service's part of a demo and return what was done; a repeat adds nothing."""
    digests = Digests(*decode_secret_keys(settings.secret_key))
    async with open_database(settings.database_url.get_secret_value(), 2) as database:
        await check_is_demo(database, ask.program_id)
        history = _History(database, digests, events)
        planned = plan(ask)
        for batch in planned.checkouts_within(_SPAN):
            await history.play(batch)
        if planned.held is not None:
            await HoldDemoCode(database, digests)(ask.program_id, planned.held, ask.until)
        await add_up_stats(database)()
    return f"{len(planned.checkouts)} events of the shop, {history.announced} events about them"


class _History:
    """Plays batches with a clock that stands at the last event of each."""

    def __init__(self, database: Database, digests: Digests, file: Path) -> None:
        self._outbox = OutboxTable(database)
        self._file = file
        self._now = datetime.min.replace(tzinfo=UTC)
        self._made: list[OutboxEvent] = []
        self._consumer = CheckoutConsumer(TakeInCheckouts(database, lambda: self._now, self._made.extend, digests))
        self.announced = 0

    async def play(self, batch: Sequence[PlannedCheckout]) -> None:
        """Have a batch decided; what it makes is kept for the other services, and the broker has it already."""
        self._now = batch[-1].at + _ON_ITS_WAY
        received = [Received(each.body, {}, None, "", each.at + _ON_ITS_WAY) for each in batch]
        for outcome in await self._consumer(received):
            if outcome is not None:
                raise DemoRefused(f"An event was not understood: {outcome}.")
        demo_events.append(self._file, self._made, self._now)
        await self._outbox.confirm([event.id for event in self._made])
        self.announced += len(self._made)
        self._made.clear()
