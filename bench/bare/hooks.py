"""The bare sender: signs bodies and POSTs them, a hundred at a time, storing nothing.

On SIGUSR1 it sends COUNT to its endpoints in turn and prints one JSON line with the rate.

usage: python -m bench.bare.hooks COUNT PORT...
"""

import asyncio
import base64
import hmac
import json
import signal
import sys
import time

import aiohttp
import uvloop

AT_ONCE = 100
SECRET = b"bare-secret-of-32-bytes-in-total"


async def send(count: int, ports: list[int]) -> None:
    """Send this many and return the rate."""
    urls = [f"http://127.0.0.1:{port}/hook" for port in ports]
    numbers = iter(range(count))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = json.dumps(
                {
                    "event": "code.redeemed",
                    "partner_id": "01890a5d-ac96-774b-bcce-b302099a8057",
                    "code": f"BARE-{number}",
                    "card_id": repr(time.monotonic()),
                    "recipient_name": "Sarah",
                    "occasion": "mother",
                    "timestamp": "2026-03-16T20:15:00.000Z",
                    "codes_remaining": 1,
                }
            ).encode()
            name, stamp = f"msg_{number}", str(int(time.time()))
            digest = hmac.digest(SECRET, f"{name}.{stamp}.".encode() + body, "sha256")
            headers = {
                "Content-Type": "application/json",
                "webhook-id": name,
                "webhook-timestamp": stamp,
                "webhook-signature": "v1," + base64.b64encode(digest).decode(),
            }
            async with session.post(urls[number % len(urls)], data=body, headers=headers) as answer:
                await answer.read()
                if answer.status != 204:
                    raise SystemExit(f"The receiver answered {answer.status}.")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))
        print(json.dumps({"per_s": count / (time.perf_counter() - started)}), flush=True)


async def main(count: int, ports: list[int]) -> None:
    """Send on every SIGUSR1, until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop, go = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, go.set)

    async def serve() -> None:
        while True:
            await go.wait()
            go.clear()
            await send(count, ports)

    serving = asyncio.create_task(serve())
    serving.add_done_callback(lambda _: stop.set())
    print("ready", flush=True)
    await stop.wait()
    serving.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
