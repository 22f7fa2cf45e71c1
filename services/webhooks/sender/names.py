"""Resolves names in threads of its own, within a budget of time, so that a slow name server holds up nobody else."""

import asyncio
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

DNS_SECONDS: Final = 3.0
# Nothing stops a thread that waits for a name server; there are enough for names that hang besides those that do not.
_THREADS: Final = 256
# How many names of one domain may be asked for at once. Whoever runs a domain runs its name server, so a name server
# that hangs takes so many threads and no more.
PER_DOMAIN: Final = 16
_REMEMBERED_DOMAINS: Final = 1000
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
    """Resolves names; equal questions share one answer."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook-dns")
        self._asked: dict[str, asyncio.Future[Sequence[tuple[int, str]]]] = {}
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_DOMAIN))

    async def addresses(self, name: str) -> Sequence[tuple[int, str]]:
        """Return families and addresses of a name; raises OSError, TimeoutError after three seconds."""
        async with asyncio.timeout(DNS_SECONDS):
            asked = self._asked.get(name)
            if asked is None:
                domain = _domain(name)
                await self._slots[domain].acquire()
                asked = self._asked.get(name)
                if asked is None:
                    asked = self._ask(name, domain)
                else:
                    self._give_back(domain)
            return await asyncio.shield(asked)

    def close(self) -> None:
        """Give up what is still being asked."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, name: str, domain: str) -> "asyncio.Future[Sequence[tuple[int, str]]]":
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, name)
        self._asked[name] = asked
        asked.add_done_callback(lambda done: self._forget(name, domain, done))
        return asked

    def _forget(self, name: str, domain: str, done: "asyncio.Future[Sequence[tuple[int, str]]]") -> None:
        del self._asked[name]
        self._give_back(domain)
        if not done.cancelled():
            # Whoever waited may have left; an error that nobody fetches would be reported as a leak.
            done.exception()

    def _give_back(self, domain: str) -> None:
        self._slots[domain].release()
        if len(self._slots) > _REMEMBERED_DOMAINS:
            # Whoever waits for a slot holds on to it himself; only those that nobody uses are forgotten.
            busy = {_domain(name) for name in self._asked}
            for each in [each for each in self._slots if each not in busy]:
                del self._slots[each]


def _domain(name: str) -> str:
    """Return the part of a name that somebody has registered: its last two labels, or three."""
    labels = name.lower().removesuffix(".").split(".")
    is_below = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _NO_DOMAINS
    return ".".join(labels[-3:] if is_below else labels[-2:])
