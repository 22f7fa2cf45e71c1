"""The one batch consumer: takes available messages, passes them to a handler, acknowledges only those with an outcome.

It decides nothing about a message. What the handler rejects goes to the dead queue, confirmed, before it is
acknowledged; what fails for a passing reason waits in process; what kills the handler is found by halving the batch,
and what kills the process by being taken alone. Whatever goes wrong with a message, that message ends up in the dead
queue, unchanged if need be, and the process survives.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from shared.broker.alarm import AlarmLimit, RejectAlarm
from shared.broker.bindings import bind_again
from shared.broker.connection import BrokerUnavailable, Connection, keep_connected
from shared.broker.dead_letter_publisher import FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS, DeadLetterPublisher
from shared.broker.given_up import INTERVAL_SECONDS, CountGivenUp
from shared.broker.intake import Intake
from shared.broker.lines import facts_of, refuse_to_end, tell, tell_failure, text_of
from shared.broker.messages import Delivery, Received, Reject
from shared.broker.topology import replay_exchange
from shared.clock import Clock
from shared.events.envelope import MAX_EVENT_BYTES
from shared.faults import TransientFault
from shared.log import get_logger
from shared.metrics import (
    CONSUMER_BATCH,
    CONSUMER_PAUSES,
    CONSUMER_RECONNECTS,
    CONSUMER_SECONDS,
    MESSAGES_CONSUMED,
)
from shared.periodic import Periodic

__all__ = ["AlarmLimit", "BatchConsumer", "Handle", "Received", "Reject"]

Handle = Callable[[Sequence[Received]], Awaitable[Sequence[Reject | None]]]

REASON_TOO_LARGE: Final = "too_large"
REASON_HANDLER_ERROR: Final = "handler_error"
HANDLER_DEADLINE_SECONDS: Final = 60.0
BATCH_BYTES: Final = 16 * 1024 * 1024
BIND_INTERVAL_SECONDS: Final = 60.0


class BatchConsumer:
    """Consumes one queue in batches; `handle` gives one outcome per message, in order, None for done.

    Memory is bounded by `prefetch` messages of at most the broker's limit. A batch that is being handled when its
    channel dies is handled to its end; its messages are delivered again, which the handler must make harmless (inbox).
    A `TransientFault` from `handle` pauses and repeats the same messages, without limit; so does a handler that
    takes longer than a minute. With `gather_seconds` the first message of a batch waits that long for others: for
    work that nobody waits for, which then yields the machine to work with a deadline. `on_full` is called when the dead
    queue refuses letters, again and again until there is room.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        handle: Handle,
        clock: Clock,
        batch_size: int = 500,
        prefetch: int = 1000,
        alarm_limit: AlarmLimit | None = None,
        *,
        gather_seconds: float = 0.0,
        on_full: Callable[[], None] | None = None,
    ) -> None:
        self._url = url
        self._queue = queue
        self._handle = handle
        self._clock = clock
        self._batch_size = batch_size
        self._prefetch = prefetch
        self._gather_seconds = gather_seconds
        self._alarm = RejectAlarm(alarm_limit or AlarmLimit())
        self._dead_letters = DeadLetterPublisher(url, queue, on_full)
        self._intake: Intake | None = None
        self._arrived = asyncio.Event()
        # Not set while the worker is paused: a channel opened meanwhile would only count deliveries up to the limit.
        self._may_consume = asyncio.Event()
        self._may_consume.set()
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()
        self._log = get_logger().bind(queue=queue)
        self._connected = asyncio.Event()
        count_given_up = CountGivenUp(url, queue, lambda: self._dead_letters.published)
        self.tasks = [
            Periodic("bind_queue", BIND_INTERVAL_SECONDS, self._bind, wake=self._connected),
            Periodic("count_given_up", INTERVAL_SECONDS, count_given_up),
        ]
        """Its periodic tasks, for `/readyz`; `run` runs them."""

    @property
    def is_ready(self) -> bool:
        """Whether messages arrive, can be dead-lettered, and are not held up by the alarm."""
        is_consuming = self._intake is not None and self._dead_letters.is_open
        return is_consuming and not self._stopping.is_set() and not self._alarm.is_raised

    async def run(self) -> None:
        """Consume until `stop` or cancellation; a cancelled handler call leaves its messages to be delivered again."""
        self._finished.clear()
        try:
            async with self._dead_letters:
                connecting = asyncio.create_task(keep_connected(self._url, f"consumer of {self._queue}", self._session))
                working = asyncio.create_task(self._work())
                running = {connecting, working, *(asyncio.create_task(task.run()) for task in self.tasks)}
                try:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in running:
                        task.cancel()
                    await asyncio.wait(running)
                for task in running:
                    if not task.cancelled():
                        task.result()
        finally:
            self._finished.set()

    async def stop(self) -> None:
        """Accept no more messages, finish those in hand, return the rest to the queue, and wait for all of it."""
        self._stopping.set()
        self._arrived.set()
        if self._intake is not None:
            await self._intake.cancel()
        await self._finished.wait()

    async def _session(self, connection: Connection) -> None:
        await self._may_consume.wait()
        intake = Intake(self._queue, replay_exchange(self._queue), self._prefetch, self._clock, self._arrived.set)
        try:
            await intake.open(connection)
            self._intake = intake
            self._arrived.set()
            self._connected.set()
            self._log.info("consumer_started")
            await intake.watch(connection)
        finally:
            self._intake = None
            intake.end()
            CONSUMER_RECONNECTS.labels(queue=self._queue).inc()
        raise BrokerUnavailable(f"The channel that consumes {self._queue} is gone.")

    async def _bind(self) -> None:
        """Bind the queue again: unbinding it would lose events silently."""
        # Without a connection there is nothing to do: the next one comes back here at once.
        if self._intake is not None:
            with suppress(BrokerUnavailable):
                await bind_again(self._url, self._queue)

    async def _work(self) -> None:
        while not self._stopping.is_set():
            # Cleared first: what arrives between the check and the wait wakes us.
            self._arrived.clear()
            intake = self._intake
            if intake is None or intake.is_empty:
                await self._arrived.wait()
                if self._gather_seconds and not self._stopping.is_set():
                    await asyncio.sleep(self._gather_seconds)
                continue
            batch = intake.take(self._batch_size, BATCH_BYTES)
            CONSUMER_BATCH.labels(queue=self._queue).observe(len(batch))
            try:
                if batch[0].came_often:
                    await self._take_alone(intake, batch[0])
                await self._settle_surely(intake, batch)
            except _GivenBack:
                self._log.info("batch_given_back", count=len(batch))

    async def _take_alone(self, intake: Intake, delivery: Delivery) -> None:
        """Keep nothing else in hand with a message that may end the process."""
        self._log.warning("message_taken_alone", message_id=delivery.received.message_id)
        if not await intake.ack_apart():
            raise _GivenBack

    async def _settle_surely(self, intake: Intake, batch: Sequence[Delivery]) -> None:
        """Settle a batch. If our own code fails on it, settle one by one, and move the failing message unchanged."""
        try:
            await self._settle_batch(intake, batch)
        except _GivenBack:
            raise
        except BaseException as exc:  # noqa: BLE001 - the process edge: no message may end the process
            refuse_to_end(exc)
            left = [delivery for delivery in batch if not intake.is_settled(delivery)]
            tell_failure(self._log, "batch_not_settled", exc, count=len(left))
            if len(left) > 1:
                for delivery in left:
                    await self._settle_surely(intake, [delivery])
            elif left and not await intake.reject(left[0]):
                raise _GivenBack from None

    async def _settle_batch(self, intake: Intake, batch: Sequence[Delivery]) -> None:
        too_large = [delivery for delivery in batch if len(delivery.received.body) > MAX_EVENT_BYTES]
        if too_large:
            reject = Reject(REASON_TOO_LARGE, f"The body is larger than {MAX_EVENT_BYTES} bytes.")
            await self._settle(intake, too_large, [reject] * len(too_large))
            batch = [delivery for delivery in batch if len(delivery.received.body) <= MAX_EVENT_BYTES]
        if batch:
            await self._handle_or_halve(intake, batch)

    async def _handle_or_halve(self, intake: Intake, batch: Sequence[Delivery]) -> None:
        try:
            outcomes = await self._handled(batch)
        except _GivenBack:
            raise
        except BaseException as exc:  # noqa: BLE001 - the process edge: any failure of a handler has a named outcome
            refuse_to_end(exc)
            if len(batch) == 1:
                await self._fail(intake, batch[0], exc)
                return
            self._log.warning("batch_halved", count=len(batch), error=type(exc).__name__)
        else:
            self._alarm.taken(len(batch))
            await self._settle(intake, batch, outcomes)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if intake.is_over or self._stopping.is_set():
                raise _GivenBack
            await self._handle_or_halve(intake, half)

    async def _handled(self, batch: Sequence[Delivery]) -> Sequence[Reject | None]:
        """Call the handler, again after each transient fault, until every message has an outcome."""
        received = [delivery.received for delivery in batch]
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                with CONSUMER_SECONDS.labels(queue=self._queue).time():
                    outcomes = await self._bounded(received)
            except TransientFault as exc:
                self._log.warning("consumer_paused", seconds=pause, error=str(exc))
                CONSUMER_PAUSES.labels(queue=self._queue).inc()
                await self._pause(pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)
            else:
                self._may_consume.set()
                if len(outcomes) != len(batch):
                    raise ValueError(f"The handler gave {len(outcomes)} outcomes for {len(batch)} messages.")
                return outcomes

    async def _bounded(self, received: Sequence[Received]) -> Sequence[Reject | None]:
        try:
            async with asyncio.timeout(HANDLER_DEADLINE_SECONDS) as limit:
                return await self._handle(received)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TransientFault(f"The handler took longer than {HANDLER_DEADLINE_SECONDS:.0f} s.") from None
        except asyncio.CancelledError:
            # Something that the handler awaited was cancelled, as clients do when a connection ends; this task was not.
            if _is_cancelled():
                raise
            raise TransientFault("What the handler waited for was cancelled.") from None

    async def _fail(self, intake: Intake, delivery: Delivery, exc: BaseException) -> None:
        """Dead-letter the one message on which the handler fails, and pause if there are many of these."""
        received = delivery.received
        tell_failure(self._log, "message_handler_failed", exc, routing_key=received.routing_key, **facts_of(received))
        reject = Reject(REASON_HANDLER_ERROR, f"{type(exc).__name__}: {text_of(exc)}")
        await self._settle(intake, [delivery], [reject])
        seconds = self._alarm.failed()
        if seconds:
            self._log.error("reject_alarm", pause_seconds=seconds)
            await self._pause(seconds)
            self._may_consume.set()

    async def _pause(self, seconds: float) -> None:
        self._may_consume.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise _GivenBack

    async def _settle(self, intake: Intake, batch: Sequence[Delivery], outcomes: Sequence[Reject | None]) -> None:
        rejected = [(delivery, reject) for delivery, reject in zip(batch, outcomes, strict=True) if reject is not None]
        unsent = await self._dead_letters.publish(rejected, self._clock(), self._pause) if rejected else []
        self._may_consume.set()
        for delivery in unsent:
            self._log.error("dead_letter_left_to_broker", message_id=delivery.received.message_id)
            await intake.reject(delivery)
        for delivery, reject in rejected:
            facts = facts_of(delivery.received)
            tell(self._log, "message_rejected", reason=reject.reason, detail=reject.detail, **facts)
            MESSAGES_CONSUMED.labels(queue=self._queue, outcome=reject.reason).inc()
        MESSAGES_CONSUMED.labels(queue=self._queue, outcome="done").inc(len(batch) - len(rejected))
        if not await intake.ack([delivery for delivery in batch if delivery not in unsent]):
            self._log.info("ack_not_sent", count=len(batch))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


class _GivenBack(Exception):
    """The consumer stops, or its channel is gone: messages without an outcome are delivered again."""
