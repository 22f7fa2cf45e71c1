"""Vets every address at the moment it is dialled: the resolver whole names, the socket factory single addresses.

A check when an endpoint is registered cannot replace this, since a name may resolve to something else a second later.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import AddrInfoType

from services.webhooks.domain.addresses import REFUSED, Reach, is_dialable

DNS_SECONDS: Final = 3.0
_DNS_THREADS: Final = 32
_NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

Lookup = Callable[[str], Sequence[tuple[int, str]]]
"""Resolves a name to pairs of address family and address; blocks, and raises OSError."""


class AddressRefused(OSError):
    """The address may not be dialled, or the name has none."""

    def __init__(self) -> None:
        super().__init__(REFUSED)


def look_up(name: str) -> list[tuple[int, str]]:
    """Ask the system's resolver. The trailing dot keeps its search domains out."""
    absolute = name if name == "localhost" or name.endswith(".") else name + "."
    found = socket.getaddrinfo(absolute, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class NameService:
    """Resolves names in threads of its own, so that a slow name server holds up nobody else; equal questions share."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_DNS_THREADS, thread_name_prefix="webhook-dns")
        self._asked: dict[str, asyncio.Future[Sequence[tuple[int, str]]]] = {}

    async def addresses(self, name: str) -> Sequence[tuple[int, str]]:
        """Return families and addresses of a name; raises OSError, TimeoutError after three seconds."""
        asked = self._asked.get(name)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, name)
            self._asked[name] = asked
            asked.add_done_callback(lambda done: self._forget(name, done))
        async with asyncio.timeout(DNS_SECONDS):
            return await asyncio.shield(asked)

    def close(self) -> None:
        """Give up what is still being asked."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self, name: str, done: "asyncio.Future[Sequence[tuple[int, str]]]") -> None:
        del self._asked[name]
        if not done.cancelled():
            # Whoever waited may have left; an error that nobody fetches would be reported as a leak.
            done.exception()


class VettingResolver(AbstractResolver):
    """Refuses a name as a whole if any of its answers may not be dialled: the client would fall through to the next."""

    def __init__(self, names: NameService, reach: Reach) -> None:
        self._names = names
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of the host, all of them vetted."""
        try:
            found = await self._names.addresses(host)
        except (OSError, UnicodeError, ValueError):
            raise AddressRefused from None
        if not found or not all(is_dialable(address, self._reach) for _, address in found):
            raise AddressRefused
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for family, address in found
        ]

    async def close(self) -> None:
        """Nothing is held here."""


def vetting_socket_factory(reach: Reach) -> Callable[[AddrInfoType], socket.socket]:
    """Return a factory that opens sockets for addresses within reach and raises `AddressRefused` for all others."""

    def open_socket(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        if not is_dialable(str(where[0]), reach):
            raise AddressRefused
        opened = socket.socket(family=family, type=kind, proto=protocol)
        opened.setblocking(False)
        opened.setsockopt(*_NO_DELAY)
        return opened

    return open_socket


class DialNote:
    """Says whether the current request opened a connection of its own."""

    __slots__ = ("has_dialled",)

    def __init__(self) -> None:
        self.has_dialled = False


DIALLED: Final[ContextVar[DialNote]] = ContextVar("dialled")


class NotingConnector(TCPConnector):
    """Notes for each request that a connection was opened: what fails on a reused one may be tried once more."""

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: Any,  # noqa: ASYNC109 - the signature is the base class's
    ) -> ResponseHandler:
        DIALLED.get().has_dialled = True
        return await super()._create_connection(req, traces, timeout)
