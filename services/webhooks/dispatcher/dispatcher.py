"""The sending half of the service as others see it: what it takes over, what it is told, how it runs and stops."""

import asyncio
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from services.webhooks.dispatcher.claiming import Claiming
from services.webhooks.dispatcher.holdings import Holdings
from services.webhooks.dispatcher.sending import Sending
from services.webhooks.dispatcher.upkeep import Upkeep
from services.webhooks.dispatcher.works import Post, Works
from services.webhooks.dispatcher.writer import ResultWriter
from services.webhooks.domain.deliveries import HeldDelivery
from shared.clock import Clock
from shared.log import get_logger
from shared.metrics import WEBHOOKS_HELD, WEBHOOKS_IN_FLIGHT, WEBHOOKS_UNWRITTEN
from shared.periodic import Periodic

POLL_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 1.0
UPKEEP_SECONDS: Final = 5.0
LEAVING_SECONDS: Final = 3.0


class Dispatcher:
    """Sends deliveries that this process holds and claims more when there is room.

    It keeps no connection while a POST is under way.
    """

    def __init__(
        self,
        works: Works,
        post: Post,
        writer: ResultWriter,
        clock: Clock,
        *,
        max_in_flight: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._writer = writer
        self._holdings = Holdings(clock, max_in_flight)
        self._sending = Sending(self._holdings, post, writer, clock, max_in_flight=max_in_flight, chance=chance)
        self._claiming = Claiming(works, self._holdings, self._sending, clock)
        self._upkeep = upkeep = Upkeep(works, self._holdings, self._sending, clock)
        due = self._holdings
        self.tasks = [
            Periodic("claim_deliveries", POLL_SECONDS, self._claiming.claim_if_room, wake=due.claim_is_due),
            Periodic("load_endpoints", POLL_SECONDS, upkeep.load_targets, wake=due.target_is_due),
            Periodic("release_deliveries", POLL_SECONDS, upkeep.release, wake=due.release_is_due),
            Periodic("end_deliveries", POLL_SECONDS, upkeep.end, wake=due.end_is_due),
            Periodic("watch_endpoints", WATCH_SECONDS, upkeep.watch),
            Periodic("recheck_endpoints", UPKEEP_SECONDS, upkeep.recheck),
            Periodic("expire_deliveries", UPKEEP_SECONDS, upkeep.expire),
            Periodic("release_heads", UPKEEP_SECONDS, upkeep.release_heads),
            Periodic("measure_backlog", UPKEEP_SECONDS, upkeep.measure),
        ]
        """What it does again and again, to be shown; `run` runs it."""

    # What the intake and the API ask for.

    def reserve(self, endpoint_id: uuid.UUID, max_in_flight: int) -> bool:
        """Keep room for one delivery that is about to be written; False if it should rather lie in the table."""
        return self._holdings.reserve(endpoint_id, max_in_flight)

    def cancel(self, endpoint_ids: Iterable[uuid.UUID]) -> None:
        """Give reserved room back."""
        self._holdings.cancel(endpoint_ids)

    def accept(self, held: Sequence[HeldDelivery]) -> None:
        """Send deliveries for which room was reserved."""
        self._holdings.cancel(delivery.endpoint_id for delivery in held)
        self._sending.take(held)

    async def breathe(self) -> None:
        """Wait a moment while quick receivers keep this process busy: more would only pile up in the table."""
        await self._holdings.breathe()

    def note_backlog(self) -> None:
        """Learn that deliveries lie due in the table."""
        self._holdings.note_backlog()

    def endpoint_changed(self, endpoint_id: uuid.UUID) -> None:
        """Learn that an endpoint is not as it was: nothing more goes out to it until it was read anew."""
        if (lane := self._holdings.lanes.get(endpoint_id)) is not None:
            lane.needs_target = True
            lane.rests_until = None
            self._holdings.target_is_due.set()
        self.note_backlog()

    @property
    def is_ready(self) -> bool:
        """Whether claims were made lately; one that hangs means that retries are not going out."""
        return self._claiming.is_ready

    @property
    def in_flight(self) -> int:
        """How many POSTs are under way."""
        return self._sending.in_flight

    # Running and stopping.

    async def run(self) -> None:
        """Send, claim and keep house until cancelled."""
        # Asked for when they are read: right at any moment, also while it stops.
        WEBHOOKS_IN_FLIGHT.set_function(lambda: self.in_flight)
        WEBHOOKS_HELD.set_function(lambda: self._holdings.unsent)
        WEBHOOKS_UNWRITTEN.set_function(lambda: self._writer.unwritten)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._writer.run(self.note_backlog))
            for task in self.tasks:
                group.create_task(task.run())

    async def stop(self) -> None:
        """Claim no more, give back what was not begun, wait for what is under way and for its results.

        A database that takes none of it is not waited for: leases run out, and what has no result is sent again.
        """
        holdings = self._holdings
        holdings.is_stopping = True
        for lane in holdings.lanes.values():
            holdings.give_back(lane)
        holdings.release_is_due.set()
        while self._sending.in_flight:
            await self._sending.settle()
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                await self._leave_nothing()
        except TimeoutError:
            left = len(holdings.to_release) + len(holdings.to_end)
            get_logger().warning("deliveries_left_to_leases", held=left, unwritten=self._writer.unwritten)

    async def _leave_nothing(self) -> None:
        while self._holdings.to_release or self._holdings.to_end:
            self._holdings.release_is_due.set()
            self._holdings.end_is_due.set()
            await asyncio.sleep(0.01)
        await self._writer.drain()
