"""Connections to the broker that notice their own death, and the loop that replaces them.

Exception
├── TransientFault
│   └── BrokerUnavailable    away, unreachable, closed under us: try again later
│       └── BrokerLoginRefused    there, and refuses the user's password or the virtual host
└── BrokerRefused            the broker refused: missing, forbidden, or existing with other arguments
"""

import asyncio
import logging
import random
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import aio_pika
import aiormq.abc
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)
from yarl import URL

from shared.boundary import refuse_inside_transaction
from shared.broker.frames import Delivered, FrameReader
from shared.faults import TransientFault
from shared.log import get_logger

HEARTBEAT_SECONDS: Final = 5
CONNECT_TIMEOUT_SECONDS: Final = 5.0
CLOSE_TIMEOUT_SECONDS: Final = 2.0
PROBE_INTERVAL_SECONDS: Final = 5.0
PROBE_TIMEOUT_SECONDS: Final = 5.0
BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MOST_SECONDS: Final = 5.0
_NUMBER: Final = re.compile(r"\d{1,9}")
_LOGIN_REFUSED: Final = (AuthenticationError, ProbableAuthenticationError)

# Every end of a connection is reported here, once and with its context; the client would report it a second time.
logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)


class BrokerUnavailable(TransientFault):
    """The broker is unreachable, or went away before it answered."""

    is_outage = True


class BrokerLoginRefused(BrokerUnavailable):
    """The broker refuses the log-in; an operator can fix that while the service keeps trying."""


class BrokerRefused(Exception):
    """The broker refused: the thing is missing, forbidden, or exists with other settings."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the client's errors into the two of this package."""
    try:
        yield
    except asyncio.CancelledError as exc:
        # The client fails its futures with CancelledError when a connection closes. Only a cancellation that was
        # asked of this task is one.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("The connection to the broker closed.") from exc
    except (ChannelPreconditionFailed, ChannelNotFoundEntity, ChannelAccessRefused) as exc:
        raise BrokerRefused(_one_line(exc)) from exc
    except _LOGIN_REFUSED as exc:
        raise BrokerLoginRefused(_one_line(exc)) from exc
    except (AMQPError, OSError, ChannelInvalidStateError, EOFError) as exc:
        raise BrokerUnavailable(_one_line(exc)) from exc
    except RuntimeError as exc:
        if "closed" not in str(exc):
            raise
        # What the client raises when a channel is asked of a connection that has ended.
        raise BrokerUnavailable(_one_line(exc)) from exc
    except Exception as exc:
        # Where a channel is closed without a reason, the client fails pending calls with a bare Exception.
        if type(exc) is Exception:
            raise BrokerUnavailable("The channel closed.") from exc
        raise


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or ("no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__)


class Connection:
    """An open connection of aio-pika that can be ended at once, however dead the network is.

    Channels are aio-pika's; what is handed out is the layer below them, because the layer above builds an object, a
    task and a lock per message, which cost more than all else that is done for it.
    """

    def __init__(
        self, client: aio_pika.Connection, amqp: aiormq.abc.AbstractConnection, transport: "_Transport"
    ) -> None:
        self._client = client
        self._amqp = amqp
        self._transport = transport
        # The client holds channels weakly; an unreferenced one would be collected.
        self._channels: list[aio_pika.abc.AbstractChannel] = []
        self._closing = amqp.closing
        self._aborted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_blocked(self) -> bool:
        """Whether the broker has stopped reading from us because of a memory or disk alarm."""
        waiting = self._amqp.ready()
        try:
            waiting.send(None)
        except StopIteration:
            return False
        waiting.close()
        return True

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended, or has been dropped."""
        return self._aborted.done() or self._closing.done()

    async def unblocked(self) -> None:
        """Wait until the broker reads from us; also returns when the connection ends."""
        reading = asyncio.ensure_future(self._amqp.ready())
        try:
            await asyncio.wait({reading, self._closing, self._aborted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()

    async def channel(self, *, confirms: bool) -> aiormq.abc.AbstractChannel:
        """Open a channel; there should be one per role, for the client keeps memory of each."""
        with translated():
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                # Without the second flag a returned message would count as confirmed.
                channel = self._client.channel(publisher_confirms=confirms, on_return_raises=confirms)
                await channel.initialize()
                self._channels.append(channel)
                return await channel.get_underlay_channel()

    async def lost(self, *ends: asyncio.Future[Any], timeout_seconds: float) -> bool:
        """Wait up to the time given; return whether the connection or one of `ends` is over."""
        done, _ = await asyncio.wait(
            {self._closing, self._aborted, *ends},
            timeout=timeout_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return bool(done)

    def on_delivery(self, receive: Callable[[Delivered], None]) -> None:
        """Hand every delivery of this connection to `receive`, as it comes in; one consumer per connection."""
        if self._transport.reader is not None:
            self._transport.reader.on_delivery = receive

    def on_blocking(self, tell: Callable[[str | None], None]) -> None:
        """Call back when the broker stops reading from us, with its reason, and with None when it reads again."""
        if self._transport.reader is not None:
            self._transport.reader.on_blocking = tell

    def last_got(self) -> Delivered:
        """Return what was last got singly (`basic_get`) with the properties that the client does not see, bodiless."""
        got = None if self._transport.reader is None else self._transport.reader.got
        if got is None:
            raise BrokerUnavailable("Nothing was got on this connection.")
        return got

    @property
    def broker_version(self) -> tuple[int, ...]:
        """The version that the broker reports; (0,) if it reports none with numbers."""
        version = self._amqp.server_properties.get("version")
        text = version if isinstance(version, str) else ""
        return tuple(int(part) for part in _NUMBER.findall(text)[:3]) or (0,)

    def abort(self) -> None:
        """Drop the socket now; anything in progress has an unknown outcome."""
        self._transport.abort()
        if not self._aborted.done():
            self._aborted.set_result(None)

    async def close(self) -> None:
        """Close politely if that works within two seconds, else drop the socket."""
        try:
            # arch: allow-broad-except: whatever goes wrong while closing, the socket is dropped next
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._client.close()
        except asyncio.CancelledError:
            # The client fails its futures with it, too. A cancellation of this task must not be lost, or the task
            # would continue, and a caller that awaits its end would wait forever.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        finally:
            self.abort()


class _Transport(TransportFactory):
    """Opens the socket with keepalive and keeps hold of it."""

    def __init__(self, *, tls: bool) -> None:
        self._inner: TransportFactory = TLSTransportFactory() if tls else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None
        self.reader: FrameReader | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._inner.create(url, **kwargs)
        self.reader = FrameReader(reader)
        _keep_alive(self._writer.get_extra_info("socket"))
        # The client asks of its reader only what ours has.
        return cast(asyncio.StreamReader, self.reader), self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every platform has all of them; the heartbeat and the probes are the fallback.
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 15_000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def connect(url: str, name: str) -> Connection:
    """Open one connection within five seconds, shown under `name` at the broker; raises `BrokerUnavailable`."""
    refuse_inside_transaction("A call to the broker")
    target = URL(url)
    target = target.update_query({"name": name, "heartbeat": target.query.get("heartbeat", str(HEARTBEAT_SECONDS))})
    transport = _Transport(tls=target.scheme == "amqps")
    with translated():
        client = aio_pika.Connection(target)
        # Handed on to aiormq, whose public parameter it is; aio-pika has no name for it.
        client.kwargs["transport_factory"] = transport
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await client.connect()
        except BaseException as exc:
            transport.abort()
            if client.transport is None:
                # Only marks it as closed: otherwise the client would close it when it is collected, in any thread.
                await client.close()
            if isinstance(exc, OSError) and not isinstance(exc, _LOGIN_REFUSED):
                raise BrokerUnavailable(
                    f"The broker at {target.host}:{target.port} cannot be reached: {_one_line(exc)}"
                ) from exc
            raise
        if client.transport is None:
            raise BrokerUnavailable("The connection to the broker closed.")
        return Connection(client, client.transport.connection, transport)


def backoff_seconds(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """How long to wait after failure number `attempt` (from 0): full jitter under 0.2 s doubling to 5 s."""
    most = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(attempt, 10))
    return chance() * most


async def keep_connected(url: str, name: str, session: Callable[[Connection], Awaitable[None]]) -> None:
    """Connect and run `session`, and again each time one or the other fails; ends only by cancellation.

    A session ends by returning or by raising `BrokerUnavailable` or `BrokerRefused`; anything else is a defect and
    is raised from here.
    """
    log = get_logger()
    attempt = 0
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await _one_session(url, name, session)
        except (BrokerUnavailable, BrokerRefused) as exc:
            log.warning("broker_connection_lost", connection=name, error=str(exc), attempt=attempt)
        attempt = 0 if loop.time() - started > 2 * BACKOFF_MOST_SECONDS else attempt + 1
        await asyncio.sleep(backoff_seconds(attempt))


async def _one_session(url: str, name: str, session: Callable[[Connection], Awaitable[None]]) -> None:
    connection = await connect(url, name)
    # The session runs in a task of its own, for the client may cancel the task that awaits it when a connection ends.
    running = asyncio.ensure_future(session(connection))
    try:
        await asyncio.wait({running})
    finally:
        running.cancel()
        await asyncio.wait({running})
        await connection.close()
    if running.cancelled():
        raise BrokerUnavailable("The connection to the broker closed.")
    running.result()
