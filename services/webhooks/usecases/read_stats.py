"""Reads statistics of messages, deliveries and attempts over time, and adds up what has changed since."""

from dataclasses import dataclass

from services.webhooks.domain.figures import DeliveryStats, DeliveryStatsFilter
from services.webhooks.store.figures import add_up, read_stats, read_timezone
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.stats import AddUpStats, read_added_up
from shared.steps import Span
from shared.times import zone_named


@dataclass(frozen=True, slots=True)
class ReadStats:
    """Reads figures of one program, or of one of its partners."""

    database: Database
    clock: Clock

    async def filter(self, wanted: DeliveryStatsFilter, span: Span) -> tuple[DeliveryStatsFilter, str]:
        """Return what is wanted with its bounds, and the zone.

        Raises TooManySteps, BeginsLate and TooMuch.
        """
        zone = span.zone
        if zone is None:
            async with self.database.connection() as connection:
                zone = await read_timezone(connection, wanted.program_id) or "UTC"
        return wanted.within(span.bounds(zone_named(zone), self.clock())), zone

    async def __call__(self, wanted: DeliveryStatsFilter) -> DeliveryStats:
        """Return figures; raises TooMuch."""
        return DeliveryStats(*await read_added_up(self.database, read_stats, wanted))


def add_up_stats(database: Database) -> AddUpStats:
    """Return what adds up the changes that triggers have noted."""
    return AddUpStats(database, add_up)
