"""Claims due deliveries whenever there is room for them: soon after there is, and at every poll."""

from time import monotonic
from typing import Final

from services.webhooks.dispatcher.holdings import Holdings
from services.webhooks.dispatcher.lanes import AHEAD, FIRST_WINDOW
from services.webhooks.dispatcher.sending import Sending
from services.webhooks.dispatcher.works import Works
from shared.clock import Clock

STALE_SECONDS: Final = 10.0
CLAIM_LIMIT: Final = 500


class Claiming:
    """The way from the table into the lanes."""

    def __init__(self, works: Works, holdings: Holdings, sending: Sending, clock: Clock) -> None:
        self._works = works
        self._holdings = holdings
        self._sending = sending
        self._clock = clock
        self._claimed_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether claims were made lately; one that hangs means that retries are not going out."""
        return self._claimed_at is not None and monotonic() - self._claimed_at < STALE_SECONDS

    async def claim_if_room(self) -> None:
        """Let go out what may by now, and claim more if there is room for it."""
        self._sending.go_on()
        if self._holdings.is_stopping:
            return
        if self._holdings.room <= 0:
            # Full of work is as alive as claiming.
            self._claimed_at = monotonic()
            return
        await self._claim()

    async def _claim(self) -> None:
        now = self._clock()
        # All lanes that are not simply new have a say; resting ones say that they take nothing.
        rooms = [(lane.endpoint_id, lane.claim_room(now, monotonic())) for lane in self._holdings.lanes.values()]
        claimed = await self._works.claim(
            min(CLAIM_LIMIT, self._holdings.room), self._holdings.room_bytes, rooms, AHEAD * FIRST_WINDOW
        )
        self._claimed_at = monotonic()
        self._holdings.has_backlog = bool(claimed)
        self._sending.take(claimed)
