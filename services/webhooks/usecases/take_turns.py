"""Waits until a manual attempt may start within the endpoint's limit per second."""

import asyncio
import math
import uuid
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from services.webhooks.domain.errors import RateLimitReached
from services.webhooks.domain.pacing import (
    FOREGROUND_BEGIN_SECONDS,
    LONGEST_WAIT_SECONDS,
    MARGIN_SECONDS,
    earliest_begin,
)
from services.webhooks.store import rates
from shared.boundary import refuse_inside_transaction
from shared.database.pool import Database

# A machine that is this late each time has other problems.
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """Reserves one POST of an endpoint's limit, in addition to what the dispatchers claim."""

    database: Database

    async def __call__(self, endpoint_id: uuid.UUID) -> None:
        """Wait until the POST may start; the caller must then start it at once. Raises RateLimitReached."""
        refuse_inside_transaction("A turn")
        for _ in range(_TRIES):
            asked = monotonic()
            wait = await self._reserve(endpoint_id)
            if wait is None:
                return
            # This is later than the time that the database counts from, so it is never too early.
            await asyncio.sleep(wait)
            if monotonic() < asked + wait + FOREGROUND_BEGIN_SECONDS:
                return
        raise RateLimitReached(1)

    async def _reserve(self, endpoint_id: uuid.UUID) -> float | None:
        """Return the seconds until it may start; None without a limit."""
        async with self.database.transaction() as connection:
            paced = await rates.lock(connection, endpoint_id)
            if paced is None:
                return None
            begins_at = earliest_begin(paced.spans, paced.rate, paced.now)
            wait = (begins_at - paced.now).total_seconds()
            if wait > LONGEST_WAIT_SECONDS:
                raise RateLimitReached(math.ceil(wait - LONGEST_WAIT_SECONDS))
            counts_for = timedelta(seconds=FOREGROUND_BEGIN_SECONDS + MARGIN_SECONDS)
            await rates.spend(connection, endpoint_id, paced, begins_at + counts_for)
        return wait
