"""Reads statistics of codes, and adds up what has changed since."""

from dataclasses import dataclass

from services.codes.domain.coupons import CouponRef
from services.codes.domain.errors import Missing
from services.codes.domain.stats import Stats
from services.codes.store.coupons import find_coupon
from services.codes.store.programs import find_program
from services.codes.store.stats import add_up, read_stats
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
            zone, coupon_id = span.zone, None
            if zone is None:
                if (program := await find_program(connection, wanted.program_id)) is None:
                    raise Missing
                zone = program.settings.timezone
            if coupon is not None:
                found = await find_coupon(connection, wanted.program_id, CouponRef(coupon))
                # What names no coupon has no figures.
                coupon_id = NOBODY if found is None else found.id
        return wanted.within(span.bounds(zone_named(zone), self.clock()), coupon_id=coupon_id), zone

    async def __call__(self, wanted: StatsFilter) -> Stats:
        """Return figures; raises TooMuch."""
        return Stats(*await read_added_up(self.database, read_stats, wanted))


def add_up_stats(database: Database) -> AddUpStats:
    """Return what adds up the changes that triggers have noted."""
    return AddUpStats(database, add_up)
