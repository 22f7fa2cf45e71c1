"""Checks every address at the moment it is dialled: the resolver whole names, the socket factory single addresses.

A check when an endpoint is registered cannot replace this, because a name may resolve to something else a second later.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, cast

from aiohttp import ClientPayloadError, StreamReader, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http import RawResponseMessage

from services.webhooks.domain.addresses import REFUSED, Reach, is_dialable
from services.webhooks.sender.names import NameService

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_INTERIM: Final = 100
_PIECE_BYTES: Final = 8 * 1024
_EMPTY_LINE: Final = b"\r\n\r\n"
_SWITCHING: Final = 101
_NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class AddressRefused(OSError):
    """The address may not be dialled, or the name has none."""

    def __init__(self) -> None:
        super().__init__(REFUSED)


class VettingResolver(AbstractResolver):
    """Refuses a name as a whole if any of its addresses may not be dialled: the client would try the others."""

    def __init__(self, names: NameService, reach: Reach) -> None:
        self._names = names
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of the host, all of them checked."""
        started = time.perf_counter()
        try:
            found = await self._names.addresses(host)
        except (OSError, UnicodeError, ValueError):
            raise AddressRefused from None
        finally:
            if (dial := DIALLED.get(None)) is not None:
                dial.dns = time.perf_counter() - started
        if not found or not all(is_dialable(address, self._reach) for _, address in found):
            raise AddressRefused
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for family, address in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def vetting_socket_factory(reach: Reach) -> Callable[[AddrInfoType], socket.socket]:
    """Return a factory that opens sockets for addresses within reach and raises `AddressRefused` for all others."""

    def open_socket(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        if not is_dialable(str(where[0]), reach):
            raise AddressRefused
        if (dial := DIALLED.get(None)) is not None:
            dial.started_at, dial.address = time.perf_counter(), str(where[0])
        opened = socket.socket(family=family, type=kind, proto=protocol)
        opened.setblocking(False)
        opened.setsockopt(*_NO_DELAY)
        return opened

    return open_socket


class Dial:
    """What one request needed for its connection: nothing, if it reused one. Times are in seconds."""

    __slots__ = ("address", "connected_at", "dns", "has_dialled", "protocol", "ready_at", "started_at", "tls")

    def __init__(self) -> None:
        self.has_dialled = False
        self.dns: float | None = None
        self.started_at: float | None = None
        self.connected_at: float | None = None
        self.tls: float | None = None
        self.ready_at: float | None = None
        self.address: str | None = None
        self.protocol: BoundedAnswer | None = None

    @property
    def has_flooded(self) -> bool:
        """Whether the receiver sent more before its response than is read."""
        return self.protocol is not None and self.protocol.has_flooded

    @property
    def connect(self) -> float | None:
        """How long the TCP connection took; with several addresses the last one tried counts."""
        if self.started_at is None or self.connected_at is None:
            return None
        return self.connected_at - self.started_at


DIALLED: Final[ContextVar[Dial]] = ContextVar("dialled")


class BoundedAnswer(ResponseHandler):
    """The protocol of a connection that limits the size of a response head and the number of interim responses."""

    address: str | None = None
    has_flooded = False
    _is_answered = False
    _head_bytes = 0
    _interim = 0

    def begin(self) -> None:
        """Reset the counts for the next request."""
        self._is_answered = False
        self._head_bytes = self._interim = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Record the peer."""
        peer = transport.get_extra_info("peername")
        self.address = None if peer is None else str(peer[0])
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass the head on in pieces, so that a flood is seen before it was parsed and stored.

        Each piece ends with an empty line if there is one, so that data after a response cannot undo it.
        """
        place = 0
        while place < len(data) and not self._is_answered:
            end = data.find(_EMPTY_LINE, place, place + _PIECE_BYTES)
            piece = data[place : place + _PIECE_BYTES if end < 0 else end + len(_EMPTY_LINE)]
            place += len(piece)
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._is_answered or self.transport is None:
                break
            if self._head_bytes > MAX_HEAD_BYTES or self._interim > MAX_INTERIM:
                self.has_flooded = True
                self.set_exception(ClientPayloadError("too much before an answer"))
                self.transport.abort()
                return
        if place < len(data):
            super().data_received(data[place:])

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Distinguish the response from the interim ones before it."""
        if 100 <= data[0].code < 200 and data[0].code != _SWITCHING:
            self._interim += 1
        else:
            self._is_answered = True
        super().feed_data(data, size)


class NotingConnector(TCPConnector):
    """Records for each request what its connection cost: a failure on a reused connection may be retried once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(self._make_protocol))

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: Any,  # noqa: ASYNC109 - the signature is the base class's
    ) -> Connection:
        """Return a connection, reused or new, and record its peer."""
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if isinstance(protocol, BoundedAnswer):
            protocol.begin()
            dial = DIALLED.get()
            dial.protocol, dial.address, dial.ready_at = protocol, protocol.address, time.perf_counter()
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: Any,  # noqa: ASYNC109 - the signature is the base class's
    ) -> ResponseHandler:
        dial = DIALLED.get()
        dial.has_dialled = True
        made = await super()._create_connection(req, traces, timeout)
        if req.is_ssl() and dial.connected_at is not None:
            dial.tls = time.perf_counter() - dial.connected_at
        return made

    def _make_protocol(self) -> BoundedAnswer:
        # The loop asks for it once the TCP connection is established and before TLS begins.
        DIALLED.get().connected_at = time.perf_counter()
        return BoundedAnswer(loop=self._loop)
