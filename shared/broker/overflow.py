"""Keeps a dead queue below its limit: the surplus moves to a table of the service, and returns later.

A full dead queue refuses letters, and a consumer that cannot send one can do nothing else: this makes room for it.
Nothing is dropped: a letter leaves one place only when it is in the other, so a crash leaves it in both at worst, and
consumers recognise what they have handled.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from shared.broker.connection import BrokerUnavailable
from shared.broker.frames import Delivered
from shared.broker.messages import (
    DETAIL_CHARACTERS,
    HEADER_DETAIL,
    HEADER_DIED_AT,
    HEADER_FIRST_RECEIVED_AT,
    HEADER_QUEUE,
    HEADER_REASON,
    HEADER_ROUTING_KEY,
    copied,
)
from shared.broker.operator import dead
from shared.broker.operator.dead import DeadMessage
from shared.broker.policies import DEAD_MAX_LENGTH
from shared.broker.publisher import Publisher
from shared.broker.topology import dead_exchange
from shared.broker.wire import Outcome, Outgoing
from shared.events.overflow import KeptLetter
from shared.log import get_logger
from shared.metrics import DEAD_LETTERS_KEPT, DEAD_LETTERS_MOVED
from shared.periodic import Periodic
from shared.times import format_microseconds

INTERVAL_SECONDS: Final = 30.0
MOST_IN_QUEUE: Final = DEAD_MAX_LENGTH * 9 // 10
# Letters return once fewer than the first number are left, until the second number is reached.
FEW: Final = 1_000
ENOUGH: Final = 10_000
_AT_ONCE: Final = 500
# See `dead`: a channel surely passes on this many settlements before it answers the next get.
_LOT: Final = 25
# A returning lot is in memory all at once, and a letter may have a mebibyte.
_BACK_AT_ONCE: Final = 50
_LEASE_SECONDS: Final = 30.0


class KeepsLetters(Protocol):
    """The table of a service for letters that its full dead queue cannot take."""

    async def keep(self, letters: Sequence[KeptLetter]) -> None:
        """Store letters; safe to repeat."""

    async def claim(self, limit: int, lease_seconds: float) -> list[KeptLetter]:
        """Lease the oldest letters."""

    async def forget(self, letters: Sequence[KeptLetter]) -> None:
        """Remove letters; safe to repeat."""

    async def count(self) -> int:
        """Count the stored letters, up to a bound."""


class Overflow:
    """Maintains the dead queue behind `queue`, as a periodic task that `make_room` wakes."""

    def __init__(
        self,
        url: str,
        queue: str,
        kept: KeepsLetters,
        *,
        most: int = MOST_IN_QUEUE,
        few: int = FEW,
        enough: int = ENOUGH,
    ) -> None:
        self._url = url
        self._queue = queue
        self._kept = kept
        self._most = most
        self._few = few
        self._enough = enough
        self._is_refusing = False
        self._is_returning = False
        self._log = get_logger().bind(queue=queue)
        self._asked = asyncio.Event()
        self.task = Periodic("dead_overflow", INTERVAL_SECONDS, self, wake=self._asked)

    def make_room(self) -> None:
        """Note that the dead queue refuses letters. Its length need not show it: its bytes are limited as well."""
        self._is_refusing = True
        self._asked.set()

    async def __call__(self) -> bool:
        """Move letters in whichever direction is due; return whether there is more to do at once."""
        is_refusing, self._is_refusing = self._is_refusing, False
        async with dead.opened(self._url, self._queue) as found:
            surplus = max(found.count - self._most, _AT_ONCE if is_refusing else 0)
            moved = await self._move_out(found, min(surplus, _AT_ONCE))
        kept = await self._kept.count()
        DEAD_LETTERS_KEPT.labels(queue=self._queue).set(kept)
        if moved:
            self._is_returning = False
            return surplus > moved
        self._is_returning = bool(kept) and found.count < (self._enough if self._is_returning else self._few)
        return self._is_returning and await self._move_back(self._enough - found.count) > 0

    async def rewrite(self, change: Callable[[bytes], bytes | None]) -> int:
        """Replace each letter for which `change` returns a new body; return their number.

        A letter goes once the other is confirmed, so a crash leaves both at worst, and the next run finds the first.
        Raises BrokerUnavailable where one could not be confirmed.
        """
        rewritten = 0
        name = f"rewriting of {self._queue}"
        async with (
            Publisher(self._url, dead_exchange(self._queue), name=name) as publisher,
            dead.opened(self._url, self._queue) as found,
        ):
            async for taken in found.messages():
                if (body := change(taken.delivered.body)) is None:
                    continue
                letter = replace(_letter(taken.delivered, taken.message, self._queue), body=body)
                outcomes = await publisher.send([_outgoing(letter)])
                if any(outcome is not Outcome.CONFIRMED for outcome in outcomes.values()):
                    raise BrokerUnavailable(f"{rewritten} rewritten; one was not confirmed and stays as it was.")
                await found.remove(taken.delivered.tag)
                rewritten += 1
        return rewritten

    async def _move_out(self, found: dead.DeadQueue, limit: int) -> int:
        moved = 0
        lot: list[tuple[int, KeptLetter]] = []
        if limit > 0:
            async for taken in found.messages():
                lot.append((taken.delivered.tag, _letter(taken.delivered, taken.message, self._queue)))
                if len(lot) == _LOT or moved + len(lot) == limit:
                    moved += await self._settle(found, lot)
                    lot = []
                if moved >= limit:
                    break
            moved += await self._settle(found, lot)
        if moved:
            DEAD_LETTERS_MOVED.labels(queue=self._queue).inc(moved)
            self._log.error("dead_letters_moved", count=moved, to="dead_overflow")
        return moved

    async def _settle(self, found: dead.DeadQueue, lot: Sequence[tuple[int, KeptLetter]]) -> int:
        if lot:
            await self._kept.keep([letter for _, letter in lot])
            for tag, _ in lot:
                await found.remove(tag)
        return len(lot)

    async def _move_back(self, limit: int) -> int:
        letters = await self._kept.claim(min(limit, _BACK_AT_ONCE), _LEASE_SECONDS)
        # The same id must not be under way twice.
        outgoing = {each.message_id: (letter, each) for letter in letters for each in [_outgoing(letter)]}
        if not outgoing:
            return 0
        async with Publisher(self._url, dead_exchange(self._queue), name=f"overflow of {self._queue}") as publisher:
            outcomes = await publisher.send(each for _, each in outgoing.values())
        back = [outgoing[key][0] for key, outcome in outcomes.items() if outcome is Outcome.CONFIRMED]
        await self._kept.forget(back)
        self._log.info("dead_letters_returned", count=len(back))
        return len(back)


def _letter(delivered: Delivered, message: DeadMessage, queue: str) -> KeptLetter:
    """Give a letter the headers that its consumer would have: one moved by the broker still has its sender's."""
    own = {
        HEADER_REASON: message.reason,
        HEADER_DETAIL: message.detail[:DETAIL_CHARACTERS],
        HEADER_QUEUE: queue,
        HEADER_ROUTING_KEY: message.routing_key,
    }
    for name, moment in ((HEADER_FIRST_RECEIVED_AT, message.first_received_at), (HEADER_DIED_AT, message.died_at)):
        if moment is not None:
            own[name] = format_microseconds(moment)
    copy = copied(delivered, queue, own)
    # Operators still find it by its key, which replaces a missing id.
    message_id = copy.message_id if delivered.message_id else message.key
    properties = {"message_id": message_id, "type": copy.type, "content_type": copy.content_type, "headers": own}
    return KeptLetter(json.dumps(properties).encode(), copy.foreign, copy.body)


def _outgoing(letter: KeptLetter) -> Outgoing:
    properties = json.loads(letter.properties)
    return Outgoing(
        routing_key="",
        body=letter.body,
        message_id=properties["message_id"],
        type=properties["type"],
        content_type=properties["content_type"],
        headers=properties["headers"],
        foreign=letter.foreign_headers,
    )
