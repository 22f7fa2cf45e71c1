"""What sending needs of the database besides claims: targets, deliveries given back or ended, and what has changed."""

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from services.webhooks.dispatcher.claiming import CLAIM_LIMIT
from services.webhooks.dispatcher.holdings import Holdings
from services.webhooks.dispatcher.lanes import Lane
from services.webhooks.dispatcher.sending import Sending
from services.webhooks.dispatcher.works import Works
from services.webhooks.domain.deliveries import LEASE_SECONDS, HeldDelivery, Target
from services.webhooks.domain.endpoints import EndpointState
from shared.clock import Clock
from shared.metrics import WEBHOOKS_DUE, WEBHOOKS_OLDEST_DUE_SECONDS
from shared.periodic import Failing, for_each, together_or_each

# What could not be ended comes again when its lease has run out.
_REMEMBERED_SECONDS: Final = 2 * LEASE_SECONDS


class Upkeep:
    """One method per periodic task."""

    def __init__(self, works: Works, holdings: Holdings, sending: Sending, clock: Clock) -> None:
        self._works = works
        self._holdings = holdings
        self._sending = sending
        self._clock = clock
        self._failing_targets = Failing(_REMEMBERED_SECONDS)
        self._failing_ends = Failing(_REMEMBERED_SECONDS)

    async def watch(self) -> None:
        """Notice what another process has changed about the endpoints whose deliveries are held here."""
        busy = [lane.endpoint_id for lane in self._holdings.lanes.values() if lane.waiting or lane.in_flight]
        if busy:
            await for_each(await self._works.read_states(busy), self._notice)

    async def _notice(self, state: EndpointState) -> None:
        # It may have run empty and been forgotten meanwhile.
        if (lane := self._holdings.lanes.get(state.endpoint_id)) is not None:
            self._compare(lane, state)

    async def expire(self) -> None:
        """End what nobody could send in time."""
        if not self._holdings.is_stopping:
            for delivery in await self._works.claim_expired(CLAIM_LIMIT):
                self._holdings.end(delivery, "expired")

    async def release_heads(self) -> None:
        """Call up what waits for nobody."""
        if not self._holdings.is_stopping and await self._works.release_heads():
            self._holdings.note_backlog()

    async def measure(self) -> None:
        """Measure how far behind the deliveries are."""
        backlog = await self._works.measure_backlog()
        WEBHOOKS_OLDEST_DUE_SECONDS.set(backlog.age.total_seconds())
        WEBHOOKS_DUE.set(backlog.due)

    async def load_targets(self) -> None:
        """Load what has to be known of endpoints whose deliveries wait here."""
        lanes = self._holdings.lanes.values()
        wanted = [lane for lane in lanes if lane.needs_target and (lane.waiting or lane.in_flight or lane.is_held_back)]
        if wanted:
            for lane, error in await together_or_each(wanted, self._load):
                lane.needs_target = False
                self._hold_back(lane)
                self._failing_targets.note(lane.endpoint_id, error)
        self._failing_targets.raise_if_any()

    async def recheck(self) -> None:
        """Look again at endpoints that are held back: what is wrong with them may have been mended."""
        for lane in self._holdings.lanes.values():
            lane.needs_target = lane.needs_target or lane.is_held_back
        self._holdings.target_is_due.set()

    async def _load(self, wanted: Sequence[Lane]) -> None:
        for lane in wanted:
            # Whatever changes from here on asks for another look.
            lane.needs_target = False
            lane.target = None
        try:
            targets = await self._works.load_targets([lane.endpoint_id for lane in wanted])
        except BaseException:
            for lane in wanted:
                lane.needs_target = True
            raise
        for lane in wanted:
            self._set_target(lane, targets[lane.endpoint_id])
            self._failing_targets.forget(lane.endpoint_id)
        self._sending.go_on(wanted)

    def _set_target(self, lane: Lane, target: Target) -> None:
        if lane.needs_target:
            self._holdings.target_is_due.set()
            return
        if lane.is_held_back and target.missing is None:
            self._holdings.note_backlog()
        lane.set_target(target)
        self._holdings.turn_away(lane, target)
        if target.missing is not None and not target.is_archived:
            self._hold_back(lane)

    def _hold_back(self, lane: Lane) -> None:
        lane.is_held_back = True
        self._holdings.give_back(lane)

    async def release(self) -> None:
        """Give back what is not to be sent from here."""
        if self._holdings.to_release:
            batch, self._holdings.to_release = self._holdings.to_release, []
            try:
                await self._works.release(batch)
            except BaseException:
                self._holdings.to_release += batch
                raise

    async def end(self) -> None:
        """End what is not to be sent at all."""
        while self._holdings.to_end:
            reason = self._holdings.to_end[0][1]
            batch = [delivery for delivery, why in self._holdings.to_end if why == reason][:CLAIM_LIMIT]
            failed = await together_or_each(batch, partial(self._end, reason))
            for delivery, error in failed:
                # It is left to its lease, and comes again.
                self._failing_ends.note(delivery.delivery_id, error)
            ended = {id(delivery) for delivery in batch}
            self._holdings.to_end = [pair for pair in self._holdings.to_end if id(pair[0]) not in ended]
        self._failing_ends.raise_if_any()

    async def _end(self, reason: str | None, batch: Sequence[HeldDelivery]) -> None:
        if reason is None:
            await self._works.end.cancel(batch)
        else:
            targets = await self._works.load_targets(list({delivery.endpoint_id for delivery in batch}))
            await self._works.end.bury(batch, targets, reason)
        if any(delivery.ordering_key is not None for delivery in batch):
            # Who waited for these is due now.
            self._holdings.note_backlog()

    def _compare(self, lane: Lane, state: EndpointState) -> None:
        if lane.target is not None and lane.target.endpoint.version < state.version:
            lane.needs_target = True
            self._holdings.target_is_due.set()
        lane.is_troubled = lane.is_troubled or state.is_failing
        if state.resume_at is not None:
            lane.rest(state.resume_at, monotonic())
            if lane.is_resting(self._clock()):
                self._holdings.give_back(lane)
