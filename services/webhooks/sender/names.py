"""Resolves names in threads of its own, within a budget of time, so that a slow name server holds up nobody else."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final
from weakref import WeakValueDictionary

DNS_SECONDS: Final = 3.0
# Nothing stops a thread that waits for a name server; there are enough for names that hang besides those that do not.
_THREADS: Final = 512
# How many of them names may take that have hung lately, and names of which nothing is known; the rest is left to names
# that were answered when they were last asked for.
_HUNG_THREADS: Final = 32
_NEW_THREADS: Final = 416
# For how long a name that has hung is asked for among its like only.
HUNG_SECONDS: Final = 60.0
# How many names of one domain may be asked for at once. Whoever runs a domain runs its name server, so a name server
# that hangs takes so many threads and no more.
PER_DOMAIN: Final = 16
_REMEMBERED_NAMES: Final = 20_000
_ANSWERED: Final = -1.0
# Below country codes these stand where else the domain does: whoever runs `example.co.uk` does not run `co.uk`.
_NO_DOMAINS: Final = frozenset({"ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "nom", "or", "org"})

Lookup = Callable[[str], Sequence[tuple[int, str]]]
"""Resolves a name to pairs of address family and address; blocks, and raises OSError."""


def look_up(name: str) -> list[tuple[int, str]]:
    """Ask the system's resolver. The trailing dot keeps its search domains out."""
    absolute = name if name == "localhost" or name.endswith(".") else name + "."
    found = socket.getaddrinfo(absolute, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class NameService:
    """Resolves names; equal questions share one answer, and names that hang have few threads among themselves."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook-dns")
        self.asked: dict[str, asyncio.Future[Sequence[tuple[int, str]]]] = {}
        # Whoever waits for a slot or has one holds on to it himself.
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._answered, self._new, self._hung = map(asyncio.Semaphore, (_THREADS, _NEW_THREADS, _HUNG_THREADS))
        # When a name was last seen to hang, unless it was answered since.
        self._hung_at: dict[str, float] = {}

    async def addresses(self, name: str) -> Sequence[tuple[int, str]]:
        """Return families and addresses of a name; raises OSError, TimeoutError after three seconds."""
        asked = None
        try:
            async with asyncio.timeout(DNS_SECONDS):
                asked = self.asked.get(name) or await self._ask(name)
                return await asyncio.shield(asked)
        except TimeoutError:
            # One that has waited for a thread in vain has not hung.
            if asked is not None:
                self._remember(name, monotonic())
            raise

    def close(self) -> None:
        """Give up what is still being asked."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, name: str) -> "asyncio.Future[Sequence[tuple[int, str]]]":
        domain = _domain(name)
        slot = self._slots.get(domain)
        if slot is None:
            slot = self._slots[domain] = asyncio.Semaphore(PER_DOMAIN)
        share = self._share(name)
        await slot.acquire()
        try:
            await share.acquire()
        except asyncio.CancelledError:
            slot.release()
            raise
        asked = self.asked.get(name)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, name)
            self.asked[name] = asked
            started = monotonic()
            asked.add_done_callback(lambda done: self._forget(name, done, started))
            asked.add_done_callback(lambda _: _give_back(slot, share))
        else:
            _give_back(slot, share)
        return asked

    def _forget(self, name: str, done: "asyncio.Future[Sequence[tuple[int, str]]]", started: float) -> None:
        del self.asked[name]
        if not done.cancelled():
            # Whoever waited may have left; an error that nobody fetches would be reported as a leak.
            done.exception()
            now = monotonic()
            self._remember(name, now if now - started >= DNS_SECONDS else _ANSWERED)

    def _share(self, name: str) -> asyncio.Semaphore:
        """Return what it takes its thread from."""
        hung_at = self._hung_at.get(name)
        if hung_at == _ANSWERED:
            return self._answered
        return self._new if hung_at is None or monotonic() - hung_at > HUNG_SECONDS else self._hung

    def _remember(self, name: str, hung_at: float) -> None:
        self._hung_at.pop(name, None)
        self._hung_at[name] = hung_at
        if len(self._hung_at) > _REMEMBERED_NAMES:
            del self._hung_at[next(iter(self._hung_at))]


def _give_back(*taken: asyncio.Semaphore) -> None:
    for each in taken:
        each.release()


def _domain(name: str) -> str:
    """Return the part of a name that somebody has registered: its last two labels, or three."""
    labels = name.lower().removesuffix(".").split(".")
    is_below = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _NO_DOMAINS
    return ".".join(labels[-3:] if is_below else labels[-2:])
