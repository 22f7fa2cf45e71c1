"""Claims due deliveries when there is room for them: soon after room appears, and at every poll."""

import asyncio
from time import monotonic
from typing import Final

from services.webhooks.dispatcher.pipes import AHEAD, FIRST_WINDOW
from services.webhooks.dispatcher.sending import Sending
from services.webhooks.domain.pacing import BEGIN_SECONDS, MARGIN_SECONDS, WINDOW, next_span_length
from services.webhooks.usecases.delivery_queue import DeliveryQueue
from shared.clock import Clock

STALE_SECONDS: Final = 10.0
CLAIM_LIMIT: Final = 500
_SLACK_SECONDS: Final = 0.01


class Claiming:
    """Moves deliveries from the table into the pipes."""

    def __init__(self, queue: DeliveryQueue, sending: Sending, clock: Clock) -> None:
        self._queue = queue
        self._sending = sending
        self._clock = clock
        self.claimed_at: float | None = None
        # How long deliveries with a limit per second may take from the claim to the POST.
        self._begin_within = BEGIN_SECONDS

    @property
    def is_ready(self) -> bool:
        """Whether claims have succeeded recently; if they hang, retries are not sent."""
        return self.claimed_at is not None and monotonic() - self.claimed_at < STALE_SECONDS

    async def claim_if_room(self) -> None:
        """Send what may be sent by now, and claim more if there is room."""
        self._sending.go_on()
        if self._sending.is_stopping:
            return
        if self._sending.room <= 0:
            # A full process is as alive as a claiming one.
            self.claimed_at = monotonic()
            return
        await self._claim()

    async def _claim(self) -> None:
        now = self._clock()
        self._begin_within = next_span_length(self._begin_within, was_late=self._sending.was_late)
        self._sending.was_late = False
        # Every pipe that is not simply new is listed; resting ones with no room.
        rooms = [(pipe.endpoint_id, pipe.claim_room(now, monotonic())) for pipe in self._sending.pipes.values()]
        claimed = await self._queue.claim(
            min(CLAIM_LIMIT, self._sending.room),
            self._sending.room_bytes,
            rooms,
            AHEAD * FIRST_WINDOW,
            self._begin_within,
        )
        self.claimed_at = monotonic()
        self._sending.has_backlog = bool(claimed)
        if any(delivery.begins_before is not None for delivery in claimed):
            self._come_back()
        self._sending.take(claimed)

    def _come_back(self) -> None:
        """Claim more once the last claim no longer counts against its limit per second."""
        seconds = WINDOW.total_seconds() + self._begin_within + MARGIN_SECONDS + _SLACK_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._sending.wake)
