"""The sending half of the service: its parts, and how it runs and stops."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from services.webhooks.dispatcher.claiming import Claiming
from services.webhooks.dispatcher.sending import Post, Sending
from services.webhooks.dispatcher.upkeep import Upkeep
from services.webhooks.dispatcher.writer import ResultWriter
from services.webhooks.usecases.delivery_queue import DeliveryQueue
from shared.clock import Clock
from shared.log import get_logger
from shared.metrics import WEBHOOKS_HELD, WEBHOOKS_IN_FLIGHT, WEBHOOKS_UNWRITTEN
from shared.periodic import Periodic

POLL_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 1.0
UPKEEP_SECONDS: Final = 5.0
LEAVING_SECONDS: Final = 3.0


class Dispatcher:
    """Sends the deliveries that this process holds and claims more when there is room.

    It keeps no database connection during a POST.
    """

    def __init__(
        self,
        queue: DeliveryQueue,
        post: Post,
        clock: Clock,
        *,
        max_in_flight: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.writer = ResultWriter(queue.settle)
        self.sending = Sending(post, self.writer, clock, max_in_flight=max_in_flight, chance=chance)
        self.claiming = Claiming(queue, self.sending, clock)
        self.upkeep = Upkeep(queue, self.sending, clock)
        due, upkeep = self.sending, self.upkeep
        self.tasks = [
            Periodic("claim_deliveries", POLL_SECONDS, self.claiming.claim_if_room, wake=due.claim_is_due),
            Periodic("load_endpoints", POLL_SECONDS, upkeep.load_targets, wake=due.target_is_due),
            Periodic("release_deliveries", POLL_SECONDS, upkeep.release, wake=due.release_is_due),
            Periodic("end_deliveries", POLL_SECONDS, upkeep.end, wake=due.end_is_due),
            Periodic("watch_endpoints", WATCH_SECONDS, upkeep.watch),
            Periodic("recheck_endpoints", UPKEEP_SECONDS, upkeep.recheck),
            Periodic("expire_deliveries", UPKEEP_SECONDS, upkeep.expire),
            Periodic("release_heads", UPKEEP_SECONDS, upkeep.call_up),
            Periodic("measure_backlog", UPKEEP_SECONDS, upkeep.measure),
        ]
        """Its periodic tasks, for the health report; `run` runs them."""

    async def run(self) -> None:
        """Send, claim and look after endpoints until cancelled."""
        # Computed when read, so they are correct at any moment, even while it stops.
        WEBHOOKS_IN_FLIGHT.set_function(lambda: self.sending.in_flight)
        WEBHOOKS_HELD.set_function(lambda: self.sending.unsent)
        WEBHOOKS_UNWRITTEN.set_function(lambda: self.writer.unwritten)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.writer.run(self.sending.wake))
            for task in self.tasks:
                group.create_task(task.run())

    async def stop(self) -> None:
        """Claim no more, return what has not started, and wait for attempts in progress and their results.

        If the database is away it does not wait: leases expire, and deliveries without a result are sent again.
        """
        self.sending.stop()
        while self.sending.in_flight:
            await self.sending.settle()
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                await self._leave_nothing()
        except TimeoutError:
            left = len(self.sending.to_release) + len(self.sending.to_end)
            get_logger().warning("deliveries_left_to_leases", held=left, unwritten=self.writer.unwritten)

    async def _leave_nothing(self) -> None:
        while self.sending.to_release or self.sending.to_end:
            self.sending.release_is_due.set()
            self.sending.end_is_due.set()
            await asyncio.sleep(0.01)
        await self.writer.drain()
