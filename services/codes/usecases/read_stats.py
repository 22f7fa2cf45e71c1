"""Reads statistics of codes, and adds up what has changed since."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.codes.domain.coupons import CouponRef
from services.codes.domain.days import zone_named
from services.codes.domain.errors import Missing
from services.codes.domain.stats import Stats
from services.codes.store.coupons import find_coupon
from services.codes.store.programs import find_program
from services.codes.store.stats import add_up, lock_round, next_changed, note_round, read_stats
from shared.clock import Clock
from shared.database.pool import Database
from shared.known_ids import FIRST_ID, NOBODY
from shared.steps import Span, StatsFilter, TooMuch

INTERVAL_SECONDS: Final = 10.0
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class ReadStats:
    """Reads figures of one program, or of one of its partners."""

    database: Database
    clock: Clock

    async def filter(self, wanted: StatsFilter, span: Span, coupon: str | None) -> tuple[StatsFilter, str]:
        """Return what is wanted with its bounds and its coupon, and the zone; raises TooManySteps and TooMuch."""
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
        return wanted.within(span.bounds(zone_named(zone), self.clock()), coupon_id), zone

    async def __call__(self, wanted: StatsFilter) -> Stats:
        """Return figures; raises TooMuch."""
        async with self.database.connection() as connection:
            found = await read_stats(connection, wanted, is_live=True)
            if found is None:
                found = await read_stats(connection, wanted, is_live=False)
        if found is None:
            raise TooMuch
        return Stats(*found)


@dataclass(frozen=True, slots=True)
class AddUpStats:
    """Adds up the changes that triggers have noted, a few quarters per transaction, one process at a time."""

    database: Database

    async def __call__(self) -> int:
        """Return how many quarters had changes."""
        added, started = 0, None
        last = FIRST_ID, datetime(1970, 1, 1, tzinfo=UTC)
        while True:
            async with self.database.transaction() as connection:
                if (now := await lock_round(connection)) is None:
                    return added
                started = started or now
                if not (places := await next_changed(connection, last, _AT_ONCE)):
                    await note_round(connection, started)
                    return added
                await add_up(connection, places)
            added += len(places)
            last = places[-1]
