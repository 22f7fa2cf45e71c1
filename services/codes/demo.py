"""`python -m services.codes demo`: a demo's mints, and then the uses that redemption's events report."""

from pathlib import Path

from services.codes.config import CodesSettings
from services.codes.consumers import RedemptionsHandler
from services.codes.usecases.fill_demo import FillDemo
from services.codes.usecases.read_stats import add_up_stats
from services.codes.usecases.record_usage import RecordUsage
from shared.broker.demo_events import read_batches
from shared.database import pool
from shared.demo_plan import DemoAsk, plan
from shared.events.redemption import CodeRedeemedV1, CodeRedemptionVoidedV1


async def fill(settings: CodesSettings, ask: DemoAsk, events: Path) -> str:
    """Write the service's part of a demo and return what was done; a repeat adds nothing."""
    async with pool.connect(settings.database_url.get_secret_value(), "codes", 2, generic_plans=True) as database:
        minted = await FillDemo(database, ask, plan(ask))()
        handler = RedemptionsHandler(RecordUsage(database))
        reported = 0
        for batch in read_batches(events, {CodeRedeemedV1.type, CodeRedemptionVoidedV1.type}):
            await handler(batch)
            reported += len(batch)
        await add_up_stats(database)()
    return f"{minted} codes minted, {reported} reports of uses"
