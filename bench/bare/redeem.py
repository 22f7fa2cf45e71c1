"""The lean redemption consumer: arrived messages go into one statement, a relay publishes the outbox in batches.

It makes few of the product's promises; `bench.bare.take_in` makes them.

usage: python -m bench.bare.redeem DATABASE_URL AMQP_URL
"""

import asyncio
import contextlib
import signal
import sys
from typing import Any

import aio_pika
import asyncpg
import uvloop

from bench.bare.chain import CHECKOUT, EXCHANGE, REDEEM, SCHEMA, consume

SCHEMA_WITH_RELAY = SCHEMA + "CREATE INDEX ON bare.outbox (id) WHERE sent_at IS NULL;"
TAKE = "SELECT id, payload FROM bare.outbox WHERE sent_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"
MARK = "UPDATE bare.outbox SET sent_at = now() WHERE id = ANY ($1::bigint[])"
AT_ONCE = 500
POLL_SECONDS = 0.5


async def redeem(pool: Any, connection: Any, written: asyncio.Event) -> None:
    """Redeem arriving messages, one statement at a time; acknowledge committed ones."""
    batches = await consume(connection, CHECKOUT)
    async with pool.acquire() as database:
        while True:
            batch = await batches.take()
            await database.fetch(REDEEM, "[" + ",".join(m.body.decode() for m in batch) + "]", [])
            written.set()
            await batch[-1].ack(multiple=True)


async def relay(pool: Any, connection: Any, written: asyncio.Event) -> None:
    """Publish the outbox, up to 500 at once, and mark confirmed events."""
    channel = await connection.channel()
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)
    async with pool.acquire() as database:
        while True:
            # Cleared before the query: cleared afterwards, it would miss what was written meanwhile.
            written.clear()
            async with database.transaction():
                rows = await database.fetch(TAKE, AT_ONCE)
                if rows:
                    messages = [aio_pika.Message(row["payload"].encode(), delivery_mode=2) for row in rows]
                    await asyncio.gather(*(exchange.publish(message, "code.redeemed") for message in messages))
                    await database.execute(MARK, [row["id"] for row in rows])
            if len(rows) < AT_ONCE:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(written.wait(), POLL_SECONDS)


async def _no_reset(_: Any) -> None:
    return None


async def main(database_url: str, amqp_url: str) -> None:
    """Run both until SIGTERM."""
    pool = await asyncpg.create_pool(database_url, min_size=2, max_size=4, reset=_no_reset)
    connection = await aio_pika.connect(amqp_url, heartbeat=60)
    stop, written = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(work(pool, connection, written)) for work in (redeem, relay)]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())
    print("ready", flush=True)
    await stop.wait()
    for task in tasks:
        task.cancel()
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
