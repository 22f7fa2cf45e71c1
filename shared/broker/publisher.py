"""Publishing to one exchange over a supervised connection; only a confirmed message counts as published.

Exception
├── TransientFault
│   ├── BrokerUnavailable    no confirm within the deadline: the outcome is unknown
│   └── PublishRefused       the broker refused it (a queue is full)
└── BrokerRefused
    └── Unroutable           no queue wants it
"""

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import aiormq.abc

from shared.boundary import refuse_inside_transaction
from shared.broker.blocking import Blocking
from shared.broker.connection import (
    PROBE_INTERVAL_SECONDS,
    PROBE_TIMEOUT_SECONDS,
    BrokerRefused,
    BrokerUnavailable,
    Connection,
    keep_connected,
    translated,
)
from shared.broker.topology import MESSAGE_LIMIT_BYTES
from shared.broker.wire import Outcome, Outgoing, Settle, can_write_many, publish_ordinarily, write_many
from shared.events.envelope import CONTENT_TYPE, OutboxEvent
from shared.faults import TransientFault
from shared.ids import new_id
from shared.log import get_logger
from shared.metrics import EVENTS_PUBLISHED, EVENTS_UNCONFIRMED

CONFIRM_DEADLINE_SECONDS: Final = 5.0
WINDOW: Final = 500
_SHORT_TEXT_BYTES: Final = 255


class PublishRefused(TransientFault):
    """The broker refused the message; a queue is full."""


class Unroutable(BrokerRefused):
    """No queue is bound for the message."""


class Publisher:
    """Publishes to one exchange (`""` is the default one, whose routing key is a queue's name).

    Entering starts to connect and returns at once: a process may start before its broker. No message id is ever
    under way twice on a channel, because the client matches returns by message id alone and would call the lost one
    of two confirmed.
    """

    def __init__(
        self, url: str, exchange: str, *, deadline_seconds: float = CONFIRM_DEADLINE_SECONDS, name: str = ""
    ) -> None:
        self._url = url
        self._exchange = exchange
        self._deadline_seconds = deadline_seconds
        self._name = name or f"publisher to {exchange or 'queues'}"
        self._link: _Link | None = None
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._blocking = Blocking(exchange)
        self._log = get_logger()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(keep_connected(self._url, self._name, self._session), name=self._name)
        self._running.add_done_callback(lambda _: self._wake.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    @property
    def is_connected(self) -> bool:
        """Whether it is connected and the exchange exists; the broker may still not read from us (an alarm)."""
        return self._link is not None and not self._link.connection.is_over

    @property
    def blocked_by(self) -> str | None:
        """The broker's own reason for accepting nothing from us; None while it accepts."""
        return self._blocking.reason

    @property
    def is_ready(self) -> bool:
        """Whether a publish would go out now: connected, the exchange exists, the broker reads from us."""
        return self._link is not None and self.is_connected and not self._link.connection.is_blocked

    async def wait_ready(self, timeout_seconds: float) -> bool:
        """Wait until a publish would go out, at most the time given; return whether it would."""
        try:
            async with asyncio.timeout(timeout_seconds):
                link = await self._connected()
                await link.connection.unblocked()
        except TimeoutError:
            return False
        return self.is_ready

    async def publish_many(self, events: Sequence[OutboxEvent]) -> set[uuid.UUID]:
        """Publish events under their types as routing keys, and return the ids that the broker has confirmed.

        Missing from the set are events that were returned, refused, or not answered within the deadline, and those that
        another call is publishing. It is safe to publish them again: consumers know an event by its id.
        """
        outcomes = await self.publish_events(events)
        return {event_id for event_id, outcome in outcomes.items() if outcome is Outcome.CONFIRMED}

    async def publish_events(self, events: Sequence[OutboxEvent]) -> dict[uuid.UUID, Outcome]:
        """Publish events under their types as routing keys, and return the outcome of each by its id.

        Events that another call is publishing are left out. While the broker blocks us (an alarm), the
        deadline stands still.
        """
        by_id = {str(event.id): event for event in events}
        messages = [
            Outgoing(event.type, event.body, key, type=event.type, content_type=CONTENT_TYPE)
            for key, event in by_id.items()
            if self._can_be_sent(event)
        ]
        outcomes = {by_id[key].id: outcome for key, outcome in (await self.send(messages)).items()}
        sent = {message.message_id for message in messages}
        return outcomes | {event.id: Outcome.REFUSED for key, event in by_id.items() if key not in sent}

    async def publish_one(
        self,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        *,
        message_id: str | None = None,
        content_type: str = CONTENT_TYPE,
    ) -> str:
        """Publish one message and return its message id once the broker has confirmed it.

        Raises `Unroutable`, `PublishRefused`, or `BrokerUnavailable`, after which the outcome is unknown.
        """
        key = message_id or str(new_id())
        message = Outgoing(routing_key, body, key, type=routing_key, content_type=content_type, headers=headers)
        try:
            async with asyncio.timeout(2 * self._deadline_seconds):
                outcome = (await self.send([message])).get(key, Outcome.UNKNOWN)
        except TimeoutError:
            outcome = Outcome.UNKNOWN
        match outcome:
            case Outcome.RETURNED:
                raise Unroutable(f"No queue takes {routing_key!r} from exchange {self._exchange!r}.")
            case Outcome.REFUSED:
                raise PublishRefused(f"The broker refused {routing_key!r} on exchange {self._exchange!r}.")
            case Outcome.UNKNOWN:
                raise BrokerUnavailable(f"No confirm for {routing_key!r} within the deadline.")
        return key

    async def send(self, messages: Iterable[Outgoing]) -> dict[str, Outcome]:
        """Publish messages with differing ids and return the outcome of each by message id.

        Ids that another call is publishing are left out.
        """
        refuse_inside_transaction("A publish")
        outcomes: dict[str, Outcome] = {}
        waiting = list(messages)
        for start in range(0, len(waiting), WINDOW):
            outcomes |= await self._send_window(waiting[start : start + WINDOW])
        for outcome in set(outcomes.values()):
            count = sum(1 for each in outcomes.values() if each is outcome)
            if outcome is Outcome.CONFIRMED:
                EVENTS_PUBLISHED.inc(count)
            else:
                EVENTS_UNCONFIRMED.labels(outcome=outcome.value).inc(count)
                self._log.warning("publish_unconfirmed", exchange=self._exchange, outcome=outcome.value, count=count)
        return outcomes

    async def _send_window(self, messages: Sequence[Outgoing]) -> dict[str, Outcome]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                link = await self._connected()
        except TimeoutError:
            return {message.message_id: Outcome.UNKNOWN for message in messages}
        await link.connection.unblocked()
        free = [message for message in messages if message.message_id not in link.under_way]
        confirms = _Confirms(link, [message.message_id for message in free])
        if free:
            await self._write(link, free, confirms.settle)
            await self._answered(link, confirms)
        return confirms.outcomes

    async def _write(self, link: "_Link", messages: Sequence[Outgoing], settle: Settle) -> None:
        try:
            with translated():
                if can_write_many(link.channel):
                    await write_many(link.channel, self._exchange, messages, settle)
                else:
                    link.write_each(self._exchange, messages, settle)
        except BrokerUnavailable:
            link.connection.abort()
        except BaseException:
            # Nothing went out, so no id is in use.
            link.under_way.difference_update(message.message_id for message in messages)
            raise

    async def _answered(self, link: "_Link", confirms: "_Confirms") -> None:
        """Wait for every confirm, the end of the channel, or the deadline, which ends the connection.

        After a deadline the channel cannot be trusted to match confirms, and its messages may still arrive.
        """
        while True:
            await asyncio.wait(
                {confirms.complete, link.ended}, timeout=self._deadline_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if confirms.complete.done() or link.ended.done():
                return
            if not link.connection.is_blocked:
                self._log.warning("publish_deadline_passed", exchange=self._exchange)
                link.connection.abort()
                return
            await link.connection.unblocked()

    async def _connected(self) -> "_Link":
        while (link := self._link) is None or link.connection.is_over:
            if self._running is None or self._running.cancelled():
                raise RuntimeError("The publisher is not running.")
            if self._running.done():
                self._running.result()
            self._wake.clear()
            await self._wake.wait()
        return link

    async def _session(self, connection: Connection) -> None:
        channel = await connection.channel(confirms=True)
        closing = channel.closing
        await self._look(channel)
        link = _Link(connection, channel)
        connection.on_blocking(self._blocking.note)
        self._link = link
        self._wake.set()
        try:
            while not await connection.lost(closing, timeout_seconds=PROBE_INTERVAL_SECONDS):
                # A broker that blocks us does not read, so it could not answer; its heartbeats go on.
                if not connection.is_blocked:
                    await self._look(channel)
        finally:
            self._link = None
            self._blocking.note(None)
            link.ended.set_result(None)
        raise BrokerUnavailable("The connection to the broker closed.")

    async def _look(self, channel: aiormq.abc.AbstractChannel) -> None:
        """Check that the broker answers and has our exchange."""
        try:
            with translated():
                async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                    if self._exchange:
                        await channel.exchange_declare(self._exchange, passive=True)
                    else:
                        await channel.basic_qos(prefetch_count=0)
        except BrokerRefused as exc:
            raise BrokerRefused(f"exchange {self._exchange}: {exc}") from exc

    def _can_be_sent(self, event: OutboxEvent) -> bool:
        # The broker closes the channel on either, which would fail the whole batch again and again.
        can = len(event.body) <= MESSAGE_LIMIT_BYTES and len(event.type.encode()) <= _SHORT_TEXT_BYTES
        if not can:
            self._log.error("event_cannot_be_published", event_id=str(event.id), bytes=len(event.body))
        return can


class _Link:
    """One channel with its pending publishes; a new connection brings a new one."""

    def __init__(self, connection: Connection, channel: aiormq.abc.AbstractChannel) -> None:
        self.connection = connection
        self.channel = channel
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.under_way: set[str] = set()
        self._publishing: set[asyncio.Task[None]] = set()

    def write_each(self, exchange: str, messages: Sequence[Outgoing], settle: Settle) -> None:
        """Publish by the client's ordinary call, all at once."""
        for message in messages:
            task = asyncio.create_task(self._write_one(exchange, message, settle))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def _write_one(self, exchange: str, message: Outgoing, settle: Settle) -> None:
        try:
            with translated():
                outcome = await publish_ordinarily(self.channel, exchange, message)
        except BrokerUnavailable:
            # The channel ended, which is reported for all its messages at once.
            return
        except BrokerRefused:
            self.connection.abort()
            return
        settle(message.message_id, outcome)


class _Confirms:
    """The outcomes of one window, unknown until the broker answers."""

    def __init__(self, link: _Link, message_ids: Sequence[str]) -> None:
        self.outcomes = dict.fromkeys(message_ids, Outcome.UNKNOWN)
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = len(message_ids)
        self._under_way = link.under_way
        self._under_way.update(message_ids)

    def settle(self, message_id: str, outcome: Outcome) -> None:
        """Record the broker's answer to one message."""
        # A pending answer keeps its id in use, even if no caller waits for it any more.
        self._under_way.discard(message_id)
        self.outcomes[message_id] = outcome
        self._left -= 1
        if self._left == 0 and not self.complete.done():
            self.complete.set_result(None)
