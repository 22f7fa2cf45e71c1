"""Sends what a consumer rejected to the dead queue, confirmed, with its reason; reports what cannot be sent.

It decides nothing about a message, and no message can make it fail: in the worst case the broker moves it unchanged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from shared.broker.messages import Delivery, Reject
from shared.broker.publisher import Publisher
from shared.broker.topology import dead_exchange
from shared.broker.wire import Outcome, Outgoing
from shared.faults import TransientFault
from shared.log import get_logger

DEADLINE_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.1
# Nearly every success comes within this time; waiting much longer is pointless.
MOST_PAUSE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0
# A letter is sent alone this many times to a reachable broker before it counts as what ends the connection.
_MOST_TRIES: Final = 5

Pause = Callable[[float], Awaitable[None]]


class DeadLetterPublisher:
    """The way into the dead queue of one work queue; a context manager, as its publisher is.

    `published` counts the letters that have reached the dead queue this way.
    """

    def __init__(self, url: str, queue: str, on_full: Callable[[], None] | None = None) -> None:
        self._queue = queue
        self._on_full = on_full
        self._publisher = Publisher(url, dead_exchange(queue), name=f"dead letters of {queue}")
        self._log = get_logger().bind(queue=queue)
        self.published = 0

    @property
    def is_open(self) -> bool:
        """Whether the dead queue's exchange exists and may be used, whether or not the broker is in alarm."""
        return self._publisher.is_connected

    async def __aenter__(self) -> Self:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._publisher.__aexit__(kind, exc, trace)

    async def publish(self, rejected: Sequence[tuple[Delivery, Reject]], now: datetime, pause: Pause) -> list[Delivery]:
        """Publish dead letters until each is confirmed, and return the messages whose letter could not be made or sent.

        While the broker is away or refuses them, it calls `pause` between its tries, which may raise to give up.
        """
        letters, unsent = self._dressed(rejected, now)
        is_alone = False
        seconds = FIRST_PAUSE_SECONDS
        while letters:
            wave = letters[:1] if is_alone else _distinct(letters)
            is_there = is_alone and await self._publisher.wait_ready(DEADLINE_SECONDS)
            outcomes = await self._sent(wave, pause)
            if self._on_full is not None and Outcome.REFUSED in outcomes.values():
                self._on_full()
            published = {id(each) for each in wave if outcomes.get(each.outgoing.message_id) is Outcome.CONFIRMED}
            if published:
                self.published += len(published)
                letters = [each for each in letters if id(each) not in published]
                continue
            if is_there and self._is_hopeless(wave[0], outcomes):
                unsent.append(letters.pop(0).delivery)
                continue
            # From now on one by one: a letter that cannot be sent must not hold up the others.
            letters = letters[1:] + letters[:1] if is_alone else letters
            is_alone = True
            self._log.error("dead_letters_not_confirmed", count=len(letters), pause_seconds=seconds)
            await pause(seconds)
            seconds = min(2 * seconds, MOST_PAUSE_SECONDS)
        return unsent

    def _dressed(
        self, rejected: Sequence[tuple[Delivery, Reject]], now: datetime
    ) -> tuple[list["_Letter"], list[Delivery]]:
        letters, unsent = [], []
        for delivery, reject in rejected:
            try:
                letters.append(_Letter(delivery, delivery.to_dead_letter(self._queue, reject, now)))
            except Exception as exc:  # noqa: BLE001 - a sender may write anything
                self._log.error("dead_letter_not_made", kind=type(exc).__name__)
                unsent.append(delivery)
        return letters, unsent

    async def _sent(self, wave: Sequence["_Letter"], pause: Pause) -> Mapping[str, Outcome]:
        sending = asyncio.create_task(self._publisher.send(each.outgoing for each in wave))
        try:
            await self._answered(sending, pause)
        finally:
            sending.cancel()
        try:
            return sending.result() if sending.done() else {}
        except TransientFault:
            return {}
        except Exception as exc:  # noqa: BLE001 - as above; no part of the wave went out
            self._log.error("dead_letter_not_written", kind=type(exc).__name__, count=len(wave))
            if len(wave) == 1:
                wave[0].tries = _MOST_TRIES
            return {}

    async def _answered(self, sending: "asyncio.Task[dict[str, Outcome]]", pause: Pause) -> None:
        """Wait for the outcomes up to the deadline, which stands still while the broker blocks us.

        A letter given up meanwhile would reach the dead queue twice: by this try and by the next.
        """
        waited = 0.0
        while waited < DEADLINE_SECONDS:
            await asyncio.wait({sending}, timeout=_LOOK_SECONDS)
            if sending.done():
                return
            if self._publisher.blocked_by is None:
                waited += _LOOK_SECONDS
            else:
                # An alarm may last for hours, and the service may want to stop meanwhile.
                await pause(0)

    def _is_hopeless(self, letter: "_Letter", outcomes: Mapping[str, Outcome]) -> bool:
        """Whether a letter sent alone to a reachable broker is itself the reason that no confirm came."""
        if outcomes.get(letter.outgoing.message_id, Outcome.UNKNOWN) is Outcome.UNKNOWN:
            letter.tries += 1
        return letter.tries >= _MOST_TRIES


class _Letter:
    """A dead letter on its way, and its message."""

    __slots__ = ("delivery", "outgoing", "tries")

    def __init__(self, delivery: Delivery, outgoing: Outgoing) -> None:
        self.delivery = delivery
        self.outgoing = outgoing
        self.tries = 0


def _distinct(letters: Iterable[_Letter]) -> list[_Letter]:
    """The first letter of each id: no id may be in flight twice."""
    by_id: dict[str, _Letter] = {}
    for letter in letters:
        by_id.setdefault(letter.outgoing.message_id, letter)
    return list(by_id.values())
