"""A closed-loop HTTP load: each of N connections sends its next request after each response. Bounded in time."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast


@dataclass
class Load:
    """The results: latencies in seconds, and responses by status."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Successful responses per second."""
        return (self.statuses[200] + self.statuses[201]) / self.seconds

    def percentile(self, percent: float) -> float:
        """A latency percentile in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000 if ordered else float("nan")


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], load: Load, until: float, done: "asyncio.Future[None]") -> None:
        self.requests, self.load, self.until, self.done = requests, load, until, done
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(rest) < length:
            return
        now = time.perf_counter()
        self.buffer = rest[length:]
        self.load.latencies.append(now - self.sent_at)
        self.load.statuses[int(head[9:12])] += 1
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def run_load(port: int, keys: Sequence[str], *, connections: int, seconds: float) -> Load:
    """POST generate with the given partner keys in turn, over several connections, for a time."""
    requests = itertools.cycle(
        [
            f"POST /api/partners/codes/generate HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Partner-Key: {key}\r\n"
            "Content-Length: 0\r\n\r\n".encode()
            for key in keys
        ]
    )
    return await send_all(port, requests, connections=connections, seconds=seconds)


async def send_all(port: int, requests: Iterable[bytes], *, connections: int, seconds: float) -> Load:
    """Send requests over this many connections, for this long or until there are no more."""
    loop = asyncio.get_running_loop()
    row = iter(requests)
    load = Load(seconds)
    started = time.perf_counter()
    until = started + seconds
    ends = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        ends.append(done)
        await loop.create_connection(
            lambda done=done: _Connection(row, load, until, done),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 30)
    load.seconds = min(seconds, time.perf_counter() - started)
    return load
