"""The cheapest webhook receiver that Python offers; answers 204 to every POST and records when each body arrived.

A body carries the time of its checkout event in `card_id` (seconds of the monotonic clock). On SIGUSR1 it prints one
JSON line: count, distinct codes, first and last arrival, latencies. On SIGUSR2 it resets.

With `--hang` it accepts connections and never answers; with `--slow` it answers after a delay; with `--failing`
this share of the responses is a 500, which counts as refused and not as arrived.

usage: python -m bench.receiver [--hang | --slow SECONDS | --failing SHARE] PORT...
"""

import asyncio
import json
import random
import re
import signal
import sys
import time
from typing import cast

import uvloop

_STAMP = re.compile(rb'"card_id": ?"([0-9.]+)"')
_CODE = re.compile(rb'"code": ?"([^"]+)"')


class Receiver(asyncio.Protocol):
    """One connection; all of them write into the same lists."""

    arrivals: list[tuple[float, float, bytes]] = []  # noqa: RUF012 - one list for the whole process is the point
    refused = 0
    slow_seconds = 0.0
    failing_share = 0.0

    @classmethod
    def forget(cls) -> None:
        """Reset."""
        cls.arrivals.clear()
        cls.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            answer = self._answer(body)
            if self.slow_seconds:
                asyncio.get_running_loop().call_later(self.slow_seconds, self._write, answer)
            else:
                self.transport.write(answer)

    def _answer(self, body: bytes) -> bytes:
        if self.failing_share and random.random() < self.failing_share:  # noqa: S311 - which one fails is no secret
            Receiver.refused += 1
            return b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        stamp, code = _STAMP.search(body), _CODE.search(body)
        if stamp and code:
            self.arrivals.append((time.monotonic(), float(stamp[1]), code[1]))
        return b"HTTP/1.1 204 No Content\r\n\r\n"

    def _write(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


def report() -> None:
    """Print the report."""
    arrivals = list(Receiver.arrivals)
    latencies = sorted(arrived - sent for arrived, sent, _ in arrivals)

    def percentile(percent: float) -> float | None:
        return latencies[min(len(latencies) - 1, int(len(latencies) * percent / 100))] * 1000 if latencies else None

    print(
        json.dumps(
            {
                "count": len(arrivals),
                "distinct": len({code for _, _, code in arrivals}),
                "first": arrivals[0][0] if arrivals else None,
                "last": arrivals[-1][0] if arrivals else None,
                "p50_ms": percentile(50),
                "p99_ms": percentile(99),
                "p999_ms": percentile(99.9),
                "refused": Receiver.refused,
            }
        ),
        flush=True,
    )


async def main(protocol: type[asyncio.Protocol], ports: list[int]) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, report)
    loop.add_signal_handler(signal.SIGUSR2, Receiver.forget)
    servers = [await loop.create_server(protocol, "127.0.0.1", port, backlog=2048) for port in ports]
    print("ready", flush=True)
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asked = sys.argv[1:]
    hangs = asked[0] == "--hang"
    if asked[0] == "--slow":
        Receiver.slow_seconds = float(asked[1])
    elif asked[0] == "--failing":
        Receiver.failing_share = float(asked[1])
    ports = asked[1:] if hangs else asked[2:] if asked[0].startswith("--") else asked
    uvloop.run(main(asyncio.Protocol if hangs else Receiver, [int(port) for port in ports]))
