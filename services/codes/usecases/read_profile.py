"""Reads a partner's own account."""

import uuid
from dataclasses import dataclass
from datetime import UTC

from services.codes.domain.errors import Missing
from services.codes.domain.profiles import OwnAccount, Pace, Profile, pace_span
from services.codes.store import profiles
from services.codes.usecases.read_stats import ReadStats
from shared.clock import Clock
from shared.database.pool import Database
from shared.steps import StatsFilter, bounds_of


@dataclass(frozen=True, slots=True)
class ReadProfile:
    """A partner, its quota and pace, and the rate windows of its keys."""

    database: Database
    clock: Clock
    read_stats: ReadStats

    async def __call__(self, partner_id: uuid.UUID, caller_id: uuid.UUID) -> OwnAccount:
        """Return the partner's account as it is now; raises Missing."""
        async with self.database.connection() as connection:
            profile = await profiles.find_profile(connection, partner_id)
            if profile is None:
                raise Missing
            windows = await profiles.list_windows(connection, partner_id, caller_id)
        return OwnAccount(profile, windows, Pace(await self._minted(profile, partner_id), profile.quota.remaining))

    async def _minted(self, profile: Profile, partner_id: uuid.UUID) -> int:
        """Count the mints of the last seven days by the statistics, which read no code."""
        bounds = bounds_of(*pace_span(self.clock()), "1h", UTC)
        wanted = StatsFilter(program_id=profile.program_id, partner_id=partner_id)
        stats = await self.read_stats(wanted.within((bounds[0], bounds[-1]), coupon_id=profile.coupon_id))
        return sum(figure.minted for figure in stats.figures)
