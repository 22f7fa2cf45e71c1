"""Resolves names in threads of its own with a time limit, so that a slow name server holds up nothing else."""

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
# How many threads names may take that have hung recently, and names never resolved before; the rest is kept for names
# that resolved the last time.
_HUNG_THREADS: Final = 32
_NEW_THREADS: Final = 416
# For how long a name that has hung is resolved in that share only.
HUNG_SECONDS: Final = 60.0
# How many names of one domain may be resolved at once. The owner of a domain runs its name server, so a name server
# that hangs takes this many threads and no more.
PER_DOMAIN: Final = 16
_REMEMBERED_NAMES: Final = 20_000
_ANSWERED: Final = -1.0
# Below country codes these labels stand where the registered name does elsewhere: the owner of `example.co.uk` does not
# own `co.uk`.
_NO_DOMAINS: Final = frozenset({"ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "nom", "or", "org"})

Lookup = Callable[[str], Sequence[tuple[int, str]]]
"""Resolves a name to pairs of address family and address; blocks; raises OSError."""


def look_up(name: str) -> list[tuple[int, str]]:
    """Ask the system's resolver. The trailing dot keeps search domains out."""
    absolute = name if name == "localhost" or name.endswith(".") else name + "."
    found = socket.getaddrinfo(absolute, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [(family, str(address[0])) for family, _, _, _, address in found]


class NameService:
    """Resolves names; concurrent requests for a name share one lookup, and names that hang share a few threads."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook-dns")
        self.asked: dict[str, asyncio.Future[Sequence[tuple[int, str]]]] = {}
        # Requests that wait for a slot or have one hold a reference to it themselves.
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._answered, self._new, self._hung = map(asyncio.Semaphore, (_THREADS, _NEW_THREADS, _HUNG_THREADS))
        # When a name was last seen to hang, unless it has resolved since.
        self._hung_at: dict[str, float] = {}

    async def addresses(self, name: str) -> Sequence[tuple[int, str]]:
        """Return families and addresses of a name; raises OSError, or TimeoutError after three seconds."""
        asked = None
        try:
            async with asyncio.timeout(DNS_SECONDS):
                asked = self.asked.get(name) or await self._ask(name)
                return await asyncio.shield(asked)
        except TimeoutError:
            # A name that has waited for a thread in vain has not hung.
            if asked is not None:
                self._remember(name, monotonic())
            raise

    def close(self) -> None:
        """Abandon the lookups in progress."""
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
            # The requests that waited may have gone; an error that nobody fetches would be reported as a leak.
            done.exception()
            now = monotonic()
            self._remember(name, now if now - started >= DNS_SECONDS else _ANSWERED)

    def _share(self, name: str) -> asyncio.Semaphore:
        """Return the share of threads that a name belongs to."""
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
    """Return the registered part of a name: its last two labels, or three."""
    labels = name.lower().removesuffix(".").split(".")
    is_below = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _NO_DOMAINS
    return ".".join(labels[-3:] if is_below else labels[-2:])
