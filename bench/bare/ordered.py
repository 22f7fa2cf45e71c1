"""The bare ordered sender: takes the next row, signs and POSTs it, and commits its end before it takes another.

Its table is filled before the clock starts. On SIGUSR1 it sends this many to its endpoint and prints one JSON line with
the rate.

usage: python -m bench.bare.ordered DATABASE_URL COUNT PORT
"""

import asyncio
import base64
import hmac
import json
import signal
import sys
import time
from typing import Any

import aiohttp
import asyncpg
import uvloop

SECRET = b"bare-secret-of-32-bytes-in-total"
_TABLES = """
CREATE SCHEMA IF NOT EXISTS bare_ordered;
SET search_path TO bare_ordered;
CREATE TABLE IF NOT EXISTS queue (position bigint PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (position bigint NOT NULL, started_at timestamptz NOT NULL, status int NOT NULL);
TRUNCATE queue, attempts;
"""
_FILL = """
INSERT INTO queue
SELECT n, convert_to(json_build_object(
    'event', 'code.redeemed', 'partner_id', '01890a5d-ac96-774b-bcce-b302099a8057', 'code', 'BARE-' || n,
    'card_id', '0', 'recipient_name', 'Sarah', 'occasion', 'mother', 'timestamp', '2026-03-16T20:15:00.000Z',
    'codes_remaining', 1)::text, 'UTF8')
FROM generate_series(1, $1::int) AS n
"""
_NEXT = "SELECT position, body FROM queue ORDER BY position LIMIT 1 FOR UPDATE"
_FINISH = """
WITH finished AS (DELETE FROM queue WHERE position = $1 RETURNING position)
INSERT INTO attempts SELECT position, now(), $2 FROM finished
"""


async def send(connection: Any, count: int, url: str) -> None:
    """Send this many and return the rate."""
    await connection.execute(_TABLES)
    await connection.execute(_FILL, count)
    await connection.execute("VACUUM ANALYZE queue")
    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        while (row := await connection.fetchrow(_NEXT)) is not None:
            name, stamp = f"msg_{row['position']}", str(int(time.time()))
            digest = hmac.digest(SECRET, f"{name}.{stamp}.".encode() + row["body"], "sha256")
            headers = {
                "Content-Type": "application/json",
                "webhook-id": name,
                "webhook-timestamp": stamp,
                "webhook-signature": "v1," + base64.b64encode(digest).decode(),
            }
            async with session.post(url, data=row["body"], headers=headers) as answer:
                await answer.read()
                if answer.status != 204:
                    raise SystemExit(f"The receiver answered {answer.status}.")
            await connection.execute(_FINISH, row["position"], answer.status)
        print(json.dumps({"per_s": count / (time.perf_counter() - started)}), flush=True)


async def main(database_url: str, count: int, port: int) -> None:
    """Send on every SIGUSR1, until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop, go = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, go.set)
    connection = await asyncpg.connect(database_url)

    async def serve() -> None:
        while True:
            await go.wait()
            go.clear()
            await send(connection, count, f"http://127.0.0.1:{port}/hook")

    serving = asyncio.create_task(serve())
    serving.add_done_callback(lambda _: stop.set())
    print("ready", flush=True)
    await stop.wait()
    serving.cancel()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
