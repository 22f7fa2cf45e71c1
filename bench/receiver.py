"""The cheapest webhook receiver that Python offers; answers 204 to every POST and keeps when each body came.

A body carries the moment of its checkout event in `card_id` (seconds of the monotonic clock). On SIGUSR1 it prints one
JSON line: count, distinct codes, first and last arrival, latencies. On SIGUSR2 it forgets what came.

With `--hang` it takes connections and never answers.

usage: python -m bench.receiver [--hang] PORT...
"""

import asyncio
import json
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
            stamp, code = _STAMP.search(body), _CODE.search(body)
            if stamp and code:
                self.arrivals.append((time.monotonic(), float(stamp[1]), code[1]))
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def report() -> None:
    """Print what came."""
    arrivals = list(Receiver.arrivals)
    latencies = sorted(arrived - sent for arrived, sent, _ in arrivals)

    def percentile(percent: int) -> float | None:
        return latencies[min(len(latencies) - 1, len(latencies) * percent // 100)] * 1000 if latencies else None

    print(
        json.dumps(
            {
                "count": len(arrivals),
                "distinct": len({code for _, _, code in arrivals}),
                "first": arrivals[0][0] if arrivals else None,
                "last": arrivals[-1][0] if arrivals else None,
                "p50_ms": percentile(50),
                "p99_ms": percentile(99),
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
    loop.add_signal_handler(signal.SIGUSR2, Receiver.arrivals.clear)
    servers = [await loop.create_server(protocol, "127.0.0.1", port, backlog=2048) for port in ports]
    print("ready", flush=True)
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asked = sys.argv[1:]
    hangs = asked[0] == "--hang"
    uvloop.run(main(asyncio.Protocol if hangs else Receiver, [int(port) for port in asked[hangs:]]))
