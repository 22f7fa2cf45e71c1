"""Counts what the broker itself moved to a dead queue, by its reason, with the rights of the queue's own service.

A consumer counts what it rejects. It never learns of messages that expire, or that end their consumers up to the
delivery limit; these have to be looked for in the dead queue. Nothing is removed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import aiormq.abc

from shared.broker.connection import BrokerUnavailable, Connection, connect, translated
from shared.broker.frames import Delivered
from shared.broker.letters import DeadMessage
from shared.broker.operator.dead import DeadQueue
from shared.broker.topology import dead_queue
from shared.log import get_logger
from shared.metrics import BROKER_DEAD_MESSAGES

INTERVAL_SECONDS: Final = 30.0
_TIMEOUT_SECONDS: Final = 5.0
# The number fetched at once; a full fetch is a reason to look for more.
_LOOKED_AT: Final = 500


class CountGivenUp:
    """Looks into the dead queue when it holds more than this process has sent, as `published` counts.

    It looks as a consumer, so that operators' commands see that messages are in hand, and wait a moment.
    """

    def __init__(self, url: str, queue: str, published: Callable[[], int]) -> None:
        self._url = url
        self._queue = queue
        self._buried = published
        self._has_begun = False
        # The length of the dead queue at the last look, and how many letters this process had sent by then.
        self._seen = self._seen_published = 0
        self._reasons: Counter[str] = Counter()
        self._log = get_logger().bind(queue=queue)

    async def __call__(self) -> None:
        """Look if there is a reason to, and set the metric; not on the first call, when a process starts."""
        if not self._has_begun:
            self._has_begun = True
            return
        # Other parts report a broker that is away; the next look follows.
        with suppress(BrokerUnavailable):
            await self._look_if_needed()

    async def _look_if_needed(self) -> None:
        published = self._buried()
        connection = await connect(self._url, f"dead messages of {self._queue}, looked at")
        try:
            channel = await connection.channel(confirms=False)
            with translated():
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    answer = await channel.queue_declare(dead_queue(self._queue), passive=True)
            count = answer.message_count or 0
            if count > self._seen + published - self._seen_published or (self._reasons and count < self._seen):
                self._tell(await self._look(connection, channel, min(count, _LOOKED_AT)) if count else Counter())
        finally:
            await connection.close()
        self._seen, self._seen_published = count, published

    async def _look(self, connection: Connection, channel: aiormq.abc.AbstractChannel, count: int) -> Counter[str]:
        """Take the first messages, count those that the broker moved, and return all in their order.

        The first goes to a consumer, which shows operators that somebody looks; the others are fetched singly, because
        messages of a consumer are returned in any order.
        """
        reasons: Counter[str] = Counter()
        first: asyncio.Future[Delivered] = asyncio.get_running_loop().create_future()

        def receive(delivered: Delivered) -> None:
            if not first.done():
                first.set_result(delivered)

        connection.on_delivery(receive)
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await channel.basic_qos(prefetch_count=1)
                answer = await channel.basic_consume(dead_queue(self._queue), _never_called)
            await connection.lost(first, timeout_seconds=_TIMEOUT_SECONDS)
        found = DeadQueue(connection, channel, self._queue, count - 1)
        if first.done():
            message = DeadMessage.of(first.result(), self._queue, connection.broker_version)
            reasons[message.reason] += message.is_moved_by_broker
            async for taken in found.messages():
                reasons[taken.message.reason] += taken.message.is_moved_by_broker
        with translated():
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await channel.basic_cancel(answer.consumer_tag or "")
        if first.done():
            # On its own, because messages of a consumer and fetched ones are returned in any order.
            await found.return_up_to([first.result().tag])
        await found.give_back()
        return +reasons

    def _tell(self, reasons: Counter[str]) -> None:
        for reason in reasons | self._reasons:
            BROKER_DEAD_MESSAGES.labels(queue=self._queue, reason=reason).set(reasons[reason])
            if reasons[reason] > self._reasons[reason]:
                self._log.error("messages_given_up", reason=reason, count=reasons[reason])
        self._reasons = reasons


async def _never_called(_: aiormq.abc.DeliveredMessage) -> None:
    """The client requires a callback, though deliveries are taken out of the stream before it sees them."""
