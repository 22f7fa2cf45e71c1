"""Reads statistics of redemptions, voids and refusals, in steps where the program is."""

from dataclasses import dataclass

from services.redemption.domain.stats import Stats
from services.redemption.store.history import read_timezone
from services.redemption.store.stats import add_up, read_stats
from services.redemption.usecases.read_redemptions import coupon_named
from shared.clock import Clock
from shared.database.pool import Database
from shared.database.stats import AddUpStats, read_added_up
from shared.known_ids import NOBODY
from shared.steps import Span, StatsFilter
from shared.times import zone_named


@dataclass(frozen=True, slots=True)
class ReadStats:
    """Reads figures of one program, or of one of its partners."""

    database: Database
    clock: Clock

    async def filter(self, wanted: StatsFilter, span: Span, coupon: str | None) -> tuple[StatsFilter, str]:
        """Return what is wanted with its bounds and its coupon, and the zone.

        Raises TooManySteps, BeginsLate and TooMuch.
        """
        async with self.database.connection() as connection:
            zone = span.zone or await read_timezone(connection, wanted.program_id)
            coupon_id = None
            if coupon is not None:
                # What names no coupon has no figures.
                coupon_id = await coupon_named(connection, wanted.program_id, coupon) or NOBODY
        return wanted.within(span.bounds(zone_named(zone), self.clock()), coupon_id=coupon_id), zone

    async def __call__(self, wanted: StatsFilter) -> Stats:
        """Return figures; raises TooMuch."""
        return Stats(*await read_added_up(self.database, read_stats, wanted))


def add_up_stats(database: Database) -> AddUpStats:
    """Return what adds up the changes that triggers have noted."""
    return AddUpStats(database, add_up)
