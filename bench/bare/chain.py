"""The bare chain in three programs on the same queues: redeem, count the usage, POST the webhook. Batched throughout.

usage: python -m bench.bare.chain redeem|usage|hooks DATABASE_URL AMQP_URL [RECEIVER_URL]
"""

import asyncio
import hashlib
import hmac
import signal
import sys
import time
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import orjson
import uvloop

CHECKOUT, CODES, HOOKS, EXCHANGE = "bare.checkout", "bare.codes", "bare.hooks", "bare.events"
SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.promo, bare.redemptions, bare.outbox, bare.attempts;
CREATE TABLE bare.promo (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, partner_id int NOT NULL, code text NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL, redeemed_at timestamptz, times_redeemed int NOT NULL DEFAULT 0);
CREATE TABLE bare.redemptions (
    code text PRIMARY KEY, event_id text NOT NULL UNIQUE, partner_id int NOT NULL, card_id text, recipient_name text,
    occasion text, redeemed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE bare.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text NOT NULL, payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), sent_at timestamptz);
CREATE TABLE bare.attempts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, delivery bigint NOT NULL, n int NOT NULL, status int, ms real,
    at timestamptz NOT NULL DEFAULT now());
"""
REDEEM = """
WITH event AS (SELECT * FROM json_to_recordset($1::json) AS
               (code text, event_id text, card_id text, recipient_name text, occasion text)),
     sent AS (UPDATE bare.outbox SET sent_at = now() WHERE id = ANY ($2::bigint[])),
     locked AS (SELECT c.id, c.code, c.partner_id, e.event_id, e.card_id, e.recipient_name, e.occasion
                FROM (SELECT DISTINCT ON (code) * FROM event ORDER BY code) e JOIN bare.promo c ON c.code = e.code
                WHERE c.redeemed_at IS NULL AND c.expires_at > now() ORDER BY c.code FOR UPDATE OF c),
     updated AS (UPDATE bare.promo c SET redeemed_at = now() FROM locked WHERE c.id = locked.id),
     redeemed AS (INSERT INTO bare.redemptions (code, event_id, partner_id, card_id, recipient_name, occasion)
                  SELECT code, event_id, partner_id, card_id, recipient_name, occasion FROM locked)
INSERT INTO bare.outbox (topic, payload)
SELECT 'code.redeemed', jsonb_build_object('event', 'code.redeemed', 'partner_id', partner_id, 'code', code,
       'card_id', card_id, 'recipient_name', recipient_name, 'occasion', occasion)
FROM locked RETURNING id, payload
"""
COUNT = "UPDATE bare.promo SET times_redeemed = times_redeemed + 1 WHERE code = ANY ($1::text[])"
ATTEMPT = """
INSERT INTO bare.attempts (delivery, n, status, ms)
SELECT d, 1, s, m FROM unnest($1::bigint[], $2::int[], $3::real[]) AS t (d, s, m)
"""
SECRET = b"bare"
AT_ONCE = 100


class Batches:
    """Collects the deliveries of a queue; `take` waits for at least one and returns all."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.wake = asyncio.Event()

    async def put(self, message: Any) -> None:
        self.messages.append(message)
        self.wake.set()

    async def take(self) -> list[Any]:
        await self.wake.wait()
        self.messages.sort(key=lambda m: m.delivery_tag)
        batch, self.messages = self.messages[:500], self.messages[500:]
        if not self.messages:
            self.wake.clear()
        return batch


async def redeem(pool: Any, connection: Any) -> None:
    """Redeem arriving messages in one statement, publish the result, and mark it in the next statement."""
    batches = await consume(connection, CHECKOUT)
    channel = await connection.channel()
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)
    sent: list[int] = []
    publishing = set()

    async def publish(rows: list[Any]) -> None:
        await asyncio.gather(
            *(exchange.publish(aio_pika.Message(r["payload"].encode(), delivery_mode=2), "code.redeemed") for r in rows)
        )
        sent.extend(r["id"] for r in rows)

    async with pool.acquire() as database:
        while True:
            batch = await batches.take()
            marked = list(sent)
            sent.clear()
            rows = await database.fetch(REDEEM, "[" + ",".join(m.body.decode() for m in batch) + "]", marked)
            await batch[-1].ack(multiple=True)
            task = asyncio.create_task(publish(rows))
            publishing.add(task)
            task.add_done_callback(publishing.discard)


async def usage(pool: Any, connection: Any) -> None:
    """Count the uses of redeemed codes."""
    batches = await consume(connection, CODES)
    while True:
        batch = await batches.take()
        await pool.execute(COUNT, [orjson.loads(m.body)["code"] for m in batch])
        await batch[-1].ack(multiple=True)


async def hooks(pool: Any, connection: Any, url: str) -> None:
    """POST each event, store the attempts in groups, acknowledge stored ones."""
    channel = await connection.channel()
    await channel.set_qos(500)
    queue = await channel.get_queue(HOOKS, ensure=False)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    slots = asyncio.Semaphore(AT_ONCE)
    done: list[tuple[int, int, float]] = []
    wake = asyncio.Event()
    open_tags: set[int] = set()
    newest = 0

    async def deliver(message: Any) -> None:
        nonlocal newest
        open_tags.add(message.delivery_tag)
        newest = max(newest, message.delivery_tag)
        stamp = str(int(time.time()))
        signature = hmac.new(SECRET, stamp.encode() + b"." + message.body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Timestamp": stamp, "X-Signature": signature}
        started = time.perf_counter()
        async with slots, session.post(url, data=message.body, headers=headers) as answer:
            await answer.read()
        done.append((message.delivery_tag, answer.status, (time.perf_counter() - started) * 1000))
        wake.set()

    await queue.consume(deliver)
    under = await channel.get_underlay_channel()
    acknowledged = 0
    while True:
        await wake.wait()
        wake.clear()
        group = list(done)
        done.clear()
        if group:
            await pool.execute(ATTEMPT, *(list(column) for column in zip(*group, strict=True)))
            open_tags.difference_update(tag for tag, _, _ in group)
            lowest = min(open_tags) - 1 if open_tags else newest
            if lowest > acknowledged:
                await under.basic_ack(lowest, multiple=True)
                acknowledged = lowest


async def consume(connection: Any, name: str) -> Batches:
    """Start collecting from a queue."""
    channel = await connection.channel()
    await channel.set_qos(1000)
    queue = await channel.get_queue(name, ensure=False)
    batches = Batches()
    await queue.consume(batches.put)
    return batches


async def declare(amqp_url: str) -> None:
    """Declare new queues for the bare chain, of the same kind as the product's."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for name in (CHECKOUT, CODES, HOOKS):
            await channel.queue_delete(name)
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        for name in (CHECKOUT, CODES, HOOKS):
            queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
            if name != CHECKOUT:
                await queue.bind(exchange, "#")


async def _no_reset(_: Any) -> None:
    return None


async def main(part: str, database_url: str, amqp_url: str, *rest: str) -> None:
    """Run one part until SIGTERM."""
    pool = await asyncpg.create_pool(database_url, min_size=2, max_size=4, reset=_no_reset)
    connection = await aio_pika.connect(amqp_url, heartbeat=60)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    work = {"redeem": redeem, "usage": usage, "hooks": hooks}[part]
    worker = asyncio.create_task(work(pool, connection, *rest))  # type: ignore[operator]
    worker.add_done_callback(lambda _: stop.set())
    print("ready", flush=True)
    await stop.wait()
    worker.cancel()
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
